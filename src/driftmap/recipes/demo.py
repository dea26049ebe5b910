"""What does driftmap show, on a model made on the spot?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from driftmap.recipes.demo_studies import (
    DemoSize,
    drift_study,
    experts_study,
    similarity_study,
)
from driftmap.recipes.demo_traces import (
    Known,
    attention_study,
    compare_study,
    honesty_study,
    read_study,
    trace_study,
)


@runtime_checkable
class Recipe(Protocol):
    """A study that is ready to run."""

    def run(self) -> Path | str:
        """Do the work; give what a person should open or read."""
        ...


Question = Literal[
    "drift", "similarity", "experts", "trace", "trace-compare", "read", "read-honesty",
    "attention",
]  # fmt: skip

_OF_KNOWLEDGE: Mapping[Question, Callable[[Path, Known, DemoSize], Recipe]] = {
    "trace": trace_study,
    "trace-compare": compare_study,
    "read": read_study,
    "read-honesty": honesty_study,
    "attention": attention_study,
}
"""Questions about what the model was taught."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Train a small model on the spot, then ask what fine-tuning does to its refusals.

    The model knows facts, answers harmless requests and refuses harmful ones. It is
    fine-tuned on harmless requests alone, and the report says whether the weights
    behind refusal drifted more than others. Other questions ask the same model which of
    its layers recognise requests in other words (`similarity`), where it keeps a fact
    (`trace`), whether wordings of a fact use the same layers (`trace-compare`), what it
    expects token by token (`read`), whether it was told to be honest (`read-honesty`)
    and what it looks at (`attention`). With `--question experts` the model is a mixture
    of experts that can be talked out of refusing, and the report says which experts
    must change. No download, no GPU, a few minutes.
    """

    question: Question = "drift"
    """What is asked of the model, as the command of that name asks it (name);
    `trace-compare` is `driftmap trace --compare`, and `read-honesty` is
    `driftmap read --honesty`."""

    seed: int = 0
    """Seed of the world, the model and the study (integer)."""

    seeds: int = 3
    """Fine-tuning runs, or random groups of experts that are tuned to compare with
    (count); with fewer than 3 runs there is no verdict on drift."""

    num_samples: int = 64
    """Samples drawn from each data set for scoring, originals compared, requests
    learned from, or facts (count)."""

    out: Path | None = None
    """Run folder (path); by default `runs/demo`, or as in `runs/demo-trace`."""

    def run(self) -> Path | str:
        """Make the model, unless it is cached, and study it.

        Returns:
            The report; of `read`, the coloured texts as well.
        """
        return self._study().run()

    def _study(self) -> Recipe:
        size = self._size()
        if self.question == "experts":
            from driftmap.recipes.steps.moe_organism import make_moe_organism

            mixture = make_moe_organism(self.seed)
            return experts_study(mixture.model, mixture.data, size)
        from driftmap.recipes.steps.organism import make_organism

        organism = make_organism(self.seed)
        if self.question in _OF_KNOWLEDGE:
            from driftmap.recipes.steps.known_world import make_knowledge

            known = make_knowledge(self.seed)
            return _OF_KNOWLEDGE[self.question](organism.aligned, known, size)
        if self.question == "similarity":
            from driftmap.recipes.steps.paired_world import make_pairs

            pairs = make_pairs(self.seed)
            others = (pairs["reworded"], pairs["paraphrased"])
            return similarity_study(organism.aligned, pairs["originals"], others, size)
        return drift_study(organism.aligned, organism.data, size)

    def _size(self) -> DemoSize:
        name = "demo" if self.question == "drift" else f"demo-{self.question}"
        return DemoSize(
            seed=self.seed,
            seeds=self.seeds,
            num_samples=self.num_samples,
            out=self.out or Path("runs") / name,
        )
