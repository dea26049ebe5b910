"""What does one look of a model's attention show?"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionCall:
    """All that goes into the weights of one place, or the weights themselves.

    Args:
        place: Number of the place.
        query: Queries after rotation and norms.
        key: Keys likewise; fewer heads serve several of the queries'.
        value: Values, whose width may differ.
        mask: As the model made it: a tensor that is True, or 0 where it is added, for
            what may be seen; None for all up to the query itself.
        scaling: Of the products; None for one over the root of the width.
        softcap: Bound that products are squeezed to by tanh; None for none.
        sinks: One more logit for each head, whose weight goes nowhere.
        bias: What is added to the products.
        window: Keys that are seen, the query's own among them (count); None for all.
        map: Weights as the module returned them, where it shows nothing else.
    """

    place: int
    query: Float[Tensor, "sample head query width"] | None = None
    key: Float[Tensor, "sample key_head key width"] | None = None
    value: Float[Tensor, "sample key_head key value_width"] | None = None
    mask: object = None
    scaling: float | None = None
    softcap: float | None = None
    sinks: Float[Tensor, " head"] | None = None
    bias: Float[Tensor, "sample head query key"] | None = None
    window: int | None = None
    map: Float[Tensor, "sample head query key"] | None = None

    @property
    def num_heads(self) -> int:
        """Query heads (count)."""
        shown = self.query if self.map is None else self.map
        assert shown is not None
        return shown.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionSignal:
    """Some rows of one place's map.

    Args:
        place: Number of the place.
        rows: Positions of the queries, for each sample.
        weights: Of each key; with `sink` they sum to 1.
        sink: Weight of a learned sink, which is no key; 0 without one.
        visible: Keys that a row may see.
        value: Values of all keys; None where the module does not show them.
    """

    place: int
    rows: Int64[Tensor, "sample row"]
    weights: Float32[Tensor, "sample head row key"]
    sink: Float32[Tensor, "sample head row"]
    visible: Bool[Tensor, "sample row key"]
    value: Float[Tensor, "sample key_head key value_width"] | None


TakeAttention = Callable[[AttentionSignal], None]
