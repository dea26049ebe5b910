"""Which weights of a model did somebody change, how far, and in how many directions?"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.core.places import Part
from driftmap.results.statistics import GroupRatio

Made = Literal["factors", "stretched factors", "masked factors", "whole"]
"""How a change was left: LoRA, DoRA, LoRA beside frozen entries, a whole matrix."""

Found = Literal["changed", "resized", "missing"]
"""A tensor that differs, has another number of rows, or is in one model alone."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spectrum:
    """The singular values of a change, beside those of a random one.

    The random change has independent entries, or factors with independent entries of
    the same rank, and the same length.

    Args:
        values: The largest, descending.
        num_directions: How many there can be: the rank of the factors, else the
            shorter side of the matrix.
        stable_rank: `|dW|_F^2 / |dW|_2^2`: 1 where one direction holds it all.
        effective_rank: exp of the entropy of the values' shares of their sum (Roy and
            Vetterli 2007).
        half: Least number of directions that hold half of `|dW|_F^2`.
        chance_values: What the random change has in place of `values`.
        chance_effective_rank: Its effective rank.
        chance_half: Least number of its directions that hold half.
        edge: The largest value that independent entries of the same length have
            (Marchenko and Pastur 1967), `|dW|_F (1 / sqrt(out) + 1 / sqrt(in))`.
    """

    values: Float64[np.ndarray, " direction"]
    num_directions: int
    stable_rank: float
    effective_rank: float
    half: int
    chance_values: Float64[np.ndarray, " direction"]
    chance_effective_rank: float
    chance_half: int
    edge: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LargestUnits:
    """The rows, or the columns, of one matrix that moved most.

    Args:
        index: Numbers of the rows or columns, those that moved most first.
        lengths: |dW| of each.
        sizes: |W| of each; empty where the base is not known.
        num_units: Rows or columns in all.
        typical: Root mean square of |dW| over all of them.
        chance: Times `typical` that the largest of as many reaches in one of twenty
            random changes of the same rank and length.
    """

    index: Int64[np.ndarray, " unit"]
    lengths: Float64[np.ndarray, " unit"]
    sizes: Float64[np.ndarray, " _"]
    num_units: int
    typical: float
    chance: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChangedMatrix:
    """One matrix that moved.

    Args:
        key: Its name in files and tables.
        layer: Number of the block, from 0.
        part: What the matrix does.
        expert: Number of the expert whose matrix it is; None outside banks.
        num_rows: Output units.
        num_columns: Input units.
        made: In which shape the change was left.
        length: |dW|.
        size: |W|; None where the base is not known.
        cosine_distance: 1 - cosine of W and W + dW; None where it is not known, or
            where either has no direction.
        spectrum: Its directions; None for most matrices of experts, of which only
            those that moved most are looked at.
        rows: The rows that moved most.
        columns: The columns that moved most.
    """

    key: str
    layer: int
    part: Part
    expert: int | None
    num_rows: int
    num_columns: int
    made: Made
    length: float
    size: float | None
    cosine_distance: float | None
    spectrum: Spectrum | None
    rows: LargestUnits
    columns: LargestUnits

    @property
    def relative(self) -> float | None:
        """|dW| / |W|; None where the base is not known or zero."""
        return self.length / self.size if self.size else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPart:
    """All matrices of one part of one layer, whether they moved or not.

    Args:
        layer: Number of the block, from 0.
        part: What they do; matrices of experts together are `expert`.
        num_matrices: How many there are.
        num_moved: How many of them differ at all.
        num_weights: Their weights together.
        length: |dW| of all together.
        size: |W| of all together; None where the base is not known.
    """

    layer: int
    part: Part
    num_matrices: int
    num_moved: int
    num_weights: int
    length: float
    size: float | None

    @property
    def relative(self) -> float | None:
        """|dW| / |W|; None where the base is not known or zero."""
        return self.length / self.size if self.size else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherTensor:
    """A tensor outside the matrices of the blocks that is not what it was.

    Args:
        name: Its name in the checkpoint.
        part: What it does: an embedding, a norm, a bias, the head; `block` where its
            name does not tell.
        layer: Number of the block, from 0; None outside the blocks.
        found: Whether it differs, was resized or is in one of the models alone.
        num_weights: Entries that both models have.
        length: |dW| over these; None where there is nothing to subtract.
        size: |W| over these; None where the base is not known.
    """

    name: str
    part: Part
    layer: int | None
    found: Found
    num_weights: int
    length: float | None
    size: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChangedBank:
    """The experts of one layer, and the rows of the router that chooses them.

    Args:
        path: Module that holds them.
        layer: Number of the block, from 0.
        lengths: |dW| of all matrices of each expert together.
        sizes: |W| of them; empty where the base is not known.
        router_lengths: |dW| of each expert's row of the router; empty where it has
            none.
        router_sizes: |W| of these rows; empty likewise.
    """

    path: str
    layer: int
    lengths: Float64[np.ndarray, " expert"]
    sizes: Float64[np.ndarray, " _"]
    router_lengths: Float64[np.ndarray, " _"]
    router_sizes: Float64[np.ndarray, " _"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightChanges:
    """What sets the weights of a model apart from those of its base.

    Args:
        is_adapter: What was made of the base is an adapter, else a whole model.
        num_tensors: Tensors of the base; 0 where it is not known.
        num_equal: Those of them that are equal, bit for bit.
        num_weights: Entries of the base's tensors; 0 where it is not known.
        num_open: Entries of the tensors that differ.
        cells: Every part of every layer, layer by layer.
        matrices: Those that moved, in the model's order.
        others: What else differs, in name order.
        banks: Experts; empty where the model has none.
        num_unmeasured: What an adapter without its base may change and does not tell
            (count of modules and tensors); 0 where the base is known.
        groups: Groups against weights of their own size, the whole model first; empty
            where none was given.
        cautions: What has to be known to read the numbers, a sentence each.
    """

    is_adapter: bool
    num_tensors: int
    num_equal: int
    num_weights: int
    num_open: int
    cells: tuple[LayerPart, ...]
    matrices: tuple[ChangedMatrix, ...]
    others: tuple[OtherTensor, ...]
    banks: tuple[ChangedBank, ...]
    groups: tuple[GroupRatio, ...]
    cautions: tuple[str, ...]
    num_unmeasured: int = 0

    @property
    def is_nothing(self) -> bool:
        """No weight differs, as far as weights were measured."""
        return not self.matrices and not self.others

    @property
    def is_same(self) -> bool | None:
        """No weight differs; None where what was measured is equal and not all was."""
        return None if self.is_nothing and self.num_unmeasured else self.is_nothing
