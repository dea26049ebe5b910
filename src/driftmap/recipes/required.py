"""What can a study not do without? Refused before any work."""

import re

from driftmap.core.errors import UsageError
from driftmap.load.source import ModelSource
from driftmap.recipes.options import (
    ElsewhereOptions,
    EvaluationOptions,
    GroupOptions,
    ScoringOptions,
    StudyPlan,
)
from driftmap.results.groups import Per


def require_study(
    source: ModelSource,
    named: tuple[str | None, str | None, str | None],
    plan: StudyPlan,
) -> None:
    """Refuse a drift study that cannot be carried out, before any work.

    Args:
        source: The model.
        named: Behaviour, utility and what to tune on.
        plan: What is done.

    Raises:
        UsageError: Something is missing, or two options contradict each other.
    """
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
    scoring: ScoringOptions,
    groups: GroupOptions,
    elsewhere: ElsewhereOptions,
    *,
    keeps_scores: bool,
) -> None:
    """Refuse groups that the scores at hand cannot tell apart.

    Args:
        scoring: Which score.
        groups: Which shares are taken.
        elsewhere: What was made elsewhere; groups that are read need no score.
        keeps_scores: Whether scores are to be written.

    Raises:
        UsageError: The group `difference` would be empty, or there is nothing to keep
            or to compare.
    """
    is_gridded = groups.grid != ((), ())
    option = "--p-grid" if groups.p_grid else "--q-grid"
    if is_gridded and elsewhere.groups is not None:
        raise UsageError(
            f"{option}: groups are read from --groups, so there are no scores to "
            "compare shares of; leave one of the two out"
        )
    if scoring.reads_samples or elsewhere.groups is not None:
        return
    if is_gridded:
        raise UsageError(
            f"{option}: --score {scoring.score} is the same for behaviour and utility, "
            "so there is nothing to compare; leave it out"
        )
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


def pieces_of(text: str | None, per: Per) -> tuple[int, int] | None:
    """Read `N:M`; None where it is not given.

    Args:
        text: What `--n-m` says.
        per: What `--per` says.

    Raises:
        UsageError: It is no such pair, or shares are of something else than a matrix.

    >>> pieces_of("2:4", "matrix")
    (2, 4)
    """
    if text is None:
        return None
    pair = re.fullmatch(r"(\d{1,6}):(\d{1,6})", text)
    if pair is None or not 0 < int(pair[1]) < int(pair[2]):
        raise UsageError(
            f"--n-m is {text!r}; give N of every M with N below M, as in 2:4"
        )
    if per != "matrix":
        raise UsageError(
            f"--n-m {text} takes weights of every piece of a row, so --per {per} means "
            "nothing; give one of the two"
        )
    return int(pair[1]), int(pair[2])
