"""Do a model's states tell an honest instruction from a dishonest one, and where?"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes.honesty_options import (
    FREE,
    REDOES,
    HonestyReadingOptions,
    Reading,
    ScoredTextOptions,
    Statements,
    Steering,
    SteeringOptions,
    Texts,
)
from driftmap.recipes.options import MODEL, RUN

KIND = "read-honesty"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadHonesty:
    """Find directions along which two instructions differ, and score tokens by them.

    Directions are learnt from true statements cut short, once behind an honest and
    once behind a dishonest instruction, and tried on statements that took no part,
    beside shuffled labels and blind directions. They read the instruction, not truth:
    a made-up sentence is not detected because it is made up.
    """

    source: Annotated[ModelSource, MODEL]

    data: Statements

    reading: Reading = field(default_factory=HonestyReadingOptions)

    texts: Texts = field(default_factory=ScoredTextOptions)

    steering: Steering = field(default_factory=SteeringOptions)

    seed: Annotated[int, RUN] = 0
    """Seed that draws statements, halves, shuffled labels and blind directions
    (integer); 0 by default."""

    out: Annotated[Path, RUN] = Path("runs/read-honesty")
    """Run folder; one with the same settings is reused (path)."""

    def run(self) -> Path:
        """Read what is not read yet.

        Returns:
            The report.
        """
        from driftmap.recipes.steps import beforehand
        from driftmap.recipes.steps.honesty import asked

        question = asked.asked_for(self.data, self.texts, self.steering, self.seed)
        if self.reading.control_vector:
            asked.require_gguf()
        beforehand.require_folder(asdict(self), KIND, (*FREE, *REDOES))
        with phase("load the model"):
            from driftmap.load.model import load_model
            from driftmap.recipes.steps import bench
            from driftmap.recipes.steps.honesty import carrying
            from driftmap.recipes.steps.pages import REPORT

            loaded = load_model(self.source)
        with bench.opened(loaded, self.out, asdict(self), KIND, FREE, REDOES) as study:
            report = carrying.carry_out(study, question, self.reading)
            return report.path(REPORT)
