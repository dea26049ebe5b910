"""What does a pass over samples show, and how does a measure take it in?

One forward and backward pass shows, at every linear map, its inputs, its outputs
and the gradients at both. Weight-level measures are functions of those, so
`capture` emits `SiteSignal`s and a measure is a `Fold` over them. Several folds
share one pass, and states of disjoint samples merge.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from driftmap.core.places import Site

State = TypeVar("State")
Result = TypeVar("Result", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearCall:
    """One execution of a linear map on a batch.

    Args:
        inputs: X, what entered the map.
        output_gradients: D = dL_n/dy, where L_n is the sample's own mean loss;
            None in a pass without backward. Zero at padding.
        outputs: y = X W^T, what the map gave without its bias; None where no fold
            `needs_outputs`. Zero at padding.
        input_gradients: D W, the gradient that this map alone sends to its inputs,
            before those of other maps with the same inputs are added; None where
            no fold `needs_input_gradients`. Zero at padding.
    """

    inputs: Float[Tensor, "sample token column"]
    output_gradients: Float[Tensor, "sample token row"] | None
    outputs: Float[Tensor, "sample token row"] | None = None
    input_gradients: Float[Tensor, "sample token column"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SiteSignal:
    """All that one batch shows at one site.

    Args:
        site: Where.
        sample_ids: One id per sample of the batch.
        sample_index: Number of each sample in the whole data set.
        observed: True on tokens whose inputs count (`signals.batch`).
        calls: One entry per execution of the map in the pass; more than one
            where a model runs a module twice. A sample's gradient is the sum
            of its calls' products.
    """

    site: Site
    sample_ids: tuple[str, ...]
    sample_index: tuple[int, ...]
    observed: Bool[Tensor, "sample token"]
    calls: tuple[LinearCall, ...]


@runtime_checkable
class Fold(Protocol[State, Result]):
    """A measure over a stream of signals.

    Nothing that no fold asks for is computed: `needs_backward` asks for
    `output_gradients`, `needs_outputs` for `outputs`, `needs_input_gradients` for
    `input_gradients`, and with it for a backward pass. `needs_observed` refuses
    samples of which no token is observed.
    """

    needs_backward: bool
    needs_outputs: bool = False
    needs_input_gradients: bool = False
    needs_observed: bool = False

    def num_bytes(self, site: Site) -> int:
        """Memory that the state of one site takes, in bytes."""
        ...

    def start(self, site: Site) -> State:
        """The state before any sample."""
        ...

    def update(self, state: State, signal: SiteSignal) -> State:
        """The state after one more batch."""
        ...

    def merge(self, left: State, right: State) -> State:
        """The state after the samples of both; any split of the samples."""
        ...

    def result(self, states: Mapping[Site, State]) -> Result:
        """The answer, from the states of all sites."""
        ...
