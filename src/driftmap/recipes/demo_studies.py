"""Which settings let the built-in models show something within minutes?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftmap.load.source import ModelSource
from driftmap.recipes.drift import Drift
from driftmap.recipes.expert_options import (
    ExpertCheckOptions,
    ExpertTuningOptions,
    IdentifyOptions,
    ItemOptions,
)
from driftmap.recipes.experts import Experts
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
class DemoSize:
    """What a person may change.

    Args:
        seed: Seed of the world, the model and the study.
        seeds: Fine-tuning runs (count).
        num_samples: Samples of each data set (count).
        out: Run folder.
    """

    seed: int
    seeds: int
    num_samples: int
    out: Path


def drift_study(model: Path, data: Mapping[str, Path], size: DemoSize) -> Drift:
    """Settings that let refusal wear off within a minute of tuning."""
    named = {name: str(path) for name, path in data.items()}
    return Drift(
        source=ModelSource(model=str(model), device="cpu"),
        behaviour=named["behaviour"],
        utility=named["utility"],
        tune_on=named["tune"],
        scoring=ScoringOptions(num_samples=size.num_samples),
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
            refusal_prompts=named["harmful_test"],
            held_out=(named["harmless_test"], named["questions"]),
            max_new_tokens=24,
        ),
        testing=TestingOptions(seeds=size.seeds),
        seed=size.seed,
        out=size.out,
    )


def similarity_study(
    model: Path, originals: Path, others: Sequence[Path], size: DemoSize
) -> Similarity:
    """Settings under which layers tell other words from other requests."""
    return Similarity(
        source=ModelSource(model=str(model), device="cpu"),
        data=str(originals),
        queries=tuple(map(str, others)),
        samples=SampleOptions(num_samples=size.num_samples),
        seed=size.seed,
        out=size.out,
    )


def experts_study(model: Path, data: Mapping[str, Path], size: DemoSize) -> Experts:
    """Settings under which a few experts repair most of the refusals."""
    named = {name: str(path) for name, path in data.items()}
    return Experts(
        source=ModelSource(model=str(model), device="cpu"),
        data=named["unsafe"],
        items=ItemOptions(
            held_out=named["unsafe_test"],
            benign=named["benign"],
            harmless=named["harmless_wrapped"],
            max_samples=size.num_samples,
            safe_response="dataset",
        ),
        identify=IdentifyOptions(top_k_experts=8),
        tune=ExpertTuningOptions(num_rounds=1, expert_lr=3e-3),
        checks=ExpertCheckOptions(
            random_groups=size.seeds, ablation_draws=10, max_new_tokens=16
        ),
        seed=size.seed,
        out=size.out,
    )
