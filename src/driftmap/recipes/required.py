"""What can a study not do without? Refused before any work."""

from driftmap.core.errors import UsageError
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import EngineOptions
from driftmap.recipes.options import (
    ElsewhereOptions,
    EvaluationOptions,
    ScoringOptions,
    StudyPlan,
)
from driftmap.recipes.picking_options import require_contrast


def require_study(
    source: ModelSource,
    named: tuple[str | None, str | None, str | None],
    plan: StudyPlan,
    engine: EngineOptions,
) -> None:
    """Refuse a drift study that cannot be carried out, before any work.

    Args:
        source: The model.
        named: Behaviour, utility and what to tune on.
        plan: What is done.
        engine: Where samples are scored.

    Raises:
        UsageError: Something is missing, or two options contradict each other.
    """
    require_whole_study(engine, source, plan.scoring)
    elsewhere = plan.elsewhere
    is_tuned_elsewhere = bool(elsewhere.checkpoints)
    require_tunable(source, is_tuned_elsewhere=is_tuned_elsewhere)
    require_sources(named, elsewhere, plan.evaluation)
    require_contrast(
        plan.scoring, plan.groups, elsewhere, keeps_scores=plan.output.keep
    )
    plan.freezing.require_possible(
        plan.lora,
        is_chosen_here=elsewhere.groups is None,
        is_tuned_here=not is_tuned_elsewhere,
    )


def require_whole_study(
    engine: EngineOptions, source: ModelSource, scoring: ScoringOptions
) -> None:
    """Refuse a part of a study, and workers that would have nothing to do.

    Raises:
        UsageError: A part is asked for, or a score that reads no sample is shared.
    """
    if engine.part is not None:
        raise UsageError(
            "--partition works on a part of the samples, and a drift study tunes on "
            "all of them; use --workers or --engine ray, or divide `driftmap score`"
        )
    engine.require_alone(source.device_map)
    if engine.is_shared and not scoring.reads_samples:
        raise UsageError(
            f"--score {scoring.score} reads no sample, so that there is nothing to "
            "share; leave out --workers and --engine"
        )


def require_sources(
    named: tuple[str | None, str | None, str | None],
    elsewhere: ElsewhereOptions,
    evaluation: EvaluationOptions,
) -> None:
    """Refuse a study that lacks samples and what makes up for them.

    Args:
        named: Behaviour, utility and what to tune on.
        elsewhere: What was made elsewhere.
        evaluation: What the model is asked.

    Raises:
        UsageError: Neither is given.
    """
    has_groups = elsewhere.groups is not None
    has_prompts = evaluation.refusal_prompts is not None
    missing = {
        "--behaviour": (has_groups and has_prompts, "--groups and --refusal-prompts"),
        "--utility": (
            has_groups and bool(evaluation.held_out),
            "--groups and --held-out",
        ),
        "--tune-on": (bool(elsewhere.checkpoints), "--checkpoints"),
    }
    for source, (option, (is_made_up, instead)) in zip(
        named, missing.items(), strict=True
    ):
        if source is None and not is_made_up:
            raise UsageError(f"{option} is missing: name samples, or give {instead}")


def require_tunable(source: ModelSource, *, is_tuned_elsewhere: bool) -> None:
    """Refuse at once what fine-tuning would refuse after long work.

    Raises:
        UsageError: The model has an adapter, or a number type that cannot learn.
    """
    if source.adapter is not None:
        raise UsageError(
            f"--adapter {source.adapter}: a drift study tunes an adapter of its own; "
            "merge this one into its model (`merge_and_unload` in peft), save that, "
            "and give it as --model"
        )
    if source.dtype == "float16" and not is_tuned_elsewhere:
        raise UsageError(
            "--dtype float16 loses the small gradients of tuning; use float32 or "
            "bfloat16"
        )
