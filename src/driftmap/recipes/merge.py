"""Do parts of a run, made with `--partition`, make the whole?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftmap.core.errors import StoreError, UsageError
from driftmap.recipes import similarity_options
from driftmap.recipes.options import FREE

_MAY_DIFFER = (*FREE, *similarity_options.FREE, "engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Join parts of one run in a run folder of the whole, without computing anything.

    The run is then finished with the command that the parts were made with: it finds
    all shards there. `driftmap merge` does both.

    Args:
        parts: Run folders of the parts.
        out: Run folder of the whole.
    """

    parts: tuple[Path, ...]
    out: Path

    def __post_init__(self) -> None:
        """Refuse to join nothing.

        Raises:
            UsageError: No part is named, or one is where the whole shall be.
        """
        if not self.parts:
            raise UsageError("no part is named; name the run folder of each part")
        if self.out in self.parts:
            raise UsageError(
                f"--out {self.out} is one of the parts; choose another folder"
            )

    def run(self) -> Path:
        """Put the parts' shards together.

        Returns:
            The run folder, to be finished.

        Raises:
            EngineError: Parts are of other settings, overlap, are damaged, or some
                are missing.
            StoreError: The folder holds something else.
        """
        from driftmap.engine.merge import require_whole, take_over
        from driftmap.store.files import explaining
        from driftmap.store.recipe_file import load_recipe
        from driftmap.store.run_dir import RunDir

        whole = require_whole(self.parts)
        saved = load_recipe(self.parts[0])
        self._require_equal(saved.settings)
        settings = {**saved.settings, "out": str(self.out)}
        settings["engine"] = _of_the_whole(settings["engine"])
        opened = RunDir.open(self.out, settings, saved.kind, free=_MAY_DIFFER)
        with opened, explaining(self.out):
            take_over(whole, self.out)
        return self.out

    def _require_equal(self, settings: Mapping[str, object]) -> None:
        """Refuse parts that would be finished in other ways."""
        from driftmap.store.recipe_file import differing, load_recipe

        for part in self.parts[1:]:
            others = load_recipe(part).settings
            differences = differing(settings, others, _MAY_DIFFER)
            if differences:
                raise StoreError(
                    f"{part}: was made with other settings than {self.parts[0]}: "
                    f"{', '.join(differences)}; make all parts with the same"
                )


def _of_the_whole(where: object) -> dict[str, object]:
    """Where a part was made, without which part it is."""
    assert isinstance(where, Mapping), "a part says where it was made"
    return {
        name: None if str(name).startswith("partition") else value
        for name, value in where.items()
    }
