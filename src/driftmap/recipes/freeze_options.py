"""Which weights may fine-tuning not move, and how are they kept?"""

from dataclasses import dataclass
from pathlib import Path

from driftmap.core.errors import UsageError
from driftmap.results.freezing import FreezingWay
from driftmap.results.rules import DECLARED
from driftmap.tune.settings import TuningSettings
from driftmap.tune.ways import require_way

CHOSEN = (DECLARED, "top", "utility", "matched", "random")
"""Names of the groups that a study chooses by itself."""

_SUFFIXES = (".safetensors", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeOptions:
    """What fine-tuning may not move."""

    freeze: str | None = None
    """Weights that fine-tuning may not move: a group of this run, such as
    `difference`, or a group file (name, or safetensors or JSON file); by default
    none."""

    freeze_by: FreezingWay = "element"
    """How they are kept: each weight alone, with its whole row or column of the
    adapter's change, or put back after free training, which is called rewound
    (element, rows, columns or rewind)."""

    freeze_share: float = 1.0
    """Part of the group that is kept, drawn by `--seed`; a larger part holds every
    smaller one (0 to 1)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be frozen, or means nothing."""
        if not 0 <= self.freeze_share <= 1:
            raise UsageError(
                f"--freeze-share is {self.freeze_share}; give a share from 0 to 1"
            )
        is_usual = self.freeze_by == "element" and self.freeze_share == 1
        if self.freeze is None and not is_usual:
            raise UsageError(
                "--freeze-by and --freeze-share say how a group is frozen, and "
                "--freeze names none; name one, or leave them out"
            )

    @property
    def file(self) -> Path | None:
        """The group file; None where a group of the run is named."""
        named = self.freeze
        return Path(named) if named and named.endswith(_SUFFIXES) else None

    def require_possible(
        self, tuning: TuningSettings, *, is_chosen_here: bool, is_tuned_here: bool
    ) -> None:
        """Refuse what the study cannot freeze, whatever its model is.

        Args:
            tuning: How it tunes.
            is_chosen_here: Whether the study chooses its groups by itself.
            is_tuned_here: Whether it tunes by itself.

        Raises:
            UsageError: There will be no such group or is no such file, nothing is
                tuned, or this kind of tuning cannot hold it.
        """
        if self.freeze is None:
            return
        if self.file is not None and not self.file.is_file():
            raise UsageError(f"{self.file}: there is no such file; check --freeze")
        require_way(self.freeze_by, tuning)
        if not is_tuned_here:
            raise UsageError(
                "--freeze keeps weights from moving while the model is tuned, and "
                "--checkpoints are tuned already; leave one of them out"
            )
        if is_chosen_here and self.file is None and self.freeze not in CHOSEN:
            raise UsageError(
                f"--freeze {self.freeze}: is no group of this run "
                f"({', '.join(CHOSEN)}) and no .safetensors or .json file; name one"
            )
