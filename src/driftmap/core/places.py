"""How is a place inside a model named, and in which order do places come?"""

from dataclasses import dataclass
from typing import Literal, get_args

Part = Literal[
    "q", "k", "v", "o", "gate", "up", "down",
    "router", "expert", "embed", "head", "norm", "bias", "block",
]  # fmt: skip

"""What a tensor does; `block` is what a whole decoder block, or a half of it, gives."""

PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBlocks:
    """Rows of a fused matrix that belong to one part: equal blocks, evenly spaced.

    GPT-2's `k` is one block; GPT-NeoX's `k` is one block per head.
    """

    start: int
    length: int
    stride: int
    count: int

    def rows(self) -> list[int]:
        """Row numbers in the fused matrix, ascending.

        >>> RowBlocks(start=2, length=2, stride=6, count=2).rows()
        [2, 3, 8, 9]
        """
        return [
            self.start + block * self.stride + row
            for block in range(self.count)
            for row in range(self.length)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One weight matrix `[out in]` of one part, wherever the model stores it.

    Args:
        path: The module's own path in the model, without any adapter wrapper.
        layer: Number of the block, from 0.
        part: What the matrix does.
        num_rows: Output units of this part.
        num_columns: Input units.
        split: Which rows of the module's `[out in]` matrix are this part's;
            None when the module holds nothing else.
        transposed: The module stores `[in out]` (GPT-2's `Conv1D`).
        head_size: Rows (q, k, v) or columns (o) of one head; None elsewhere.
        expert: Number of the expert in its bank, from 0, whose matrix it is; `path` is
            then the bank's. None outside banks of experts.
        tensor: Of an expert: which of the bank's tensors holds it, or what its own
            module calls it.
    """

    path: str
    layer: int
    part: Part
    num_rows: int
    num_columns: int
    split: RowBlocks | None = None
    transposed: bool = False
    head_size: int | None = None
    expert: int | None = None
    tensor: str | None = None

    @property
    def key(self) -> str:
        """Name in files and tables: the path, with `#part` if the matrix is fused.

        >>> Site(path="b.0.experts", layer=0, part="up", num_rows=1, num_columns=1,
        ...      expert=17).key
        'b.0.experts#expert.17.up'
        """
        if self.expert is not None:
            return f"{self.path}#expert.{self.expert}.{self.part}"
        return self.path if self.split is None else f"{self.path}#{self.part}"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, as `[out in]`."""
        return self.num_rows, self.num_columns

    @property
    def num_weights(self) -> int:
        """Entries of the matrix."""
        return self.num_rows * self.num_columns


Half = Literal["attention", "mlp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPlace:
    """One named parameter of a model, or the slice of a fused one that is of one part.

    Args:
        name: The parameter's own name in the model, without any adapter wrapper
            (`model.layers.0.self_attn.q_proj.weight`); a slice adds its part
            (`transformer.h.0.attn.c_attn.weight#q`), that of an expert its number, too
            (`model.layers.0.mlp.experts.gate_up_proj#expert.17.up`).
        part: What the tensor does; learned positions are `embed`.
        layer: Number of the block, from 0; None outside the blocks.
        half: Half of the block that the tensor belongs to; None outside both.
        num_weights: Entries (count); None where a file made elsewhere does not tell.
        expert: Number of the expert in its bank, from 0; None outside banks.
    """

    name: str
    part: Part
    layer: int | None = None
    half: Half | None = None
    num_weights: int | None = None
    expert: int | None = None

    @property
    def parameter(self) -> str:
        """Name of the whole parameter, of which this may be a slice.

        >>> TensorPlace(name="h.0.c_attn.weight#q", part="q").parameter
        'h.0.c_attn.weight'
        """
        return self.name.partition("#")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class BankPlace:
    """The routed experts of one mixture-of-experts layer.

    Args:
        path: Module that holds them, in the base model
            (`model.layers.3.mlp.experts`).
        layer: Number of the block, from 0.
        num_experts: Experts in the bank (count).
        num_chosen: Experts that the router chooses for a token (count).
    """

    path: str
    layer: int
    num_experts: int
    num_chosen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertPlace:
    """One expert of a bank.

    Args:
        path: The bank's module.
        layer: Number of the block, from 0.
        expert: Number of the expert in its bank, from 0.
    """

    path: str
    layer: int
    expert: int

    @property
    def key(self) -> str:
        """Name in files and tables.

        >>> ExpertPlace(path="model.layers.3.mlp.experts", layer=3, expert=17).key
        'model.layers.3.mlp.experts#expert.17'
        """
        return f"{self.path}#expert.{self.expert}"


def canonical_order(site: Site) -> tuple[int, int, str]:
    """Sort key of sites: layer, then q k v o gate up down, the rest by path, experts.

    >>> a = Site(path="b.0.mlp", layer=0, part="down", num_rows=1, num_columns=1)
    >>> b = Site(path="b.0.att", layer=0, part="q", num_rows=1, num_columns=1)
    >>> [s.part for s in sorted([a, b], key=canonical_order)]
    ['q', 'down']
    """
    place = PARTS.index(site.part)
    if site.expert is not None:
        return site.layer, 8, f"{site.path}#{site.expert:06d}.{place}"
    return site.layer, min(place, 7), site.key
