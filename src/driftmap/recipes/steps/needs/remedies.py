"""Which options make a step of a study need less memory?"""

from driftmap.core.shortage import smaller_batch
from driftmap.recipes.options import EvaluationOptions, ScoringOptions
from driftmap.store.run_dir import RunDir
from driftmap.tune.settings import TuningSettings

LESS_OF_ALL = (
    "choose a smaller model, shorter samples or --dtype bfloat16, or a machine with "
    "more memory"
)


def for_scoring(scoring: ScoringOptions) -> str:
    """What to do when scoring runs out of memory; the same run goes on with it.

    >>> for_scoring(ScoringOptions())
    'repeat with --score-batch-size 4, or give the scores less with --memory'
    """
    if scoring.score_batch_size > 1:
        half = scoring.score_batch_size // 2
        return (
            f"repeat with --score-batch-size {half}, or give the scores less with "
            "--memory"
        )
    return f"give the scores less with --memory, or {LESS_OF_ALL}"


def for_tuning(settings: TuningSettings, run: RunDir) -> str:
    """What to do when fine-tuning runs out of memory.

    Another batch size changes the last digits of what is learnt, so it is another run:
    the sentence says how that one takes the groups over.
    """
    smaller = smaller_batch(settings.batch_size, settings.grad_accum)
    if smaller is None:
        return (
            "--batch-size is 1 already: lower --lora-r, name fewer --lora-parts, or "
            f"{LESS_OF_ALL}"
        )
    size, accum = smaller
    groups = ""
    if run.is_finished("groups"):
        groups = f"; --groups {run.path / 'groups'} there saves the scoring"
    return (
        f"use --batch-size {size} --grad-accum {accum}, which are the same "
        f"{size * accum} samples a step, with another --out{groups}"
    )


def for_evaluation(options: EvaluationOptions) -> str:
    """What to do when evaluation runs out of memory; the same run goes on with it.

    >>> for_evaluation(EvaluationOptions())
    'repeat with --eval-batch-size 8'
    """
    if options.eval_batch_size > 1:
        return f"repeat with --eval-batch-size {options.eval_batch_size // 2}"
    return f"lower --max-new-tokens, or {LESS_OF_ALL}"


FOR_STATISTICS = "close what else is running, or lower --permutations, --q and --share"
"""What to do when the tests run out of memory."""
