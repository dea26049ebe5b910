"""What do routers say of some tokens, and how far is it from what they said before?

With P the routing of safe prompts before any tuning and Q that of unsafe prompts now,
both over the experts of one layer, in nats:

    forward KL(P||Q) = sum_e P_e ln(P_e / Q_e)    reverse KL(Q||P)
    symmetric (KL(P||Q) + KL(Q||P)) / 2
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from driftmap.core.errors import FamilyError
from driftmap.families.expert_routing import find_law, router_logits, see_routing
from driftmap.families.expert_spec import ExpertBank
from driftmap.families.modules import base_module
from driftmap.families.routing_law import Score
from driftmap.results.samples import EncodedSample
from driftmap.signals.batch import Batch
from driftmap.tune.expert_settings import Divergence, RouterPositions

TakeRouter = Callable[[ExpertBank, Tensor, Callable[[], Tensor]], None]
"""Takes a bank, its router's logits, a row per token of the batch, padding included,
and what makes them again from the same inputs."""


def log_routing(
    logits: Float[Tensor, "row expert"], score: Score
) -> Float[Tensor, "row expert"]:
    """Logarithm of how a token is shared among the experts of a layer.

    Args:
        logits: As the router gives them.
        score: What the router makes of them before it chooses.

    Returns:
        ln of softmax(z); of a(z) / sum a(z) where a is no softmax; of z itself where
        the router gives probabilities. Float32 or wider.

    >>> log_routing(torch.tensor([[1.0, 1.0]]), "softmax").exp().tolist()
    [[0.5, 0.5]]
    """
    z = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if score == "identity" and _are_probabilities(z):
        return z.clamp_min(torch.finfo(z.dtype).tiny).log()
    if score == "sigmoid":
        z = functional.logsigmoid(z)
    elif score == "sqrt_softplus":
        z = functional.softplus(z).clamp_min(torch.finfo(z.dtype).tiny).log() / 2
    return z.log_softmax(dim=-1)


def router_scores(
    model: nn.Module, banks: Sequence[ExpertBank], samples: Sequence[EncodedSample]
) -> dict[str, Score]:
    """What every bank's router makes of logits, found by its law on two samples.

    Args:
        model: In eval mode.
        banks: All its banks.
        samples: The longest two are looked at.

    Returns:
        By the bank's path; `softmax` where no known law gives what the router does.
    """
    longest = sorted(samples, key=lambda sample: -len(sample.token_ids))
    device = next(model.parameters()).device
    first, second = (
        see_routing(model, banks, torch.from_numpy(ids).long()[None].to(device))
        for ids in (longest[0].token_ids, longest[min(1, len(longest) - 1)].token_ids)
    )
    scores: dict[str, Score] = {}
    for bank in banks:
        path = bank.place.path
        try:
            scores[path] = find_law(model, bank, first[path], second[path]).score
        except FamilyError:
            scores[path] = "softmax"
    return scores


def divergence(
    before: Float[Tensor, "row expert"],
    now: Float[Tensor, "row expert"],
    kind: Divergence,
) -> Float[Tensor, " row"]:
    """How far one routing is from another, in nats, from their logarithms.

    >>> p = torch.tensor([[0.5, 0.5]]).log()
    >>> q = torch.tensor([[0.25, 0.75]]).log()
    >>> [round(divergence(p, q, kind).item(), 4) for kind in ("forward", "reverse")]
    [0.1438, 0.1308]
    """
    difference = before - now
    forward = (before.exp() * difference).sum(dim=-1)
    if kind == "forward":
        return forward
    reverse = -(now.exp() * difference).sum(dim=-1)
    return reverse if kind == "reverse" else (forward + reverse) / 2


class Compared:
    """The tokens of a batch whose routing is compared, pads never among them."""

    def __init__(
        self,
        batch: Batch,
        samples: Sequence[EncodedSample],
        positions: RouterPositions,
    ) -> None:
        """Find them."""
        flags = _compared(batch, samples, positions)
        self.batch = batch
        self._rows = flags.flatten().nonzero().squeeze(1)
        self._sample = flags.nonzero()[:, 0]
        self._is_mean = positions == "prompt_mean"
        counts = flags.sum(dim=1)
        self.num_rows = [1 if self._is_mean else n for n in counts.tolist()]
        self._counts = counts

    def read(
        self, logits: Float[Tensor, "token expert"]
    ) -> Float[Tensor, "row expert"]:
        """What is compared: rows of logits, or their mean over each prompt."""
        logits = logits[self._rows.to(logits.device)]
        if not self._is_mean:
            return logits
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        sample, counts = (t.to(logits.device) for t in (self._sample, self._counts))
        total = logits.new_zeros(len(counts), logits.shape[1])
        return total.index_add(0, sample, logits) / counts[:, None]


@contextmanager
def watching_routers(
    model: nn.Module, banks: Sequence[ExpertBank], take: TakeRouter
) -> Iterator[None]:
    """Show what every bank's router gives inside the block."""
    handles = []
    try:
        for bank in banks:
            module = base_module(model.get_submodule(bank.router.path))
            hook = partial(_show, bank, take)
            handles.append(module.register_forward_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _show(
    bank: ExpertBank,
    take: TakeRouter,
    module: nn.Module,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    output: object,
) -> None:
    def again() -> Tensor:
        return router_logits(bank.router, module.forward(*args, **kwargs))

    take(bank, router_logits(bank.router, output), again)


def _compared(
    batch: Batch, samples: Sequence[EncodedSample], positions: RouterPositions
) -> Bool[Tensor, "sample token"]:
    if positions == "response":
        return batch.observed
    column = torch.arange(batch.real.shape[1], device=batch.real.device)
    length = _lengths(samples).to(column.device)[:, None]
    if positions == "last_prompt":
        return column == length - 1
    return column < length


def _lengths(samples: Sequence[EncodedSample]) -> Int[Tensor, " sample"]:
    return torch.tensor([sample.prompt_length for sample in samples])


def _are_probabilities(z: Float[Tensor, "row expert"]) -> bool:
    sums = z.detach().sum(dim=-1)
    return bool((z.detach() >= 0).all() and (sums - 1).abs().max() < 1e-2)
