"""Which weights make one row, one head, one neuron, one layer?

A head holds its rows of q and the same columns of o; rows of k and v belong to the
key-value head that several heads share. A neuron is a hidden unit of an MLP, be it that
of a dense layer, of an expert or of a shared expert: its rows of gate and up and its
column of down.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from driftmap.core.errors import MeasureError
from driftmap.core.places import Part, Site

Grain = Literal[
    "weight", "row", "column", "head", "kv_head", "neuron", "module", "layer"
]
"""What a unit is; a weight is a unit of its own and has no `UnitSet`."""

Axis = Literal["row", "column", "whole"]

_IN_A_LAYER: dict[Grain, dict[Part, Axis]] = {
    "head": {"q": "row", "o": "column"},
    "kv_head": {"k": "row", "v": "row"},
    "neuron": {"gate": "row", "up": "row", "down": "column"},
}
_ALONG: dict[Grain, Axis] = {"row": "row", "column": "column", "module": "whole"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one matrix gives to every unit of a set.

    Args:
        site: The matrix.
        axis: Unit u has the rows, or columns, `u * size` to `(u + 1) * size`; or the
            whole matrix.
        size: Rows or columns of one unit; 0 for the whole matrix.
    """

    site: Site
    axis: Axis
    size: int

    @property
    def num_units(self) -> int:
        """Units that share the matrix."""
        if self.axis == "whole":
            return 1
        along = self.site.num_rows if self.axis == "row" else self.site.num_columns
        return along // self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSet:
    """Units of one kind that are numbered together.

    Args:
        grain: What a unit is.
        layer: Number of the block.
        name: Key of the matrix, where all units lie in one; of the MLP, where the
            layer has several; else empty.
        pieces: What every matrix gives.
    """

    grain: Grain
    layer: int
    name: str
    pieces: tuple[Piece, ...]

    @property
    def num_units(self) -> int:
        """Units of the set."""
        return self.pieces[0].num_units

    @property
    def num_weights(self) -> int:
        """Weights of one unit."""
        return sum(p.site.num_weights // p.num_units for p in self.pieces)


def unit_sets(sites: Sequence[Site], grain: Grain) -> tuple[UnitSet, ...]:
    """Divide matrices into units, in the order of the matrices.

    Args:
        sites: All matrices of a model, in canonical order.
        grain: What a unit is, `weight` left out.

    Raises:
        MeasureError: The parts of a block do not make whole units.

    >>> parts = {"up": (6, 4), "down": (4, 6)}
    >>> sites = [Site(path=p, layer=0, part=p, num_rows=r, num_columns=c)
    ...          for p, (r, c) in parts.items()]
    >>> (neurons,) = unit_sets(sites, "neuron")
    >>> neurons.num_units, neurons.num_weights
    (6, 8)
    """
    assert grain != "weight", "weights are units of their own"
    found = tuple(_sets(sites, grain))
    if not found:
        raise MeasureError(f"the model has no matrix that holds a {grain}")
    for one in found:
        _require_alike(one)
    return found


def _sets(sites: Sequence[Site], grain: Grain) -> Iterator[UnitSet]:
    if grain in _ALONG:
        for site in sites:
            piece = Piece(site=site, axis=_ALONG[grain], size=grain != "module")
            yield UnitSet(grain=grain, layer=site.layer, name=site.key, pieces=(piece,))
        return
    for layer in dict.fromkeys(site.layer for site in sites):
        block = [site for site in sites if site.layer == layer]
        together: dict[str, list[Piece]] = {}
        for piece in _pieces(block, grain):
            holder = _holder(piece.site) if grain == "neuron" else ""
            together.setdefault(holder, []).append(piece)
        for holder, pieces in together.items():
            name = holder if len(together) > 1 else ""
            yield UnitSet(grain=grain, layer=layer, name=name, pieces=tuple(pieces))


def _holder(site: Site) -> str:
    """Key of the MLP that a matrix is of."""
    if site.expert is not None:
        return f"{site.path}#expert.{site.expert}"
    return site.path.rpartition(".")[0]


def _pieces(block: Sequence[Site], grain: Grain) -> Iterator[Piece]:
    if grain == "layer":
        for site in block:
            yield Piece(site=site, axis="whole", size=0)
        return
    axes = _IN_A_LAYER[grain]
    for site in block:
        if site.part in axes:
            size = 1 if grain == "neuron" else site.head_size
            if size is None:
                raise MeasureError(f"{site.key}: it is not known how heads share it")
            yield Piece(site=site, axis=axes[site.part], size=size)


def _require_alike(units: UnitSet) -> None:
    counts = {piece.site.key: piece.num_units for piece in units.pieces}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{key} {count}" for key, count in counts.items())
        where = units.name or f"block {units.layer}"
        raise MeasureError(
            f"{where}: its matrices hold different numbers of units of "
            f"kind {units.grain} ({listed}); choose another grain"
        )
