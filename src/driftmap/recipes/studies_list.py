"""Which studies come with driftmap?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StudiesList:
    """List the studies that come with driftmap, or print one as a file of your own.

    `driftmap run NAME` runs one. `driftmap studies NAME > mine.yaml` makes a copy to
    change.
    """

    name: str | None = None
    """Study to print, by its name (name); by default all are listed."""

    def run(self) -> str:
        """Read what is shipped.

        Returns:
            A list of names and titles, or the text of one file.

        Raises:
            UsageError: No study has this name.
        """
        from driftmap.core.errors import UsageError
        from driftmap.recipes.steps.study.files import (
            SHIPPED,
            read_study_file,
            shipped_names,
        )

        names = shipped_names()
        if self.name is not None:
            if self.name not in names:
                raise UsageError(
                    f"{self.name}: no study has this name; known are {', '.join(names)}"
                )
            return (SHIPPED / f"{self.name}.yaml").read_text(encoding="utf-8").rstrip()
        studies = [read_study_file(SHIPPED / f"{name}.yaml") for name in names]
        return "\n".join(
            f"{study.file.stem:24} {study.title} ({len(study.runs)} "
            f"{'run' if len(study.runs) == 1 else 'runs'})"
            for study in studies
        )
