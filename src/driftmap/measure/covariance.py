"""Which inputs does a matrix see together, and what do they average to?

`C = X^T X` over the observed tokens says all that removing ranks needs to know of the
data, in memory that does not grow with it. Products are taken in float32, block by
block, and summed in float64.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from driftmap.core.places import Site
from driftmap.signals.fold import Fold, SiteSignal

_SHARE_INPUTS = (("q", "k", "v"), ("gate", "up"))
_TOKENS_AT_A_TIME = 4096


@dataclass(slots=True, eq=False)
class InputMoments:
    """Sums over tokens of one input.

    Args:
        product: C = sum of x x^T; None where only means are wanted.
        total: Sum of x.
        num_tokens: Tokens that count.
    """

    product: Float64[Tensor, "_ _"] | None
    total: Float64[Tensor, " _"]
    num_tokens: int

    @property
    def mean(self) -> Float64[Tensor, " _"]:
        """Mean of x; NaN without a token."""
        return self.total / self.num_tokens if self.num_tokens else self.total / 0


class InputCovariance(Fold[InputMoments, dict[Site, InputMoments]]):
    """Sum of x x^T over all observed tokens, one `[column column]` matrix per site.

    Watch one site per distinct input (`one_per_input`): the others' would be equal.
    """

    def __init__(self) -> None:
        self.needs_backward = False
        self.needs_observed = True

    def num_bytes(self, site: Site) -> int:
        """Memory of one float64 matrix and one float32 product on its way."""
        return 12 * site.num_columns**2

    def start(self, site: Site) -> InputMoments:
        """No token yet; the memory is taken with the first one, where it is."""
        return InputMoments(product=None, total=_nothing(site), num_tokens=0)

    def update(self, state: InputMoments, signal: SiteSignal) -> InputMoments:
        """Add the products of a batch's tokens."""
        for block in _blocks(signal):
            if state.product is None:
                size = signal.site.num_columns
                state.product = block.new_zeros((size, size), dtype=torch.float64)
            state.product += block.T @ block
            _add(state, block)
        return state

    def merge(self, left: InputMoments, right: InputMoments) -> InputMoments:
        """Sums add up."""
        if left.product is None or right.product is None:
            product = left.product if right.product is None else right.product
        else:
            product = left.product + right.product.to(left.product.device)
        return InputMoments(
            product=product,
            total=left.total + right.total.to(left.total.device),
            num_tokens=left.num_tokens + right.num_tokens,
        )

    def result(self, states: Mapping[Site, InputMoments]) -> dict[Site, InputMoments]:
        """The sums as they are."""
        return dict(states)


class InputMeans(InputCovariance):
    """Mean input of a map over all observed tokens: what heads say on average."""

    def num_bytes(self, site: Site) -> int:
        """Memory of one float64 vector."""
        return 8 * site.num_columns

    def update(self, state: InputMoments, signal: SiteSignal) -> InputMoments:
        """Add a batch's tokens."""
        for block in _blocks(signal):
            _add(state, block)
        return state


def one_per_input(sites: Sequence[Site]) -> dict[Site, Site]:
    """Name for every site the one whose input is watched for it.

    q, k and v of a block read the same, and so do gate and up.

    Args:
        sites: In canonical order.

    >>> def site(part):
    ...     return Site(path=part, layer=0, part=part, num_rows=2, num_columns=2)
    >>> found = one_per_input([site("q"), site("k"), site("o"), site("up")])
    >>> [watched.part for watched in found.values()]
    ['q', 'q', 'o', 'up']
    """
    first: dict[tuple[int, int, object], Site] = {}
    watched: dict[Site, Site] = {}
    for site in sites:
        shared = next((parts for parts in _SHARE_INPUTS if site.part in parts), None)
        key = (site.layer, site.num_columns, shared or site.key)
        watched[site] = first.setdefault(key, site)
    return watched


def _blocks(signal: SiteSignal) -> Iterator[Float32[Tensor, "token column"]]:
    for call in signal.calls:
        observed = signal.observed.to(call.inputs.device)
        yield from call.inputs[observed].float().split(_TOKENS_AT_A_TIME)


def _add(state: InputMoments, block: Float32[Tensor, "token column"]) -> None:
    state.total = state.total.to(block.device) + block.sum(dim=0, dtype=torch.float64)
    state.num_tokens += len(block)


def _nothing(site: Site) -> Float64[Tensor, " column"]:
    return torch.zeros(site.num_columns, dtype=torch.float64)
