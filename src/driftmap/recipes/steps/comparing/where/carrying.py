"""In which order is it found where a change acts?"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import numpy as np
from transformers import PreTrainedModel

from driftmap.core.errors import ModelError
from driftmap.intervene.mixing import Mixer
from driftmap.load.twin import twin
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.recipes.steps.comparing.where.asking import (
    Asked,
    asked_of_facts,
    asked_of_requests,
)
from driftmap.recipes.steps.comparing.where.before_after import trace_changes
from driftmap.recipes.steps.comparing.where.crossing import cross_traces
from driftmap.recipes.steps.comparing.where.exchanging import Exchanger
from driftmap.recipes.where_options import WhereOptions
from driftmap.results.facts import Fact
from driftmap.results.plain import to_plain
from driftmap.results.probes import Probes
from driftmap.results.statistics import Interval
from driftmap.results.where_it_acts import SwapShare, WhereItActs
from driftmap.stats.where import forms_share
from driftmap.store.arrays_apart import load_apart, save_apart
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

NAME, KIND = "where", "driftmap.where"

LEAST_TAUGHT = 0.25
"""Share of facts whose foil became likelier than the answer, from which on foils are
taken to be what was taught."""


def where_step(
    pair: Pair, facts: Sequence[Fact], probes: Probes, options: WhereOptions
) -> StepOutcome:
    """Write `where.json` and `where.safetensors`: where the change acts.

    Args:
        pair: The two models.
        facts: Facts with the true answer and the taught one as the foil. Where there
            are none, or where tuning taught none of the foils, what the two say to the
            requests of the probes tells them apart.
        probes: What else both are asked.
        options: How much is exchanged, mixed and traced.
    """

    def make(folder: Path) -> None:
        save_apart(folder, NAME, found_of(pair, facts, probes, options), KIND)

    inputs = {
        **pair.inputs,
        "facts": _sha256(facts),
        "probes": probes.sha256,
        "seed": pair.study.seed,
        "options": {k: v for k, v in asdict(options).items() if k != "batch_size"},
    }
    return pair.study.run.step(NAME, inputs, make)


def read_where(run: RunDir) -> WhereItActs | None:
    """Read what `where_step` wrote; None where the step is not in the run."""
    if not run.is_finished(NAME):
        return None
    return load_apart(run.path, NAME, WhereItActs, KIND)


def found_of(
    pair: Pair, facts: Sequence[Fact], probes: Probes, options: WhereOptions
) -> WhereItActs:
    """Ask all questions of two models; see `where_step`.

    Where the two differ in more than weights of the same shapes, nothing can be
    exchanged, and that is what is found.
    """
    try:
        return _found(pair, facts, probes, options)
    except ModelError as error:
        return WhereItActs(
            identical=False,
            behaviour="own words",
            num_layers=len(pair.base.layout.blocks),
            refused=str(error),
        )


def _found(
    pair: Pair, facts: Sequence[Fact], probes: Probes, options: WhereOptions
) -> WhereItActs:
    num_layers = len(pair.base.layout.blocks)
    mixer = Mixer(twin(cast(PreTrainedModel, pair.base.model)), pair.tuned.model)
    asked, exchanger = _asked(pair, mixer, facts, probes, options)
    found = WhereItActs(
        identical=not mixer.changed,
        behaviour=asked.behaviour,
        num_layers=num_layers,
        num_same=asked.num_same,
        left_out=asked.left_out,
        span="subject" if asked.behaviour == "taught answers" else "request",
    )
    if exchanger is None or found.identical:
        return found
    owners, swaps = exchanger.owners, exchanger.swaps()
    gap = owners.mean(exchanger.gap)
    found = replace(
        found,
        num_asked=len(asked.owners),
        nll_base=owners.mean(exchanger.base),
        nll_tuned=owners.mean(exchanger.tuned),
        gap=gap,
        shares_formed=forms_share(gap),
        swaps=swaps,
        sum_needed=_sum([swap.needed for swap in _layers(swaps)]),
        sum_enough=_sum([swap.enough for swap in _layers(swaps)]),
        curve=exchanger.curve(),
        crosses=cross_traces(pair, asked, options),
        num_crossed=len(asked.traced),
    )
    if asked.behaviour == "own words":
        return found
    traces, shifts = trace_changes(pair, asked, options)
    return replace(found, traces=traces, shifts=shifts, num_traced=len(asked.traced))


def _asked(
    pair: Pair,
    mixer: Mixer,
    facts: Sequence[Fact],
    probes: Probes,
    options: WhereOptions,
) -> tuple[Asked, Exchanger | None]:
    """What sets the two apart: taught answers, else what they say of their own."""
    of_facts = asked_of_facts(pair.base, facts, options)
    exchanger = None
    if of_facts.owners:
        exchanger = Exchanger(pair, mixer, of_facts, options)
        if exchanger.share_taught >= LEAST_TAUGHT or not mixer.changed:
            return of_facts, exchanger
    of_requests = asked_of_requests(pair, probes, options)
    if of_requests.owners:
        return of_requests, Exchanger(pair, mixer, of_requests, options)
    if exchanger is not None:
        return of_facts, exchanger
    return of_requests, None


def _layers(swaps: Sequence[SwapShare]) -> list[SwapShare]:
    return [swap for swap in swaps if swap.kind == "layer"]


def _sum(shares: Sequence[Interval | None]) -> float | None:
    known = [share.estimate for share in shares if share is not None]
    return float(np.sum(known)) if known else None


def _sha256(facts: Sequence[Fact]) -> str:
    told = [to_plain(fact) for fact in facts]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
