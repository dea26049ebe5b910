"""What do a base and a tuned model read in the same texts?"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from driftmap.capture.lens import logit_lens
from driftmap.core.errors import MeasureError
from driftmap.core.progress import progress
from driftmap.load.model import LoadedModel
from driftmap.recipes.behaviour_options import BehaviourOptions
from driftmap.recipes.steps.comparing.behaviour.asking import (
    AskedFact,
    asked_facts,
    asked_texts,
)
from driftmap.recipes.steps.comparing.behaviour.reading import (
    pieces_of,
    read_rows,
    tops_of,
)
from driftmap.recipes.steps.comparing.chance import random_change
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.recipes.steps.comparing.states import (
    ComparedStates,
    Stated,
    compare_states,
    stated,
)
from driftmap.results.probes import Probes
from driftmap.results.readings import LensReadings, SpelledText
from driftmap.results.readings_change import (
    FactLens,
    MeanStates,
    ReadingsChange,
    TextReadings,
    TextStates,
)
from driftmap.stats.readings_change import (
    first_changed,
    layer_levels,
    lens_levels,
    mean_states,
    role_levels,
    surprise_change,
)
from driftmap.store.arrays_apart import load_apart, save_apart
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

STEP = "compare-readings"
FILE = "readings"
KIND = "driftmap.readings_change"


def readings_step(pair: Pair, probes: Probes, options: BehaviourOptions) -> StepOutcome:
    """Read texts and prompts with both models: words, states, keys and values.

    Args:
        pair: Both models.
        probes: Texts and facts.
        options: How much.
    """

    def make(folder: Path) -> None:
        save_apart(folder, FILE, _change(pair, probes, options), KIND)

    inputs = {
        **pair.inputs,
        "probes": probes.sha256,
        "seed": pair.study.seed,
        "window": options.window,
        "show": options.show,
        "states": options.num_states,
        "chance": options.has_chance,
    }
    return pair.study.run.step(STEP, inputs, make)


def read_readings(run: RunDir) -> ReadingsChange | None:
    """What the step kept; None where it is not in the run."""
    if not run.is_finished(STEP):
        return None
    folder = run.require(STEP).path(f"{FILE}.json").parent
    return load_apart(folder, FILE, ReadingsChange, KIND)


def _change(pair: Pair, probes: Probes, options: BehaviourOptions) -> ReadingsChange:
    left_out: Counter[str] = Counter()
    seed = pair.study.seed
    spelled = asked_texts(pair.base, probes.texts, left_out)
    facts = asked_facts(pair.base, probes.facts, left_out)
    texts, is_same = _texts(pair, spelled, options)
    asked = stated(pair.base, spelled, facts, options)
    compared = compare_states(pair.base, pair.tuned, asked)
    changed = first_changed(compared.states, compared.cache_layers)
    is_identical = is_same and changed is None
    chance, why = ((), "") if is_identical else _chance(pair, asked, options)
    means = (*mean_states(compared.states, "tuned"), *chance)
    subjects = [one.subject for one in asked]
    lenses = _lenses(pair, facts)
    return ReadingsChange(
        texts=texts[: options.show],
        states=_shown(compared, options),
        means=means,
        layers=layer_levels(means, subjects, compared.cache_layers, seed),
        roles=role_levels(compared.states, seed),
        cache=compared.cache,
        cache_layers=compared.cache_layers,
        no_cache=compared.no_cache,
        no_chance=why,
        lenses=lenses[: options.show],
        lens=lens_levels(lenses, seed),
        surprise=surprise_change(texts, seed),
        first_changed=changed,
        left_out=dict(left_out),
        is_identical=is_identical,
    )


def _texts(
    pair: Pair, texts: Sequence[SpelledText], options: BehaviourOptions
) -> tuple[tuple[TextReadings, ...], bool]:
    """Texts as both models read them, and whether every logit is equal."""
    rows = [text.token_ids for text in texts]
    found = read_rows((pair.base, pair.tuned), rows, options)
    read = tuple(
        TextReadings(
            spelled=text,
            before=one.before,
            after=one.after,
            before_tops=tops_of(pair.base, one.before),
            after_tops=tops_of(pair.base, one.after),
            pieces=pieces_of(text),
        )
        for text, one in zip(texts, found, strict=True)
    )
    return read, all(one.apart.is_same for one in found)


def _chance(
    pair: Pair, asked: Sequence[Stated], options: BehaviourOptions
) -> tuple[tuple[MeanStates, ...], str]:
    """How far a random change of the same size moves states, or why there is none."""
    if not options.has_chance:
        return (), "it was not asked for"
    try:
        other = random_change(pair)
    except MeasureError as error:
        return (), str(error)
    return mean_states(compare_states(pair.base, other, asked).states, "chance"), ""


def _shown(
    compared: ComparedStates, options: BehaviourOptions
) -> tuple[TextStates, ...]:
    """Some texts and some prompts, those that are drawn token by token."""
    half = max(1, options.show // 2)
    texts = [one for one in compared.states if not one.roles]
    prompts = [one for one in compared.states if one.roles]
    return (*texts[:half], *prompts[:half])


def _lenses(pair: Pair, facts: Sequence[AskedFact]) -> tuple[FactLens, ...]:
    with progress("look at each block's output", len(facts)) as bar:
        found = []
        for one in facts:
            found.append(_lens(pair, one))
            bar.advance()
    return tuple(found)


def _lens(pair: Pair, asked: AskedFact) -> FactLens:
    size = asked.answer.prompt_length
    ids = asked.answer.token_ids[:size].astype(np.int64)
    answer = int(asked.answer.token_ids[size])
    foil = None if asked.foil is None else int(asked.foil.token_ids[size])
    before, after = (
        _looked(model, ids, answer, foil) for model in (pair.base, pair.tuned)
    )
    foil_p = foil_rank = None
    if before.foil_p is not None and after.foil_p is not None:
        foil_p = np.stack([before.foil_p[:, 0], after.foil_p[:, 0]])
    if before.foil_rank is not None and after.foil_rank is not None:
        foil_rank = np.stack([before.foil_rank[:, 0], after.foil_rank[:, 0]])
    return FactLens(
        id=asked.fact.id,
        subject=asked.fact.subject or asked.fact.id,
        prompt=asked.fact.prompt,
        answer=asked.fact.answer or "",
        foil=asked.fact.foil if foil is not None else None,
        answer_p=np.stack([before.answer_p[:, 0], after.answer_p[:, 0]]),
        foil_p=foil_p,
        answer_rank=np.stack([before.answer_rank[:, 0], after.answer_rank[:, 0]]),
        foil_rank=foil_rank,
    )


def _looked(
    loaded: LoadedModel, ids: np.ndarray, answer: int, foil: int | None
) -> LensReadings:
    return logit_lens(
        loaded.model,
        ids,
        np.array([len(ids) - 1]),
        np.array([answer]),
        None if foil is None else np.array([foil]),
    )
