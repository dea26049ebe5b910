"""How are chosen experts tuned, and how are routers aligned?"""

from dataclasses import dataclass
from typing import Literal

from driftmap.core.errors import UsageError

Divergence = Literal["forward", "reverse", "symmetric"]
"""KL(P||Q), KL(Q||P), or half their sum; P of safe prompts before, Q of unsafe now."""

RouterPositions = Literal["response", "last_prompt", "prompt_mean"]
"""Where the routing of two prompts is compared: at the tokens that predict a response
that follows both, at the last token before it, or as mean logits over the prompt."""

RouterLoss = Literal["local", "full"]
"""`local` takes what enters a router as given; `full` goes back through the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertTuningSettings:
    """One round of tuning with AdamW.

    Raises:
        UsageError: A number is outside its range.
    """

    learning_rate: float = 5e-5
    """Learning rate, the same at all steps (number above 0)."""

    epochs: int = 1
    """How often all samples are seen (passes)."""

    batch_size: int = 8
    """Samples that go through the model at once (count)."""

    grad_accum: int = 1
    """Batches whose gradients make one step (count)."""

    weight_decay: float = 0.0
    """Share of every chosen weight, times the learning rate, that a step takes off
    (number, at least 0)."""

    max_norm: float = 1.0
    """Gradients longer than this are shortened to it (number above 0)."""

    checkpoint_activations: bool = False
    """Compute each block again in the backward pass instead of holding all that it
    computed; slower, in less memory (yes or no)."""

    def __post_init__(self) -> None:
        _require(self.learning_rate > 0, "--expert-lr", self.learning_rate, "above 0")
        _require(
            self.epochs >= 1, "--expert-epochs-per-round", self.epochs, "at least 1"
        )
        _require(self.batch_size >= 1, "--batch-size", self.batch_size, "at least 1")
        _require(self.grad_accum >= 1, "--grad-accum", self.grad_accum, "at least 1")
        _require(
            self.weight_decay >= 0, "--weight-decay", self.weight_decay, "at least 0"
        )
        _require(self.max_norm > 0, "--max-norm", self.max_norm, "above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """One round of aligning routers with AdamW.

    Raises:
        UsageError: A number is outside its range.
    """

    learning_rate: float = 1e-4
    """Learning rate, the same at all steps (number above 0)."""

    epochs: int = 1
    """How often all pairs are seen (passes)."""

    batch_size: int = 8
    """Pairs of one step (count)."""

    divergence: Divergence = "forward"
    """Which divergence is made small (kind of divergence)."""

    positions: RouterPositions = "response"
    """Where the routing of two prompts is compared (kind of positions)."""

    loss: RouterLoss = "local"
    """How far the gradient goes back (kind of loss)."""

    weight_decay: float = 0.0
    """Share of every router weight, times the learning rate, that a step takes off
    (number, at least 0)."""

    max_norm: float = 1.0
    """Gradients longer than this are shortened to it (number above 0)."""

    def __post_init__(self) -> None:
        _require(self.learning_rate > 0, "--router-lr", self.learning_rate, "above 0")
        _require(
            self.epochs >= 1, "--router-epochs-per-round", self.epochs, "at least 1"
        )
        _require(self.batch_size >= 1, "--batch-size", self.batch_size, "at least 1")
        _require(
            self.weight_decay >= 0, "--weight-decay", self.weight_decay, "at least 0"
        )
        _require(self.max_norm > 0, "--max-norm", self.max_norm, "above 0")


def _require(holds: bool, flag: str, value: float, rule: str) -> None:
    if not holds:
        raise UsageError(f"{flag} is {value}: it must be {rule}")
