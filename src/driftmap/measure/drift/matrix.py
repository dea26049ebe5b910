"""What is there to say of one matrix that moved: how far, which rows, how many ways?"""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.measure.drift.change import difference
from driftmap.measure.drift.moments import MatrixNorms, matrix_norms, settled_moments
from driftmap.measure.drift.settled import Settled, StretchedFactors
from driftmap.measure.drift.spectrum import random_shape, spectrum
from driftmap.results.drift import Moments
from driftmap.results.weight_changes import ChangedMatrix, LargestUnits, Made
from driftmap.signals.changes import (
    DenseChange,
    DoraFactors,
    MaskedFactors,
    MatrixChange,
)
from driftmap.stats.spectra import largest_by_chance

MOST_UNITS = 5
"""Rows and columns of a matrix that are named."""


def changed_matrix(
    site: Site,
    change: MatrixChange,
    weight: Float[Tensor, "row column"] | None,
    *,
    with_spectrum: bool = True,
) -> ChangedMatrix | None:
    """Measure the change of one matrix.

    Args:
        site: Which one.
        change: What training added.
        weight: The matrix under it, any float dtype; None where the base is not known.
        with_spectrum: Whether its directions are wanted, which cost most.

    Returns:
        The measured change; None where not one weight differs.

    Raises:
        MeasureError: The change is not finite or does not fit the site, or is DoRA's
            and the base is not known.
    """
    if weight is None and isinstance(change, DoraFactors):
        raise MeasureError(
            f"{site.key}: DoRA scales the rows of its base, so what it changed is not "
            "known without it; give the base, too"
        )
    moved = difference(change, where=site.key, weight=weight)
    held = _nothing(site) if weight is None else weight
    norms = _norms(held, is_known=weight is not None)
    moments = settled_moments(held, moved, None, norms)
    whole = moments.rows.total()
    length = float(whole.l2[0])
    if length == 0:
        return None
    is_known = weight is not None
    return ChangedMatrix(
        key=site.key,
        layer=site.layer,
        part=site.part,
        expert=site.expert,
        num_rows=site.num_rows,
        num_columns=site.num_columns,
        made=_made(moved),
        length=length,
        size=float(np.sqrt(whole.weight[0])) if is_known else None,
        cosine_distance=float(whole.cosine_distance[0])
        if is_known and whole.directed[0]
        else None,
        spectrum=spectrum(moved, weight) if with_spectrum else None,
        rows=_largest(moments.rows, _freedom(moved, site.num_columns), is_known),
        columns=_largest(moments.columns, _freedom(moved, site.num_rows), is_known),
    )


def _nothing(site: Site) -> Float[Tensor, "row column"]:
    """Stands for a base that is not known: zeros that take no room."""
    return torch.zeros((), dtype=torch.float64).expand(site.num_rows, site.num_columns)


def _norms(weight: Float[Tensor, "row column"], *, is_known: bool) -> MatrixNorms:
    if is_known:
        return matrix_norms(weight)
    return MatrixNorms(rows=np.zeros(len(weight)), columns=np.zeros(weight.shape[1]))


def _made(change: Settled) -> Made:
    if isinstance(change, DenseChange):
        return "whole"
    if isinstance(change, MaskedFactors):
        return "masked factors"
    return "stretched factors" if isinstance(change, StretchedFactors) else "factors"


def _freedom(change: Settled, num_entries: int) -> int:
    """Numbers of a unit that are free where the change is random."""
    rank = random_shape(change).rank
    return num_entries if rank is None else min(rank, num_entries)


def _largest(moments: Moments, num_free: int, is_known: bool) -> LargestUnits:
    lengths = moments.l2
    order = np.argsort(-lengths, kind="stable")[:MOST_UNITS]
    sizes: Float64[np.ndarray, " unit"] = np.sqrt(moments.weight[order])
    return LargestUnits(
        index=order.astype(np.int64),
        lengths=lengths[order],
        sizes=sizes if is_known else np.empty(0),
        num_units=lengths.size,
        typical=float(np.sqrt((lengths**2).mean())),
        chance=largest_by_chance(lengths.size, num_free),
    )
