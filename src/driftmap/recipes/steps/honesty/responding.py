"""Which neurons and heads answer to the instruction, on statements not seen before?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from driftmap.capture.unit_responses import UnitSite, unit_differences, unit_sites
from driftmap.load.contrasts import Contrast
from driftmap.recipes.steps.bench import Study, batches_of
from driftmap.recipes.steps.honesty.files import UNITS, UNITS_KIND
from driftmap.recipes.steps.honesty.planning import Plan, contrasts_key, model_key
from driftmap.recipes.steps.honesty.states import read_at
from driftmap.results.honesty import UnitKind, UnitResponses
from driftmap.results.plain import to_plain
from driftmap.signals.batch import Batch
from driftmap.stats.unit_responses import UnitSums, top_units, unit_tests
from driftmap.store.plain import save_json
from driftmap.store.steps import StepOutcome

_Places = tuple[UnitKind, int]


def units_step(study: Study, plan: Plan) -> StepOutcome:
    """Rank units on the training half and test the first ones on the test half."""

    def make(folder: Path) -> None:
        found = _responses(study, plan)
        save_json(folder / UNITS, to_plain(found), UNITS_KIND)

    inputs = {
        "model": model_key(study),
        "pairs": [contrasts_key(plan.pairs[name]) for name in ("train", "test")],
        "num": plan.options.num_units,
    }
    return study.run.step("units", inputs, make)


def _responses(study: Study, plan: Plan) -> UnitResponses:
    if not plan.options.num_units:
        return UnitResponses(units=(), looked_at={})
    sites = unit_sites(study.loaded.model)
    sums = _sums(study, plan, sites)
    chosen = top_units(sums, plan.options.num_units)
    by_place = {(one.kind, one.layer): one for one in sums}
    rows: list[list[float]] = [[] for _ in chosen]

    def take(kind: UnitKind, layer: int, differences: Tensor) -> None:
        for row, unit in zip(rows, chosen, strict=True):
            if (unit.kind, unit.layer) == (kind, layer):
                along = by_place[kind, layer].direction[unit.unit]
                row += (differences[:, unit.unit].double().numpy() @ along).tolist()

    batches = _batches(study, plan.pairs["test"], plan.options.batch_size)
    unit_differences(study.loaded.model, sites, batches, take)
    looked_at: dict[str, int] = {}
    for site in sites:
        looked_at[site.kind] = looked_at.get(site.kind, 0) + site.num
    return UnitResponses(units=unit_tests(chosen, np.array(rows)), looked_at=looked_at)


def _sums(study: Study, plan: Plan, sites: Sequence[UnitSite]) -> list[UnitSums]:
    total: dict[_Places, Float64[np.ndarray, "unit number"]] = {}
    squares: dict[_Places, Float64[np.ndarray, " unit"]] = {}

    def take(kind: UnitKind, layer: int, differences: Tensor) -> None:
        wide = differences.double().numpy()
        place = (kind, layer)
        total[place] = total.get(place, 0) + wide.sum(0)
        squares[place] = squares.get(place, 0) + (wide**2).sum((0, 2))

    pairs = plan.pairs["train"]
    batches = _batches(study, pairs, plan.options.batch_size)
    unit_differences(study.loaded.model, sites, batches, take)
    return [
        UnitSums(
            kind=site.kind,
            layer=site.layer,
            num=len(pairs),
            total=total[site.kind, site.layer],
            squares=squares[site.kind, site.layer],
        )
        for site in sites
    ]


def _batches(
    study: Study, pairs: Sequence[Contrast], batch_size: int
) -> tuple[Batch, ...]:
    """Some statements at a time: all honest ones, then the same dishonest ones."""
    step = max(1, batch_size // 2)
    batches: list[Batch] = []
    for start in range(0, len(pairs), step):
        both = [read_at(one) for one in pairs[start : start + step]]
        rows = [pair[0] for pair in both] + [pair[1] for pair in both]
        (batch,) = batches_of(study.loaded, rows, len(rows), positions="labels")
        batches.append(_in_order(batch))
    return tuple(batches)


def _in_order(batch: Batch) -> Batch:
    """Rows by their number again: batches put the longest first."""
    order = sorted(range(len(batch.sample_ids)), key=lambda n: batch.sample_index[n])
    return Batch(
        sample_ids=tuple(batch.sample_ids[n] for n in order),
        sample_index=tuple(batch.sample_index[n] for n in order),
        token_ids=batch.token_ids[order],
        real=batch.real[order],
        counted=batch.counted[order],
        observed=batch.observed[order],
    )
