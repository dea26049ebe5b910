"""How does a step that is too small for bfloat16 still count?

The optimizer moves a float32 copy of every leaf, its master; after each step the leaf
is the rounded master. A learning rate of 1e-6 moves hardly any weight near 0.02 by half
of its last digit: added to the weight itself the step is lost every time. Leaves in
float32 or wider are their own masters.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from driftmap.core.errors import ModelError
from driftmap.tune.expert_leaves import Leaf, require_trainable

KeptMasters = Mapping[str, Tensor]
"""Masters by the name of their leaf, to go on from in a later round."""

NOTHING: KeptMasters = MappingProxyType({})
"""No master of an earlier round."""


class MasterAdamW:
    """AdamW over masters of leaves, and over nothing else."""

    def __init__(
        self,
        leaves: Sequence[Leaf],
        kept: KeptMasters = NOTHING,
        *,
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        """Take leaves, and masters that an earlier round left of them.

        Raises:
            ModelError: A leaf is not trainable, or is not the rounded master of the
                earlier round.
        """
        require_trainable(leaves)
        self.leaves = tuple(leaves)
        self._masters = [_master(leaf, kept.get(leaf.name)) for leaf in leaves]
        self._optimizer = torch.optim.AdamW(
            self._masters, lr=learning_rate, weight_decay=weight_decay, fused=True
        )
        self._by_name = dict(
            zip((leaf.name for leaf in leaves), self._masters, strict=True)
        )

    def add(self, leaf: Leaf, gradient: Tensor) -> None:
        """Add to the gradient of one leaf; in its master's type."""
        master = self._by_name[leaf.name]
        if master.grad is None:
            master.grad = gradient.to(master.dtype, copy=True)
        else:
            master.grad += gradient

    def step(self, max_norm: float) -> float:
        """Shorten the gradient, take a step, round it into the model.

        Every leaf takes part in every step: an expert that no token of the step
        visited has a gradient of zero.

        Returns:
            Length of the gradient over all leaves, before it was shortened.

        Raises:
            ModelError: A gradient is NaN or infinite.
        """
        for master in self._masters:
            if master.grad is None:
                master.grad = torch.zeros_like(master)
        norm = nn.utils.clip_grad_norm_(self._masters, max_norm).item()
        if not norm < float("inf"):
            self._refuse_gradient()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for leaf, master in zip(self.leaves, self._masters, strict=True):
                if master.dtype != leaf.values.dtype:
                    leaf.values.copy_(master)
        return norm

    def masters(self) -> dict[str, Float[Tensor, "..."]]:
        """Masters of leaves that are narrower, by name; others need none."""
        return {
            leaf.name: master.detach()
            for leaf, master in zip(self.leaves, self._masters, strict=True)
            if master.dtype != leaf.values.dtype
        }

    def _refuse_gradient(self) -> None:
        for leaf, master in zip(self.leaves, self._masters, strict=True):
            if master.grad is not None and not master.grad.isfinite().all():
                raise ModelError(
                    f"{leaf.name}: its gradient is not finite; lower the learning "
                    "rate, or load the model in float32 if it is in a narrower type"
                )
        raise ModelError(
            "the gradient is too long for float32; lower the learning rate"
        )


def _master(leaf: Leaf, kept: Tensor | None) -> nn.Parameter:
    if leaf.values.dtype in (torch.float32, torch.float64):
        return nn.Parameter(leaf.values)
    if kept is None:
        return nn.Parameter(leaf.values.to(torch.float32))
    kept = kept.to(leaf.values.device, torch.float32)
    if not torch.equal(kept.to(leaf.values.dtype), leaf.values):
        raise ModelError(
            f"{leaf.name}: the model's weight is not the one that the last round left; "
            "load that round's slices into the model, or leave its masters out"
        )
    return nn.Parameter(kept.clone())
