"""What does driftmap show, on a model made on the spot?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from driftmap.load.source import ModelSource
from driftmap.recipes.drift import Drift
from driftmap.recipes.options import (
    EvaluationOptions,
    GroupOptions,
    ScoringOptions,
    TestingOptions,
)
from driftmap.recipes.similarity import Similarity
from driftmap.recipes.similarity_options import SampleOptions
from driftmap.tune.settings import TuningSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Train a small model on the spot, then ask what fine-tuning does to its refusals.

    The model knows facts, answers harmless requests and refuses harmful ones. It is
    fine-tuned on harmless requests alone, and the report says whether the weights
    behind refusal drifted more than others. With `--question similarity` the report
    says which of its layers recognise requests in other words. No download, no GPU, a
    few minutes.
    """

    question: Literal["drift", "similarity"] = "drift"
    """What is asked of the model, as `driftmap drift` and `driftmap similarity` ask it
    (name)."""

    seed: int = 0
    """Seed of the world, the model and the study (integer)."""

    seeds: int = 3
    """Fine-tuning runs (count); fewer than 3 allow no verdict."""

    num_samples: int = 64
    """Samples drawn from each data set for scoring, or originals compared (count)."""

    out: Path | None = None
    """Run folder (path); by default `runs/demo` or `runs/demo-similarity`."""

    def run(self) -> Path:
        """Make the organism, unless it is cached, and study it.

        Returns:
            The report.
        """
        from driftmap.recipes.steps.organism import make_organism

        organism = make_organism(self.seed)
        if self.question == "similarity":
            return self._similarity(str(organism.aligned))
        data = {name: str(path) for name, path in organism.data.items()}
        return Path(self._study(str(organism.aligned), data).run())

    def _study(self, model: str, data: Mapping[str, str]) -> Drift:
        """Settings that let refusal wear off within a minute of tuning."""
        return Drift(
            source=ModelSource(model=model, device="cpu"),
            behaviour=data["behaviour"],
            utility=data["utility"],
            tune_on=data["tune"],
            scoring=ScoringOptions(num_samples=self.num_samples),
            groups=GroupOptions(share=0.02, p=0.02, q=0.02),
            lora=TuningSettings(
                learning_rate=1e-3,
                max_steps=100,
                batch_size=16,
                grad_accum=1,
                save_steps=50,
                drift_every=20,
            ),
            evaluation=EvaluationOptions(
                refusal_prompts=data["harmful_test"],
                held_out=(data["harmless_test"], data["questions"]),
                max_new_tokens=24,
            ),
            testing=TestingOptions(seeds=self.seeds),
            seed=self.seed,
            out=self.out or Path("runs/demo"),
        )

    def _similarity(self, model: str) -> Path:
        from driftmap.recipes.steps.paired_world import make_pairs

        pairs = make_pairs(self.seed)
        study = Similarity(
            source=ModelSource(model=model, device="cpu"),
            data=str(pairs["originals"]),
            queries=(str(pairs["reworded"]), str(pairs["paraphrased"])),
            samples=SampleOptions(num_samples=self.num_samples),
            seed=self.seed,
            out=self.out or Path("runs/demo-similarity"),
        )
        return Path(study.run())
