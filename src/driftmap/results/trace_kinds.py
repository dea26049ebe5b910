"""What can be put back into a corrupted run, what is corrupted, and what is read?

Names alone, so that a command line knows them without loading anything.
"""

from dataclasses import dataclass
from typing import Literal, get_args

TraceKind = Literal["hidden", "mlp", "attn", "severed_mlp", "severed_attn"]
"""`hidden`: the output of one block. `mlp` and `attn`: the module's output in a window
of layers. `severed_*`: as `hidden`, with that module held at its corrupted output at
the same token in every layer."""

Outcome = Literal["prob", "log_prob", "logit", "logit_difference", "rank", "kl"]
"""What is read of the answer; `rank` is minus the number of tokens that are likelier,
`kl` minus the divergence from the clean run."""

NoiseKind = Literal[
    "gaussian", "uniform", "embedding_gaussian", "student_t", "swap", "zero", "mean"
]

TraceMethod = Literal[
    "wavefront", "resume", "naive", "attribution", "integrated", "grad_drop"
]
"""How cells were had: the first three are exact, the others are estimates."""

EXACT: tuple[TraceMethod, ...] = ("wavefront", "resume", "naive")

TokenRole = Literal[
    "first subject", "middle subject", "last subject", "first later", "further", "last"
]
ROLES: tuple[TokenRole, ...] = get_args(TokenRole)
"""In the order in which tokens come. A token may play two: the only token of a subject
is its first and its last, a subject that ends the prompt holds the last token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What is done to the embeddings of a subject.

    Args:
        kind: What is drawn.
        level: Standard deviation of the noise, or half the width of `uniform`
            (units of the embedding); None where the kind has none.
        replaces: Stands in place of the embedding instead of being added to it.
        num_draws: S, draws (count).
        seed: Of the draws.
        df: Degrees of freedom of `student_t`.
    """

    kind: NoiseKind = "gaussian"
    level: float | None = None
    replaces: bool = False
    num_draws: int = 10
    seed: int = 1
    df: float | None = None
