"""What of the state before training does every checkpoint's drift need?

Built once per run: sizes of rows and columns, bins of |W_0|, and the groups' own
weights. A checkpoint then costs a gather and one read of W in row blocks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int16, Int64, UInt8
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site, canonical_order
from driftmap.measure.drift.change import difference, weight_change
from driftmap.measure.drift.matched import NOWHERE, NUM_BINS, bin_codes
from driftmap.measure.drift.moments import (
    MatrixNorms,
    fragment_starts,
    matrix_norms,
)
from driftmap.measure.drift.settled import Settled, shape_of
from driftmap.results.drift import DriftUnit
from driftmap.results.groups import FlatIndex, WeightGroup
from driftmap.signals.changes import MatrixChange


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupPlace:
    """One group's weights in one matrix, without those that were kept from moving.

    Args:
        index: Flat indices, ascending.
        weight: W_0 there.
        bin_of: Bin of |W_0| of each, for the matched reference.
        starts: First weight of each fragment.
        rows: Rows that hold a weight of the group.
        columns: Columns that hold one.
        still: Units of the group that hold nothing but weights kept from moving.
    """

    index: FlatIndex
    weight: Float64[np.ndarray, " weight"]
    bin_of: Int16[np.ndarray, " weight"]
    starts: Int64[np.ndarray, " fragment"]
    rows: Int64[np.ndarray, " row"]
    columns: Int64[np.ndarray, " column"]
    still: Mapping[DriftUnit, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SiteBaseline:
    """One matrix before training.

    Args:
        site: Which one.
        norms: |W_0|^2 of rows and columns.
        codes: Bin of |W_0| per weight, plus `NUM_BINS` in a declared group and twice
            that where it was kept from moving.
        places: Group name -> its weights here; groups without any are missing.
        uncontrolled: Group name -> weights whose bin lies in declared groups alone,
            which the ratio leaves out.
    """

    site: Site
    norms: MatrixNorms
    codes: UInt8[np.ndarray, "row column"]
    places: Mapping[str, GroupPlace]
    uncontrolled: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DriftBaseline:
    """The state that drift is measured from.

    Args:
        groups: Names, in the order given.
        sites: Every matrix that holds a weight of a group, in canonical order.
        weight: Gives a matrix under the adapter; asked for one at a time.
        reference: What had been added at step 0 per matrix; empty where nothing.
    """

    groups: tuple[str, ...]
    sites: tuple[SiteBaseline, ...]
    weight: Callable[[Site], Tensor]
    reference: Mapping[Site, MatrixChange]

    def change(
        self, site: Site, changes: Mapping[Site, MatrixChange], weight: Tensor
    ) -> Settled | None:
        """The change of one matrix against step 0; None where it was not tuned.

        Args:
            site: One of the baseline's matrices.
            changes: What training added now; asked for this matrix alone, so that a
                mapping may read a matrix when it is asked.
            weight: The matrix under the adapter.

        Raises:
            MeasureError: The change is not finite, fits neither the matrix nor the
                reference, or covers other matrices than the reference does.
        """
        now, then = changes.get(site), self.reference.get(site)
        if self.reference and (now is None) != (then is None):
            raise MeasureError(
                f"{site.key}: only one of adapter and step-0 adapter tunes it; "
                "are they of one run?"
            )
        if now is None:
            return None
        _require_shape(site, shape_of(now), "its change")
        return difference(now, then, site.key, weight)


def drift_baseline(
    groups: Sequence[WeightGroup],
    weight: Callable[[Site], Tensor],
    reference: Mapping[Site, MatrixChange] | None = None,
    still: Mapping[Site, FlatIndex] | None = None,
) -> DriftBaseline:
    """Keep what all checkpoints share. Holds about one byte per weight of a matrix.

    Args:
        groups: Whose drift is wanted. Those that are no controls (`is_control`) are
            declared and stay out of every group's reference.
        weight: Gives the matrix `[row column]` under the adapter, any float dtype.
        reference: What had been added at step 0, where that was not nothing.
        still: Flat indices of weights that were kept from moving, ascending: they are
            immobile, in a group or out of it.

    Returns:
        What `drift_table` takes with each checkpoint.

    Raises:
        MeasureError: Two groups share a name, a group does not fit its matrix, or a
            matrix is not finite.
    """
    names = tuple(group.name for group in groups)
    if len(set(names)) < len(names):
        raise MeasureError(f"groups {list(names)}: give every group its own name")
    sites = {s for g in groups for s, index in g.members.items() if index.size}
    held, kept = dict(reference or {}), still or {}
    return DriftBaseline(
        groups=names,
        sites=tuple(
            _site_baseline(
                site, groups, weight(site), held.get(site), kept.get(site, NOWHERE)
            )
            for site in sorted(sites, key=canonical_order)
        ),
        weight=weight,
        reference=held,
    )


def _site_baseline(
    site: Site,
    groups: Sequence[WeightGroup],
    weight: Tensor,
    reference: MatrixChange | None,
    still: FlatIndex,
) -> SiteBaseline:
    _require_shape(site, tuple(weight.shape), "its matrix")
    here = [group for group in groups if group.at(site).size]
    for group in here:
        _require_fit(site, group)
    norms = matrix_norms(weight, reference)
    if not np.isfinite(norms.rows).all():
        row = int(np.flatnonzero(~np.isfinite(norms.rows))[0])
        raise MeasureError(
            f"{site.key}: row {row} of the weights holds NaN or infinity; "
            "is the checkpoint damaged?"
        )
    declared = [g.at(site) for g in here if not g.is_control]
    codes = bin_codes(weight, reference, declared, still)
    places = {g.name: _place(g.at(site), weight, reference, codes) for g in here}
    outside = np.bincount(codes.reshape(-1), minlength=2 * NUM_BINS)[:NUM_BINS]
    return SiteBaseline(
        site=site,
        norms=norms,
        codes=codes,
        places=places,
        uncontrolled={
            name: int((outside[place.bin_of] == 0).sum())
            for name, place in places.items()
        },
    )


def _place(
    index: FlatIndex,
    weight: Tensor,
    reference: MatrixChange | None,
    codes: UInt8[np.ndarray, "row column"],
) -> GroupPlace:
    num_columns = weight.shape[1]
    everything = _units(index, num_columns)
    index = index[codes.reshape(-1)[index] < 2 * NUM_BINS]
    row, column = index // num_columns, index % num_columns
    held = weight.detach().cpu()[row, column].double().numpy()
    if reference is not None:
        held = held + weight_change(reference, None, index, weight).numpy()
    moving = _units(index, num_columns)
    starts = fragment_starts(index, num_columns)
    return GroupPlace(
        index=index,
        weight=held,
        bin_of=(codes[row, column] % NUM_BINS).astype(np.int16),
        starts=starts,
        rows=row[starts],
        columns=np.unique(column),
        still={unit: number - moving[unit] for unit, number in everything.items()},
    )


def _units(index: FlatIndex, num_columns: int) -> dict[DriftUnit, int]:
    num_rows = np.unique(index // num_columns).size
    return {
        "weight": index.size,
        "fragment": num_rows,
        "row": num_rows,
        "column": np.unique(index % num_columns).size,
    }


def _require_shape(site: Site, shape: tuple[int, ...], what: str) -> None:
    if shape != site.shape:
        raise MeasureError(
            f"{site.key}: {what} is {list(shape)}, but the model's matrix is "
            f"{list(site.shape)}; is the adapter or group of another model?"
        )


def _require_fit(site: Site, group: WeightGroup) -> None:
    index = group.at(site)
    if index[0] < 0 or index[-1] >= site.num_weights or (np.diff(index) <= 0).any():
        raise MeasureError(
            f"group {group.name!r}, {site.key}: flat indices must ascend from 0 to "
            f"{site.num_weights - 1}; is the group of another model?"
        )
