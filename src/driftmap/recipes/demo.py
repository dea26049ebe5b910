"""What does driftmap show, on models made on the spot?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from driftmap.recipes.options import require_at_least


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Train two small models on the spot, ask them every question, write one report.

    The first model knows facts, answers harmless requests and refuses harmful ones.
    It is tuned, traced, read and edited: do the weights behind refusal drift, which
    layers recognise requests in other words, where is a fact kept, what does another
    answer to it change? The second is a mixture of experts that can be talked out of
    refusing: which of its experts must change? No download, no GPU, ten minutes. The
    studies are those of `driftmap studies` whose names end in `small`.
    """

    question: Annotated[tuple[str, ...], Parameter(name="--question")] = ()
    """Ask this alone, as the run of that name in the studies does, such as `drift`,
    `trace` or `experts` (name; may be repeated); by default all."""

    seed: int = 0
    """Seed of the worlds and the models (integer)."""

    at_once: int = 2
    """Questions that are asked at the same time, in a process each (count)."""

    out: Path = Path("runs/demo")
    """Folder of the report, with a run folder for each question (path)."""

    def __post_init__(self) -> None:
        """Refuse a count that means nothing."""
        require_at_least("--at-once", self.at_once, 1)

    def run(self) -> Path:
        """Make the models, unless they are cached, and study them.

        Returns:
            The report of all questions.

        Raises:
            UsageError: There is no such question.
        """
        from driftmap.recipes.steps.study.carrying import carry_out
        from driftmap.recipes.steps.study.files import chosen_runs
        from driftmap.recipes.steps.study.showing import demo_study

        study = demo_study(self.seed)
        chosen = chosen_runs(study, self.question, "--question")
        return carry_out(study, chosen, self.out, self.at_once)
