"""Where does the gradient lie, and what behaves unlike the rest?"""

from dataclasses import dataclass

from driftmap.core.places import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyShare:
    """Share of the squared gradient norm, mean over samples.

    Args:
        name: A tensor's name, or a part.
        part: The part.
        layer: Of a tensor in a block; None elsewhere.
        queries: Share on the side of the queries of the set.
        originals: Share on the side of the originals.
        num_weights: Weights (count); None where not known.
        share_of_weights: These over all; None likewise.
    """

    name: str
    part: Part
    layer: int | None
    queries: float
    originals: float
    num_weights: int | None
    share_of_weights: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyShares:
    """How many tensors does the full cosine listen to?

    Args:
        tensors: One per tensor, in model order.
        parts: One per part.
        num_heard_queries: `1 / sum share^2` over tensors, on the side of the queries:
            that many equal tensors would be as uneven.
        num_heard_originals: The same on the other side.
    """

    tensors: tuple[EnergyShare, ...]
    parts: tuple[EnergyShare, ...]
    num_heard_queries: float
    num_heard_originals: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Cosine of one query with one candidate, tensor by tensor.

    Args:
        original: Id of the candidate.
        is_right: It is the truth, or equal to it.
        full: Full cosine; None where there is none.
        cosines: One per tensor, in model order; None where there is none.
    """

    original: str
    is_right: bool
    full: float | None
    cosines: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OddQuery:
    """A query of which single tensors say something else than full.

    Args:
        query: Its id.
        distance: Root mean square, over its candidates and tensors, of the tensor's
            cosine minus the full one.
        profiles: The truth first where it is a candidate, then the others that full
            ranks highest.
    """

    query: str
    distance: float
    profiles: tuple[Profile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HubOriginal:
    """An original that is on top of far more queries than its share.

    Args:
        original: Its id.
        num_on_top: Queries that rank it first; ties are shared out.
        num_wrong: Those among them for which it is wrong.
        share: Queries per original: what each would have if all had the same.
    """

    original: str
    num_on_top: float
    num_wrong: float
    share: float
