"""What does a pass over samples show of the experts that its tokens were sent to?

Rows of one bank come sorted by expert, and within an expert by sample: a segment is
all rows of one sample at one expert. No gradient of a parameter is ever made. A
segment's gradient of the expert's map is `D^T X`, and whoever takes the rows decides
how much of it is formed at a time. Banks that do not let others run them show whole
gradients of one sample instead.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from driftmap.core.places import BankPlace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertSignal:
    """All that one batch shows at one map of a bank's experts.

    Args:
        bank: Which bank.
        tensor: The bank's own name of the map's weight (`gate_up_proj`, `up_proj`,
            `down_proj`, or as the family calls it).
        sample_ids: One id per sample of the batch.
        sample_index: Number of each sample in the whole data set.
        num_counted: Tokens of each sample whose cross-entropy is a loss term (count).
        expert: Expert of each segment, ascending.
        sample: Row of the batch that each segment is of, ascending within an expert.
        start: First row of each segment, and the number of rows at the end. No segment
            is empty; padding has no row.
        token: Column of the batch that each row is of.
        inputs: X, what entered the map, row by row.
        output_gradients: D, the gradient of the sample's own mean loss at the map's
            outputs.
    """

    bank: BankPlace
    tensor: str
    sample_ids: tuple[str, ...]
    sample_index: tuple[int, ...]
    num_counted: tuple[int, ...]
    expert: Int[Tensor, " segment"]
    sample: Int[Tensor, " segment"]
    start: Int[Tensor, " segment_and_end"]
    token: Int[Tensor, " row"]
    inputs: Float[Tensor, "row in"]
    output_gradients: Float[Tensor, "row out"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertGradients:
    """One sample's whole gradient of one stored tensor of a bank.

    Args:
        bank: Which bank.
        tensor: The bank's own name of the tensor, weights and biases alike.
        sample_id: The sample's id.
        sample_index: Its number in the whole data set.
        num_counted: Tokens of the sample whose cross-entropy is a loss term (count).
        experts: Number of each expert that follows; a bank of separate modules shows
            them one by one.
        gradients: Per expert, laid out as the expert's slice is stored.
        num_routed: Tokens that the sample sent to each of these experts; None where
            the bank does not tell (count).
    """

    bank: BankPlace
    tensor: str
    sample_id: str
    sample_index: int
    num_counted: int
    experts: tuple[int, ...]
    gradients: Float[Tensor, "expert ..."]
    num_routed: tuple[int, ...] | None


TakeExperts = Callable[[ExpertSignal | ExpertGradients], None]
"""Takes each signal as soon as it is complete, during the backward."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoutingSignal:
    """Where one batch's tokens were sent at one bank.

    Args:
        bank: Which bank.
        sample_ids: One id per sample of the batch.
        sample_index: Number of each sample in the whole data set.
        token_ids: What the tokens are.
        real: True on tokens of a sample, False on padding.
        observed: True on tokens whose routing counts (`signals.batch`).
        chosen: Experts that the bank was told to use; slots in the router's own order.
            A number of `num_experts` or more is an expert that does nothing.
        weights: What each chosen expert's answer is multiplied by.
        logits: What the router gave before any choice, one per expert; None where the
            family does not tell.
    """

    bank: BankPlace
    sample_ids: tuple[str, ...]
    sample_index: tuple[int, ...]
    token_ids: Int[Tensor, "sample token"]
    real: Bool[Tensor, "sample token"]
    observed: Bool[Tensor, "sample token"]
    chosen: Int[Tensor, "sample token slot"]
    weights: Float[Tensor, "sample token slot"]
    logits: Float[Tensor, "sample token expert"] | None


TakeRouting = Callable[[RoutingSignal], None]
"""Takes one signal per bank and batch."""
