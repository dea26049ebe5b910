"""What does driftmap show, on a model made on the spot?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from driftmap.recipes.demo_studies import (
    DemoSize,
    drift_study,
    experts_study,
    similarity_study,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Train a small model on the spot, then ask what fine-tuning does to its refusals.

    The model knows facts, answers harmless requests and refuses harmful ones. It is
    fine-tuned on harmless requests alone, and the report says whether the weights
    behind refusal drifted more than others. With `--question similarity` the report
    says which of its layers recognise requests in other words. With `--question
    experts` the model is a mixture of experts that can be talked out of refusing, and
    the report says which experts must change. No download, no GPU, a few minutes.
    """

    question: Literal["drift", "similarity", "experts"] = "drift"
    """What is asked of the model, as `driftmap drift`, `driftmap similarity` and
    `driftmap experts` ask it (name)."""

    seed: int = 0
    """Seed of the world, the model and the study (integer)."""

    seeds: int = 3
    """Fine-tuning runs, or random groups of experts that are tuned to compare with
    (count); with fewer than 3 runs there is no verdict on drift."""

    num_samples: int = 64
    """Samples drawn from each data set for scoring, originals compared, or requests
    learned from (count)."""

    out: Path | None = None
    """Run folder (path); by default `runs/demo`, `runs/demo-similarity` or
    `runs/demo-experts`."""

    def run(self) -> Path:
        """Make the model, unless it is cached, and study it.

        Returns:
            The report.
        """
        if self.question == "experts":
            from driftmap.recipes.steps.moe_organism import make_moe_organism

            mixture = make_moe_organism(self.seed)
            return experts_study(mixture.model, mixture.data, self._size()).run()
        from driftmap.recipes.steps.organism import make_organism

        organism = make_organism(self.seed)
        if self.question == "similarity":
            from driftmap.recipes.steps.paired_world import make_pairs

            pairs = make_pairs(self.seed)
            others = (pairs["reworded"], pairs["paraphrased"])
            found = similarity_study(
                organism.aligned, pairs["originals"], others, self._size()
            ).run()
        else:
            found = drift_study(organism.aligned, organism.data, self._size()).run()
        return Path(found)

    def _size(self) -> DemoSize:
        name = "demo" if self.question == "drift" else f"demo-{self.question}"
        return DemoSize(
            seed=self.seed,
            seeds=self.seeds,
            num_samples=self.num_samples,
            out=self.out or Path("runs") / name,
        )
