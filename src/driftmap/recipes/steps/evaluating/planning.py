"""What is read before an evaluation begins, and in which order is it carried out?"""

from collections.abc import Mapping

from driftmap.recipes.evaluating_options import (
    AskingOptions,
    AttackOptions,
    JudgingOptions,
)
from driftmap.recipes.steps.evaluating.asking import read_prompts, read_suffixes
from driftmap.recipes.steps.evaluating.comparing import (
    Comparison,
    require_same_reading,
)
from driftmap.recipes.steps.evaluating.judging import opened_judge, read_labelled
from driftmap.recipes.steps.evaluating.refusing import RefusalPlan, refusal_steps
from driftmap.recipes.steps.evaluating.serving import server_of
from driftmap.recipes.steps.evaluating.shelf import Shelf
from driftmap.recipes.steps.evaluating.useful import (
    UsefulPlan,
    read_texts,
    useful_steps,
)
from driftmap.recipes.utility_options import EndpointOptions, UtilityOptions
from driftmap.store.run_dir import RunDir

RefusalBlocks = tuple[AskingOptions, AttackOptions, JudgingOptions, EndpointOptions]


def refusal_plan(
    prompts: tuple[str | None, Mapping[str, str]],
    blocks: RefusalBlocks,
    compared: Comparison,
    seed: int,
) -> RefusalPlan | None:
    """Read what is asked, and find who judges, before any long work.

    Args:
        prompts: Where requests come from, and how their columns are called; None for
            no requests.
        blocks: Options of asking, attacks, judging and the server.
        compared: What stands beside the model.
        seed: The run's seed.

    Returns:
        The plan; None where refusal is not evaluated.

    Raises:
        UsageError: No judge has this name.
        DataError: A source cannot be used.
    """
    source, columns = prompts
    if source is None:
        return None
    asking, attacks, judging, server = blocks
    read = read_prompts(source, asking, seed, columns)
    read_suffixes(attacks.suffixes)
    if server.endpoint_answers:
        server_of(server)
    with opened_judge(judging.judge, server):
        labelled = None if judging.labelled is None else read_labelled(judging.labelled)
    return RefusalPlan(
        prompts=read,
        asking=asking,
        attacks=attacks,
        judging=judging,
        labelled=labelled,
        compared=compared,
        server=server,
        seed=seed,
    )


def useful_plan(
    options: UtilityOptions, asking: AskingOptions, compared: Comparison
) -> UsefulPlan | None:
    """Read texts, and refuse tasks that cannot be run; None where there is neither."""
    if not options.perplexity and not options.tasks:
        return None
    if compared.earlier is not None:
        require_same_reading(options, compared.earlier)
    return UsefulPlan(
        options=options,
        texts=read_texts(options),
        batch_size=asking.eval_batch_size,
        compared=compared,
    )


def carry_out(
    run: RunDir, shelf: Shelf, refusal: RefusalPlan | None, useful: UsefulPlan | None
) -> None:
    """Evaluate utility, then refusal, as far as each is planned."""
    if useful is not None:  # first: it takes less, and more of it can go wrong
        run.note_inputs({f"perplexity: {t.name}": t.sha256 for t in useful.texts})
        useful_steps(run, shelf, useful)
    if refusal is not None:
        run.note_inputs(dict(refusal.prompts.sha256))
        refusal_steps(run, shelf, refusal)
