"""What is known about where a model keeps its matrices?

A `ModelLayout` says it of one model. A `Family` says the little that the shape of
a model does not tell: the names of its maps, and how fused ones are cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from driftmap.core.places import Part, Site
from driftmap.families.expert_spec import ExpertBank


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """One map whose rows belong to several parts.

    Args:
        parts: Whose rows come, in the order they come.
        by_head: Rows come head by head: for every key-value head its queries,
            its key and its value. Otherwise part after part.
    """

    parts: tuple[Part, ...]
    by_head: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A row of the family table: what one model type calls the maps of a block.

    Args:
        name: The `model_type` in the model's `config.json`.
        maps: Name of a linear map inside a block, or the end of its dotted path
            (`c_attn`, `mlp.c_proj`), to the part or parts it holds. Names that
            are the same everywhere (`q_proj`, `down_proj`), and maps that their
            shape gives away, need no entry.
    """

    name: str
    maps: Mapping[str, Part | Fused]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLayout:
    """Where one model keeps its parts; every path is the base model's own.

    Args:
        family: The `model_type` of the (text) model.
        blocks: Paths of the decoder blocks, first to last.
        sites: Every matrix inside the blocks, in canonical order.
        norms: Paths of all norms, inside the blocks and after them.
        embedding: Path of the token embedding.
        head: Path of the map to the logits; None in a model without one.
        tied: Head and embedding are one and the same tensor.
        uncovered: Block parameters with two or more axes that no site covers.
        banks: Banks of experts whose matrices are among the sites.
    """

    family: str
    blocks: tuple[str, ...]
    sites: tuple[Site, ...]
    norms: tuple[str, ...]
    embedding: str
    head: str | None
    tied: bool
    uncovered: tuple[str, ...]
    banks: tuple[ExpertBank, ...] = ()
