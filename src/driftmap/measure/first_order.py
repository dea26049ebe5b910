"""How much would a loss change if a whole unit were zero, to first order?

`1/N sum_n |sum_{ij in unit} W_ij G_n,ij|`. The sum over a row i of a map is
`sum_t D_ti y_ti` with y without its bias; over a column j it is `sum_t X_tj (DW)_tj`,
where DW is the gradient at this map's own input. So no gradient of a weight is made:
at O(T d) it is the cheap screen of large models. Of a head and of a neuron the columns
of o and of down are read: what they hold is what the unit adds to the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.signals.fold import Fold, LinearCall, SiteSignal
from driftmap.signals.units import Grain, Piece, UnitSet, unit_sets

_BY_COLUMN = ("column", "head", "neuron")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitTerms:
    """What one matrix gives to the effect of every unit.

    Args:
        of_samples: `sum W_ij G_n,ij` per sample and unit, signed; empty where the unit
            has no other matrix, so that only sizes are kept.
        total: Sum over samples of its size.
        sample_index: Number of each sample, in the order of `of_samples`.
        num_samples: Samples seen.
    """

    of_samples: tuple[Float64[Tensor, "_ unit"], ...] = ()
    total: Float64[Tensor, " unit"] | None = None
    sample_index: tuple[int, ...] = ()
    num_samples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitEffects:
    """First-order effect of zeroing each unit of a set.

    Args:
        units: Which units.
        effect: Mean over samples of its size, in nats.
    """

    units: UnitSet
    effect: Float64[np.ndarray, " unit"]


class FirstOrder(Fold[UnitTerms, dict[Site, UnitTerms]]):
    """Effect of zeroing units; `effects` joins what the matrices give.

    Args:
        sites: All matrices of the model, in canonical order.
        grain: What a unit is, `weight` left out: there it is SNIP itself.
        num_samples: Samples that will come, for the memory that is planned.

    Raises:
        MeasureError: The parts of a block do not make whole units.
    """

    needs_backward = True

    def __init__(self, sites: Sequence[Site], grain: Grain, num_samples: int) -> None:
        self.needs_input_gradients = grain in _BY_COLUMN
        self.needs_outputs = not self.needs_input_gradients
        self.sets = tuple(_read(units) for units in unit_sets(sites, grain))
        self._num_samples = num_samples
        self._pieces = {
            piece.site: (piece, len(units.pieces) > 1)
            for units in self.sets
            for piece in units.pieces
        }

    @property
    def sites(self) -> tuple[Site, ...]:
        """The matrices that are read; the others may be left out of the pass."""
        return tuple(self._pieces)

    def num_bytes(self, site: Site) -> int:
        """Memory of a sum per unit, or of a number per unit and sample."""
        if site not in self._pieces:
            return 1
        piece, is_joint = self._pieces[site]
        return 8 * piece.num_units * (self._num_samples if is_joint else 1)

    def start(self, site: Site) -> UnitTerms:
        """No sample yet."""
        return UnitTerms()

    def update(self, state: UnitTerms, signal: SiteSignal) -> UnitTerms:
        """Add the samples of a batch."""
        if signal.site not in self._pieces:
            return state
        piece, is_joint = self._pieces[signal.site]
        count = len(signal.sample_index)
        terms = _terms(piece, signal.calls, count)
        return _joined(
            state,
            UnitTerms(
                of_samples=(terms,) if is_joint else (),
                total=None if is_joint else terms.abs().sum(dim=0),
                sample_index=signal.sample_index if is_joint else (),
                num_samples=count,
            ),
        )

    def merge(self, left: UnitTerms, right: UnitTerms) -> UnitTerms:
        """Join disjoint samples."""
        return _joined(left, right)

    def result(self, states: Mapping[Site, UnitTerms]) -> dict[Site, UnitTerms]:
        """What every matrix gives, for `effects`; others are left out."""
        return {site: state for site, state in states.items() if site in self._pieces}

    def effects(self, terms: Mapping[Site, UnitTerms]) -> tuple[UnitEffects, ...]:
        """Join the matrices of every unit, before the absolute value.

        Args:
            terms: Results of all passes together.

        Raises:
            MeasureError: A matrix has seen no sample.
        """
        for site in self._pieces:
            if site not in terms or not terms[site].num_samples:
                raise MeasureError(f"{site.key}: no sample was scored")
        return tuple(
            UnitEffects(
                units=units, effect=_effect([terms[p.site] for p in units.pieces])
            )
            for units in self.sets
        )


def _read(units: UnitSet) -> UnitSet:
    """The pieces whose terms are read: of heads and neurons only columns."""
    if units.grain not in _BY_COLUMN:
        return units
    pieces = tuple(piece for piece in units.pieces if piece.axis == "column")
    return replace(units, pieces=pieces)


@torch.no_grad()
def _terms(
    piece: Piece, calls: Sequence[LinearCall], count: int
) -> Float64[Tensor, "sample unit"]:
    """Signed sums over each unit's weights; calls of one map add up first."""
    if not calls:
        return torch.zeros(count, piece.num_units, dtype=torch.float64)
    lines = torch.stack([_lines(piece, call) for call in calls]).sum(dim=0)
    if piece.axis == "whole":
        return lines.sum(dim=1, keepdim=True)
    return lines.reshape(count, -1, piece.size).sum(dim=2)


def _lines(piece: Piece, call: LinearCall) -> Float64[Tensor, "sample line"]:
    if piece.axis == "column":
        left, right = call.inputs, call.input_gradients
    else:
        left, right = call.outputs, call.output_gradients
    assert left is not None, "the fold asks for it"
    assert right is not None, "the fold asks for it"
    return (left.float() * right.float()).sum(dim=1, dtype=torch.float64)


def _joined(left: UnitTerms, right: UnitTerms) -> UnitTerms:
    if left.total is None or right.total is None:
        total = right.total if left.total is None else left.total
    else:
        total = left.total + right.total.to(left.total.device)
    return UnitTerms(
        of_samples=left.of_samples + right.of_samples,
        total=total,
        sample_index=left.sample_index + right.sample_index,
        num_samples=left.num_samples + right.num_samples,
    )


def _effect(terms: Sequence[UnitTerms]) -> Float64[np.ndarray, " unit"]:
    (num_samples,) = {one.num_samples for one in terms}
    if len(terms) == 1:
        total = terms[0].total
        assert total is not None, "samples came"
        return total.cpu().numpy() / num_samples
    return np.abs(sum(map(_by_sample, terms))).sum(axis=0) / num_samples


def _by_sample(terms: UnitTerms) -> Float64[np.ndarray, "sample unit"]:
    """Terms in the order of the samples, whatever the order they came in."""
    values = torch.cat([part.cpu() for part in terms.of_samples]).numpy()
    return values[np.argsort(terms.sample_index, kind="stable")]
