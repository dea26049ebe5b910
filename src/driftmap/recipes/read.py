"""Which tokens of a text did a model expect, and where was it sure?"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes.options import MODEL, RUN
from driftmap.recipes.reading_options import (
    FREE,
    REDOES,
    Reading,
    ReadingOptions,
    TextOptions,
    Texts,
)

KIND = "read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Colour texts by how surprised and how sure a model was at every token.

    Surprise is -ln p of the token that stands there, entropy the spread of the whole
    distribution: a model can be sure and wrong. Texts are read as they stand, or as the
    model writes them. What the terminal shows in colours, the page shows with numbers.
    `driftmap read --honesty` reads states instead of probabilities.
    """

    source: Annotated[ModelSource, MODEL]

    texts: Texts = field(default_factory=TextOptions)

    reading: Reading = field(default_factory=ReadingOptions)

    seed: Annotated[int, RUN] = 0
    """Seed that draws answers at a temperature above 0 (integer)."""

    out: Annotated[Path, RUN] = Path("runs/read")
    """Run folder; one with the same settings is reused (path)."""

    def __post_init__(self) -> None:
        """Refuse what would be refused after a model is loaded.

        Raises:
            UsageError: There is nothing to read, or an option has nothing to work on.
        """
        self.texts.require_work()

    def run(self) -> str:
        """Read what is not read yet.

        Returns:
            The coloured texts, and where the report lies.
        """
        from driftmap.recipes.steps import beforehand
        from driftmap.recipes.steps.readings import texts

        asked = texts.asked_texts(self.texts)
        beforehand.require_folder(asdict(self), KIND, (*FREE, *REDOES))
        with phase("load the model"):
            from driftmap.load.model import load_model
            from driftmap.recipes.steps import bench
            from driftmap.recipes.steps.pages import REPORT
            from driftmap.recipes.steps.readings import (
                lensing,
                reading,
                reporting,
            )
            from driftmap.recipes.steps.reports import report_step

            loaded = load_model(self.source)
        with bench.opened(loaded, self.out, asdict(self), KIND, FREE, REDOES) as study:
            plan = reading.planned(study, asked, self.texts, self.reading)
            read = reading.read_step(study, plan)
            if self.reading.lens:
                lensing.lens_step(study, read, self.reading.lens_tokens)
            report = report_step(study.run)
            shown = reporting.terminal_report(study.run, self.reading.colour)
            return f"{shown}\n\n{report.path(REPORT)}"
