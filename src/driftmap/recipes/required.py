"""What can a study not do without? Refused before any work."""

from driftmap.core.errors import UsageError
from driftmap.load.source import ModelSource
from driftmap.recipes.options import (
    ElsewhereOptions,
    EvaluationOptions,
    GroupOptions,
    ScoringOptions,
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


def require_contrast(
    scoring: ScoringOptions, groups: GroupOptions, *, keeps_scores: bool
) -> None:
    """Refuse to tell behaviour from utility by a score that reads no sample.

    Args:
        scoring: Which score.
        groups: Which shares are taken.
        keeps_scores: Whether scores are to be written.

    Raises:
        UsageError: The group `difference` would be empty, or there is nothing to keep.
    """
    if scoring.reads_samples:
        return
    if groups.p > 0:
        raise UsageError(
            f"--score {scoring.score} reads no sample, so that behaviour and utility "
            "claim the same weights; use --p 0, and `difference` is the top --q"
        )
    if keeps_scores:
        raise UsageError(
            f"--keep spares the passes over samples, and --score {scoring.score} takes "
            "none; leave it out"
        )


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
