"""Where are kinds of text, and single tokens, sent, before tuning and after?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from driftmap.capture.expert_rows import show_experts
from driftmap.capture.routing import show_routing
from driftmap.core.places import ExpertPlace
from driftmap.core.progress import phase
from driftmap.measure.experts.routing import RoutingFold, RoutingKeeper
from driftmap.measure.experts.tokens import TokenPushFold
from driftmap.recipes.steps.experts.bench import ExpertBench
from driftmap.recipes.steps.experts.identifying import Chosen
from driftmap.results.expert_usage import (
    CoActivation,
    KeptRouting,
    TokenPushes,
    VocabularyUse,
)
from driftmap.results.expert_views import DomainRouting, Specialised, TokenView
from driftmap.results.experts import RoutingCounts
from driftmap.results.samples import EncodedSample
from driftmap.stats.experts.domains import routing_by_domain, specialised
from driftmap.stats.experts.selection import places
from driftmap.stats.experts.usage import co_activation, vocabulary_use
from driftmap.store.arrays_apart import load_apart, save_apart

USE_KIND = "driftmap.expert_use"
STEP = "tokens"

_SHOWN = 4
"""Samples whose tokens are drawn one by one (count)."""

_COLUMNS = 8
"""Chosen experts that stand in such a drawing (count)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Use:
    """What the untouched model's experts are used for.

    Args:
        domains: Where kinds of text are sent.
        specialised: Whether kinds go to different experts; None for one kind.
        company: Which experts are chosen together.
        vocabulary: How much single tokens decide.
        tokens: Where single tokens were sent.
    """

    domains: tuple[DomainRouting, ...]
    specialised: Specialised | None
    company: tuple[CoActivation, ...]
    vocabulary: tuple[VocabularyUse, ...]
    tokens: tuple[TokenView, ...]


def use_step(bench: ExpertBench, first: Chosen) -> Use:
    """Look at the untouched model unless it is done: `usage/`.

    Args:
        bench: The study; the model is untouched.
        first: The first choice, whose experts token views show.
    """

    def make(folder: Path) -> None:
        (folder / "usage").mkdir()
        with phase("where tokens are sent"):
            found = _use(bench, first)
        save_apart(folder / "usage", "usage", found, USE_KIND)

    inputs = {
        **bench.inputs,
        "chosen": first.step.key,
        "show_text": bench.plan.kept.show_text,
    }
    step = bench.study.run.step(STEP, inputs, make)
    return load_apart(step.root / "usage", "usage", Use, USE_KIND)


def domains_now(bench: ExpertBench) -> tuple[DomainRouting, ...]:
    """Where kinds of text are sent by the model as it now is."""
    samples, kinds = _kinds(bench)
    return routing_by_domain(_counts(bench, samples), kinds)


def _use(bench: ExpertBench, first: Chosen) -> Use:
    samples, kinds = _kinds(bench)
    counts = _counts(bench, samples)
    several = len(set(kinds)) > 1
    kept = _kept(bench, samples)
    seed = bench.study.seed
    return Use(
        domains=routing_by_domain(counts, kinds),
        specialised=specialised(counts, kinds, seed=seed) if several else None,
        company=tuple(co_activation(one) for one in kept),
        vocabulary=tuple(vocabulary_use(one, "input", seed) for one in kept),
        tokens=_token_views(bench, first.identified.group.experts[:_COLUMNS]),
    )


def _kinds(bench: ExpertBench) -> tuple[tuple[EncodedSample, ...], tuple[str, ...]]:
    """Every text whose routing is looked at, and what kind it is."""
    sides = bench.sides
    labels = {one.id: one.label or "benign" for one in bench.data.benign}
    texts = [("unsafe", one) for one in sides.unsafe]
    texts += [("safe", one) for one in sides.safe]
    texts += [(labels[one.sample_id], one) for one in sides.benign]
    return tuple(one for _, one in texts), tuple(kind for kind, _ in texts)


def _counts(bench: ExpertBench, samples: Sequence[EncodedSample]) -> RoutingCounts:
    fold = RoutingFold([bank.place for bank in bench.banks])
    model, batches = bench.study.loaded.model, bench.batches(samples, "all")
    show_routing(model, bench.banks, batches, fold.take)
    return fold.result()


def _kept(
    bench: ExpertBench, samples: Sequence[EncodedSample]
) -> tuple[KeptRouting, ...]:
    keeper = RoutingKeeper([bank.place for bank in bench.banks])
    model, batches = bench.study.loaded.model, bench.batches(samples, "all")
    show_routing(model, bench.banks, batches, keeper.take)
    return keeper.result()


def _token_views(
    bench: ExpertBench, experts: tuple[ExpertPlace, ...]
) -> tuple[TokenView, ...]:
    """Where the tokens of the first items went, and how they pulled."""
    samples = bench.sides.unsafe[:_SHOWN]
    if not experts:
        return ()
    rows = places(experts, [bank.place for bank in bench.banks])
    kept = _kept(bench, samples)
    pushes = None
    if all(bank.switchable for bank in bench.banks):
        fold = TokenPushFold(bench.banks, rows)
        model = bench.study.loaded.model
        show_experts(model, bench.banks, bench.batches(samples), fold.take)
        pushes = fold.result()
    return tuple(
        _view(bench, number, sample, (experts, rows, kept, pushes))
        for number, sample in enumerate(samples)
    )


_Read = tuple[
    tuple[ExpertPlace, ...], np.ndarray, tuple[KeptRouting, ...], TokenPushes | None
]


def _view(
    bench: ExpertBench, number: int, sample: EncodedSample, read: _Read
) -> TokenView:
    experts, rows, kept, pushes = read
    length = len(sample.token_ids)
    weights = np.zeros((length, len(experts)))
    for column, (bank, expert) in enumerate(rows.tolist()):
        routing = kept[bank]
        mine = routing.sample == number
        there = routing.chosen[mine] == expert
        weights[routing.position[mine], column] = (routing.weights[mine] * there).sum(
            axis=1
        )
    push = share = None
    if pushes is not None:
        push, share = _pulls(pushes, sample.sample_id, rows, weights)
    tokens: tuple[str, ...] = ()
    if bench.plan.kept.show_text:
        tokenizer = bench.study.loaded.tokenizer
        tokens = tuple(str(tokenizer.decode([i])) for i in sample.token_ids.tolist())
    return TokenView(
        sample_id=sample.sample_id,
        experts=experts,
        num_prompt=sample.prompt_length,
        weights=weights,
        push=push,
        signed_share=share,
        tokens=tokens,
    )


def _pulls(
    pushes: TokenPushes, sample_id: str, rows: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Push of every token, and its share of the gradient, at the chosen experts."""
    number = pushes.sample_ids.index(sample_id)
    push = np.zeros(len(weights))
    share = np.zeros(weights.shape)
    mean = np.mean([pushes.share[name] for name in pushes.share], axis=0)
    for column, (bank, expert) in enumerate(rows.tolist()):
        mine = (
            (pushes.sample == number)
            & (pushes.bank == bank)
            & (pushes.expert == expert)
        )
        at = pushes.token[mine]
        push[at] += pushes.push[mine]
        share[at, column] = mean[mine]
    top = push.max(initial=0.0)
    return (push / top if top else push), share
