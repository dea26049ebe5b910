"""What do a base and a tuned model do with the same probes?"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from driftmap.core.errors import MeasureError
from driftmap.evaluate.refusal import is_refusal
from driftmap.load.model import LoadedModel
from driftmap.recipes.behaviour_options import BehaviourOptions
from driftmap.recipes.steps.comparing.behaviour.answering import (
    accuracy_of,
    answers_of,
    paired_accuracy,
    paired_answers,
)
from driftmap.recipes.steps.comparing.behaviour.asking import Asked, asked_of
from driftmap.recipes.steps.comparing.behaviour.reading import (
    prompt_divergence,
    read_facts,
    read_texts,
)
from driftmap.recipes.steps.comparing.chance import random_change
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.results.behaviour_change import BehaviourChange, BehaviourPoint
from driftmap.results.probes import Probes
from driftmap.stats.behaviour_change import (
    Chance,
    Compared,
    behaviour_summary,
    text_means,
)
from driftmap.store.arrays_apart import load_apart, save_apart
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

STEP = "compare-behaviour"
FILE = "behaviour"
KIND = "driftmap.behaviour_change"


def behaviour_step(
    pair: Pair, probes: Probes, options: BehaviourOptions
) -> StepOutcome:
    """Ask both models the same, and keep what they say and how far apart they are.

    Args:
        pair: Both models.
        probes: What they are asked; kinds there are none of are left out.
        options: How much.
    """

    def make(folder: Path) -> None:
        asked = asked_of(pair.base, probes)
        save_apart(folder, FILE, _change(pair, asked, options), KIND)

    inputs = {
        **pair.inputs,
        "probes": probes.sha256,
        "seed": pair.study.seed,
        "max_new_tokens": options.max_new_tokens,
        "window": options.window,
        "show": options.show,
        "chance": options.has_chance,
    }
    return pair.study.run.step(STEP, inputs, make)


def read_behaviour(run: RunDir) -> BehaviourChange | None:
    """What the step kept; None where it is not in the run."""
    if not run.is_finished(STEP):
        return None
    folder = run.require(STEP).path(f"{FILE}.json").parent
    return load_apart(folder, FILE, BehaviourChange, KIND)


def behaviour_at(
    pair: Pair, model: LoadedModel, probes: Probes, options: BehaviourOptions
) -> BehaviourPoint:
    """Ask one model, such as a checkpoint, and keep one number per probe.

    Args:
        pair: Whose base the model is compared with.
        model: Any version of it, the base itself too.
        probes: As for `behaviour_step`.
        options: How much.
    """
    asked = asked_of(pair.base, probes)
    models = pair.base, model
    texts = read_texts(models, asked.texts, options)
    facts, _ = read_facts(models, asked.facts, options)
    harmful, harmless = (
        [is_refusal(one.text) for one in answers_of(model, prompts, options)]
        for prompts in (asked.harmful, asked.harmless)
    )
    right = accuracy_of(model, asked.held_out, options)
    foils = [one.foil_after for one in facts]
    return BehaviourPoint(
        texts=tuple(one.name for one in texts),
        kl=text_means(texts, "forward"),
        surprise=np.array([one.after.surprise[one.first :].mean() for one in texts]),
        num_tokens=np.array(
            [one.after.surprise.size - one.first for one in texts], np.int64
        ),
        facts=tuple(one.id for one in facts),
        answer_nll=np.array([one.answer_after.nll_nats for one in facts]),
        foil_nll=np.array([np.nan if one is None else one.nll_nats for one in foils]),
        harmful=tuple(one.sample_id for one in asked.harmful),
        refused_harmful=np.array(harmful, bool),
        harmless=tuple(one.sample_id for one in asked.harmless),
        refused_harmless=np.array(harmless, bool),
        held_out=tuple(one.sample_id for one in right),
        right=np.array([one.right for one in right], bool),
    )


def _change(pair: Pair, asked: Asked, options: BehaviourOptions) -> BehaviourChange:
    found, is_identical = _compared(pair, asked, options)
    why = ""
    if not is_identical:
        chance, why = _chance(pair, asked, options)
        found = replace(found, chance=chance)
    return BehaviourChange(
        texts=tuple(found.texts),
        facts=tuple(found.facts),
        harmful=tuple(found.harmful),
        harmless=tuple(found.harmless),
        held_out=tuple(found.held_out),
        left_out=asked.left_out,
        no_chance=why,
        is_identical=is_identical,
        summary=behaviour_summary(found, pair.study.seed),
        show=options.show,
        max_new_tokens=options.max_new_tokens,
    )


def _compared(
    pair: Pair, asked: Asked, options: BehaviourOptions
) -> tuple[Compared, bool]:
    """What both models give, and whether all of it is equal, bit for bit."""
    models = pair.base, pair.tuned
    texts = read_texts(models, asked.texts, options)
    facts, is_same = read_facts(models, asked.facts, options)
    harmful, harmless = (
        paired_answers(
            answers_of(pair.base, prompts, options),
            answers_of(pair.tuned, prompts, options),
            words,
        )
        for prompts, words in (
            (asked.harmful, asked.harmful_words),
            (asked.harmless, asked.harmless_words),
        )
    )
    held_out = paired_accuracy(
        accuracy_of(pair.base, asked.held_out, options),
        accuracy_of(pair.tuned, asked.held_out, options),
    )
    is_identical = (
        is_same
        and all(one.apart.is_same for one in texts)
        and all(one.before == one.after for one in (*harmful, *harmless))
        and all(one.nll_before == one.nll_after for one in held_out)
    )
    found = Compared(
        texts=texts,
        facts=facts,
        harmful=harmful,
        harmless=harmless,
        held_out=held_out,
        chance=None,
    )
    return found, is_identical


def _chance(
    pair: Pair, asked: Asked, options: BehaviourOptions
) -> tuple[Chance | None, str]:
    """How far a random change of the same size moves the base, or why there is none."""
    if not options.has_chance:
        return None, "it was not asked for"
    try:
        models = pair.base, random_change(pair)
    except MeasureError as error:
        return None, str(error)
    return Chance(
        texts=text_means(read_texts(models, asked.texts, options), "forward"),
        prompts=prompt_divergence(models, asked.facts, options),
    ), ""
