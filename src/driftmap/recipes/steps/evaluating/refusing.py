"""In which order is a model asked, judged, read and compared?"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from driftmap.core.errors import UsageError
from driftmap.evaluate.attacks import PLAIN, Condition, attacks
from driftmap.evaluate.by_endpoint import EndpointGenerator
from driftmap.evaluate.generators import Generator
from driftmap.recipes.evaluating_options import (
    AskingOptions,
    AttackOptions,
    JudgingOptions,
)
from driftmap.recipes.steps.evaluating.asking import (
    Asking,
    LocalGenerator,
    Prompts,
    answer_step,
    conditions,
    frames,
    read_suffixes,
)
from driftmap.recipes.steps.evaluating.comparing import (
    Comparison,
    earlier_step,
    require_same_prompts,
)
from driftmap.recipes.steps.evaluating.concluding import Concluding, statistics_step
from driftmap.recipes.steps.evaluating.judging import Labelled, opened_judge
from driftmap.recipes.steps.evaluating.reading import (
    OddsInputs,
    first_ids_of,
    likelihood_step,
    load_answers,
    odds_step,
    rulings_step,
)
from driftmap.recipes.steps.evaluating.serving import server_of
from driftmap.recipes.steps.evaluating.shelf import Shelf
from driftmap.recipes.utility_options import EndpointOptions
from driftmap.results.evaluation import Which
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalPlan:
    """What is asked, and who judges.

    Args:
        prompts: Harmful and harmless requests.
        asking: In which frames.
        attacks: In which ways.
        judging: Who judges.
        labelled: Answers that people have judged.
        compared: What stands beside the model.
        server: Which server answers or judges, if one does.
        seed: The run's seed.
    """

    prompts: Prompts
    asking: AskingOptions
    attacks: AttackOptions
    judging: JudgingOptions
    labelled: Labelled | None
    compared: Comparison
    server: EndpointOptions
    seed: int


def refusal_steps(run: RunDir, shelf: Shelf, plan: RefusalPlan) -> StepOutcome:
    """Ask, judge, read and compare; return the step that holds every number.

    Raises:
        UsageError: A way to ask cannot be put to who answers.
    """
    frame = frames(plan.asking, shelf.desk("this"))
    _require_bare_prefill(plan, frame)
    with ExitStack() as stack:
        named = stack.enter_context(opened_judge(plan.judging.judge, plan.server))
        answered = _answered(run, shelf, plan, frame)
        rulings = rulings_step(run, answered, named)
        likelihood = likelihood_step(
            run,
            shelf,
            rulings,
            plan.compared.untouched,
            plan.asking.eval_batch_size,
        )
        odds, first_tokens = _odds(run, shelf, plan, frame[0], rulings)
        how = Concluding(
            models=_models(shelf, plan.compared),
            untouched=shelf.desk(plan.compared.untouched).identity.source,
            named=named,
            labelled=plan.labelled,
            floor=plan.judging.floor,
            any_of=plan.attacks.draws(),
            first_tokens=first_tokens,
            words=_words(plan),
            seed=plan.seed,
        )
        return statistics_step(run, (rulings, likelihood), odds, how)


def _require_bare_prefill(plan: RefusalPlan, frame: Sequence[Condition]) -> None:
    is_chat = any(one.template == "chat" for one in frame)
    if plan.server.endpoint_answers and plan.attacks.prefill and is_chat:
        raise UsageError(
            "--prefill: a server cannot go on after words within its own chat "
            "template; give --template bare, or leave --prefill out"
        )


def _answered(
    run: RunDir, shelf: Shelf, plan: RefusalPlan, frame: Sequence[Condition]
) -> list[StepOutcome]:
    """Answers of each model in turn, so that each is loaded once for all of them."""
    found = []
    for model in _asked_models(plan.compared):
        asking = Asking(
            model=model,
            generator=_generator(shelf, plan, model),
            options=plan.asking,
            num_sampled=plan.attacks.num_sampled,
            seed=plan.seed,
        )
        for asked, ways in conditions(frame, plan.attacks).items():
            samples = plan.prompts.samples[asked]
            if samples:
                found += [answer_step(run, asking, asked, samples, way) for way in ways]
    if plan.compared.earlier is not None:
        found.append(earlier_step(run, plan.compared.earlier))
        require_same_prompts(load_answers(found), plan.compared.earlier)
    return found


def _generator(shelf: Shelf, plan: RefusalPlan, model: Which) -> Generator:
    """The server for the evaluated model where it answers, else the model here."""
    if model == "this" and plan.server.endpoint_answers:
        endpoint = server_of(plan.server)
        return EndpointGenerator(name=endpoint.name, ask=endpoint.replies)
    return LocalGenerator(shelf, model, plan.asking.eval_batch_size)


def _odds(
    run: RunDir,
    shelf: Shelf,
    plan: RefusalPlan,
    frame: Condition,
    rulings: StepOutcome,
) -> tuple[list[StepOutcome], dict[str, str]]:
    """Log-odds of each model; ids that open a refusal follow from all answers."""
    models = _asked_models(plan.compared)
    tokenizers = [shelf.desk(name).tokenizer for name in shelf.sources]
    # An id is another token in another vocabulary.
    is_shared = len({str(sorted(t.get_vocab().items())) for t in tokenizers}) == 1
    first_ids = {
        model: first_ids_of(rulings, frame, None if is_shared else model)
        for model in models
    }
    steps = [
        odds_step(run, shelf, model, _odds_inputs(plan, frame, first_ids[model]))
        for model in models
    ]
    read = shelf.desk("this").tokenizer
    return steps, {str(one): str(read.decode([one])) for one in first_ids["this"]}


def _odds_inputs(
    plan: RefusalPlan, frame: Condition, first_ids: Sequence[int]
) -> OddsInputs:
    return OddsInputs(
        prompts=plan.prompts,
        frame=frame,
        refusals=plan.judging.refusal_opener,
        compliances=plan.judging.compliance_opener,
        first_ids=first_ids,
        batch_size=plan.asking.eval_batch_size,
    )


def _words(plan: RefusalPlan) -> dict[str, str]:
    """What is put in each attack, by its name."""
    system = plan.asking.system_prompt
    ways = attacks(
        sampled=False,
        suffixes=read_suffixes(plan.attacks.suffixes),
        prefills=plan.attacks.prefill,
    )
    put = {way.name: way.suffix or way.prefill for way in ways if way is not PLAIN}
    return put if system is None else {"system prompt": system, **put}


def _asked_models(compared: Comparison) -> list[Which]:
    """Models that answer here; the other one first, since this one is used last."""
    return ["compared", "this"] if "compared" in compared.sources else ["this"]


def _models(shelf: Shelf, compared: Comparison) -> Mapping[str, str]:
    found = {"this": shelf.desk("this").identity.source}
    if "compared" in compared.sources:
        found["compared"] = shelf.desk("compared").identity.source
    elif compared.earlier is not None:
        found["compared"] = f"run {compared.earlier}"
    return found
