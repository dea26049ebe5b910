"""How much do gradients of queries and originals have in common, tensor by tensor?"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, Int64

from driftmap.capture.memory import default_budget
from driftmap.core.errors import UsageError
from driftmap.core.places import PARTS, TensorPlace
from driftmap.core.progress import say
from driftmap.core.units import format_count
from driftmap.engine.shards import CHUNK
from driftmap.families.tensors import TensorRule, choose_tensors, find_tensors
from driftmap.load.chunks import chunked_batches
from driftmap.load.model import LoadedModel
from driftmap.measure.products import (
    Products,
    Workload,
    require_direction,
    workload_of,
)
from driftmap.recipes.steps.bench import pad_id
from driftmap.recipes.steps.similarity.narrow import told_deviation
from driftmap.recipes.steps.similarity.schedules import (
    Filled,
    KeptQueries,
    PairWork,
    Schedule,
    Ways,
    fill,
    foreseen_bytes,
)
from driftmap.results.pair_products import NONE, PairProducts
from driftmap.results.samples import EncodedSample
from driftmap.signals.batch import Batch

NARROW_SAMPLES = 8
"""Samples whose products are repeated in float32 where a model is narrower (count)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientSettings:
    """How products of gradients are computed; all ways agree but for rounding.

    Args:
        products: Through inner products of tokens, by forming gradients, or whichever
            is cheaper.
        schedule: All tensors of a batch after another, or one layer after another for
            all samples; `auto` takes the former where it fits.
        only: Tensors to measure, by part or by a piece of their name; all if empty.
        batch_tokens: Tokens of one pass, padding included (count).
        memory_bytes: What gradients may take; by default most of what is free.
        scratch: Folder for hidden states that do not fit into memory.
    """

    products: Products = "auto"
    schedule: Schedule = "auto"
    only: tuple[str, ...] = ()
    batch_tokens: int = 4096
    memory_bytes: int | None = None
    scratch: Path | None = None

    @property
    def ways(self) -> Ways:
        """How the work may be done."""
        return Ways(
            products=self.products,
            schedule=self.schedule,
            memory_bytes=self.memory_bytes,
            scratch=self.scratch,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedSides:
    """What is compared with what.

    Args:
        queries: All queries.
        originals: All originals.
        candidates: Numbers of originals per query; `NONE` fills up.
    """

    queries: Sequence[EncodedSample]
    originals: Sequence[EncodedSample]
    candidates: Int64[np.ndarray, "query candidate"]


def pair_products(
    loaded: LoadedModel,
    sides: EncodedSides,
    settings: GradientSettings,
    dot: Float64[np.ndarray, "query candidate tensor"] | None = None,
) -> PairProducts:
    """Compare gradients of every query with those of its candidates.

    Args:
        loaded: The model; left as it was found.
        sides: What is compared with what.
        settings: How it is computed.
        dot: Where inner products go, such as an array on disk; by default in memory.

    Raises:
        UsageError: `only` names no tensor.
        MeasureError: A gradient is NaN or infinite, or zero in every tensor.
    """
    every = range(len(sides.originals))
    found = shard_products(loaded, sides, settings, every, dot)
    say_directionless(found)
    return found


def shard_products(
    loaded: LoadedModel,
    sides: EncodedSides,
    settings: GradientSettings,
    part: range,
    dot: Float64[np.ndarray, "query candidate tensor"] | None = None,
    kept: KeptQueries | None = None,
) -> PairProducts:
    """Compare gradients of every query with its candidates among some originals.

    Parts cut at the edges of chunks of 64 give the numbers of the whole, bit for bit on
    a CPU (`joined_products`).

    Args:
        loaded: The model; left as it was found.
        sides: What is compared with what, in the whole run.
        settings: How it is computed.
        part: Numbers of the originals.
        dot: Where inner products go; its second axis has `part_candidates`' length.
        kept: Gradients of the queries, from one part to the next.

    Returns:
        Products with those originals alone; candidates are numbers among them.
    """
    rules = chosen_rules(loaded, settings.only)
    work = _empty_work(loaded, rules, sides, part, dot)
    with _full_precision():
        filled = fill(
            work,
            lambda some: _batches(loaded, sides.queries, some, settings),
            lambda: _batches(loaded, sides.originals, part, settings),
            settings.ways,
            kept,
        )
        narrow = _narrow(loaded, rules, sides, settings)
    ids = tuple(sides.originals[number].sample_id for number in part)
    if not settings.only:
        require_direction(work.query_ids, work.query_energy)
        require_direction(ids, work.original_energy)
    return PairProducts(
        queries=work.query_ids,
        originals=ids,
        candidates=work.candidates,
        tensors=work.tensors,
        dot=work.dot,
        query_energy=work.query_energy,
        original_energy=work.original_energy,
        provenance=_provenance(loaded, rules, filled) | narrow,
    )


def all_queries_fit(
    loaded: LoadedModel, sides: EncodedSides, settings: GradientSettings
) -> bool:
    """Whether the gradients of all queries may be held while originals pass.

    Args:
        loaded: The model.
        sides: What is compared with what.
        settings: How it is computed.
    """
    if settings.schedule != "auto":
        return settings.schedule == "streaming"
    given = settings.memory_bytes
    room = default_budget(loaded.model) if given is None else given
    rules = chosen_rules(loaded, settings.only)
    workload = _workload(sides)
    need = foreseen_bytes(rules, len(sides.queries), workload, settings.products)
    return need <= room


def part_candidates(
    candidates: Int64[np.ndarray, "query candidate"], part: range
) -> Int64[np.ndarray, "query kept"]:
    """Candidates that are in a part, as numbers from its first original.

    >>> part_candidates(np.array([[0, 2, 3], [3, 1, -1]]), range(2, 4)).tolist()
    [[0, 1], [1, -1]]
    """
    inside = (candidates >= part.start) & (candidates < part.stop)
    most = int(inside.sum(axis=1).max(initial=0))
    order = np.argsort(~inside, axis=1, kind="stable")[:, :most]
    kept = np.take_along_axis(candidates, order, axis=1) - part.start
    return np.where(np.take_along_axis(inside, order, axis=1), kept, NONE)


def directionless(products: PairProducts) -> Mapping[str, int]:
    """How many samples have no direction, by tensor; tensors with none are left out."""
    still = (products.query_energy == 0).sum(axis=0)
    still = still + (products.original_energy == 0).sum(axis=0)
    return {
        place.name: count
        for place, count in zip(products.tensors, still.tolist(), strict=True)
        if count
    }


def say_directionless(products: PairProducts) -> None:
    """Name the tensors in which some samples have no direction."""
    found = directionless(products)
    total = len(products.queries) + len(products.originals)
    if found:
        experts = [n for n in found if "#expert." in n]
        named = [f"{n} ({count})" for n, count in found.items() if n not in experts]
        named += [f"{len(experts)} tensors of experts"] * bool(experts)
        listed = ", ".join(named)
        say(
            f"no direction, so no cosine, in some of {total} samples: {listed}; what "
            "is left there is rounding"
        )


def chosen_rules(loaded: LoadedModel, only: Sequence[str]) -> tuple[TensorRule, ...]:
    """Find the tensors that are measured.

    Args:
        loaded: The model.
        only: Parts, or pieces of names; all tensors if empty.

    Raises:
        UsageError: They name no tensor.
    """
    rules = find_tensors(loaded.model)
    if not only:
        return rules

    def wanted(place: TensorPlace) -> bool:
        return any(_names(one, place) for one in only)

    chosen = choose_tensors(rules, wanted)
    if not chosen:
        parts = dict.fromkeys(place.part for rule in rules for place in rule.places)
        raise UsageError(
            f"--only {' '.join(only)} names no tensor; the model has the parts "
            f"{', '.join(parts)}"
        )
    return chosen


def _names(one: str, place: TensorPlace) -> bool:
    """A word that is a part names that part alone: `o` is in nearly every name."""
    return one == place.part if one in PARTS else one in place.name


def _empty_work(
    loaded: LoadedModel,
    rules: tuple[TensorRule, ...],
    sides: EncodedSides,
    part: range,
    dot: Float64[np.ndarray, "query candidate tensor"] | None,
) -> PairWork:
    num_tensors = sum(len(rule.slices) for rule in rules)
    candidates = part_candidates(sides.candidates, part)
    return PairWork(
        model=loaded.model,
        rules=rules,
        query_ids=tuple(one.sample_id for one in sides.queries),
        candidates=candidates,
        workload=_workload(sides),
        dot=np.zeros((*candidates.shape, num_tensors)) if dot is None else dot,
        query_energy=np.zeros((len(sides.queries), num_tensors)),
        original_energy=np.zeros((len(part), num_tensors)),
    )


def _workload(sides: EncodedSides) -> Workload:
    query_lengths, original_lengths = (
        [len(one.token_ids) for one in side]
        for side in (sides.queries, sides.originals)
    )
    return workload_of(sides.candidates, query_lengths, original_lengths)


def _batches(
    loaded: LoadedModel,
    encoded: Sequence[EncodedSample],
    part: range,
    settings: GradientSettings,
) -> tuple[Batch, ...]:
    return chunked_batches(
        encoded,
        part,
        chunk=CHUNK,
        batch_tokens=settings.batch_tokens,
        pad_id=pad_id(loaded),
        device=loaded.device,
    )


def _narrow(
    loaded: LoadedModel,
    rules: Sequence[TensorRule],
    sides: EncodedSides,
    settings: GradientSettings,
) -> dict[str, str]:
    """What a pass below float32 errs by, told from a few samples."""
    some = range(min(NARROW_SAMPLES, len(sides.originals)))
    return told_deviation(
        loaded.model, rules, _batches(loaded, sides.originals, some, settings)
    )


def _provenance(
    loaded: LoadedModel, rules: Sequence[TensorRule], filled: Filled
) -> dict[str, str]:
    ghost = [name for name, form in filled.forms.items() if form == "ghost"]
    slow = [place for r in rules if r.kind == "other" for place in r.places]
    if slow:
        weights = format_count(sum(place.num_weights or 0 for place in slow))
        say(f"{len(slow)} tensors of {weights} weights go by autograd, one by one")
    return {
        "measure": "gradients",
        "dtype": loaded.identity.dtype,
        "schedule": filled.schedule,
        "products": f"{len(ghost)} of {len(filled.forms)} tensors without forming "
        "gradients",
        "ghost": json.dumps(sorted(ghost)),
        "autograd": json.dumps([place.name for place in slow]),
    }


@contextmanager
def _full_precision() -> Iterator[None]:
    """Keep TF32 and the like out of matrix products."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
