"""What did putting one state back do, token by token and layer by layer?

Cells come draw by draw, and every cell sees the same draws: an effect is the mean over
draws of a difference within the draw, and its error is taken from those differences.
"""

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import ROLES, Noise, Outcome, TokenRole
from driftmap.results.traces import TraceGrid
from driftmap.signals.traces import TraceCells


def trace_grid(
    cells: TraceCells,
    prompt: EncodedFact,
    noise: Noise,
    *,
    outcome: Outcome,
    answer: str,
    is_known: bool | None,
) -> TraceGrid:
    """Average the draws of every cell.

    `standard_error = sd over draws of (cell - low) / sqrt(S)`, 0 with a single draw.

    Args:
        cells: Outcomes of one prompt. Rows of tokens that were not traced hold NaN.
        prompt: The prompt they are of.
        noise: What was done to its subject.
        outcome: What was read.
        answer: What the outcome is about, as a person reads it.
        is_known: The model's first choice is the given answer; None where none is
            given.

    Raises:
        MeasureError: Cells are not of this prompt, or one is not finite.

    >>> from driftmap.results.facts import Fact
    >>> from driftmap.signals.traces import Restoring
    >>> fact = Fact(id="f", subject="X", prompt="X is")
    >>> prompt = EncodedFact(fact=fact, token_ids=np.array([5, 6], np.int32),
    ...     num_prompt=2, subject=(0, 1), answer_ids=(7,), foil_ids=(),
    ...     tokens=("X", " is"), offsets=((0, 1), (1, 4)))
    >>> draws = torch.tensor([[[0.5, 0.7]], [[0.1, 0.3]]]).double()
    >>> cells = TraceCells(restoring=Restoring(), scores=draws, high=0.9,
    ...     low=torch.tensor([0.1, 0.2]).double(), method="naive")
    >>> grid = trace_grid(cells, prompt, Noise(num_draws=2), outcome="prob",
    ...     answer=" Y", is_known=True)
    >>> grid.indirect_effect.round(2).tolist(), grid.standard_error.round(2).tolist()
    ([[0.45], [0.05]], [[0.05], [0.05]])
    """
    _require_whole(cells, prompt)
    scores = cells.scores.double().cpu()
    low = cells.low.double().cpu()
    return TraceGrid(
        fact_id=prompt.fact.id,
        kind=cells.restoring.kind,
        window=cells.restoring.window,
        dims=cells.restoring.dims,
        score=scores.mean(dim=-1).numpy(),
        standard_error=_standard_error(scores - low),
        low=float(low.mean()),
        high=float(cells.high),
        tokens=prompt.tokens,
        subject=prompt.subject,
        roles=token_roles(prompt.num_prompt, prompt.subject),
        answer=answer,
        foil=prompt.fact.foil if prompt.foil_ids else None,
        is_known=is_known,
        outcome=outcome,
        noise=noise,
        method=cells.method,
    )


def token_roles(
    num_tokens: int, subject: tuple[int, int]
) -> tuple[tuple[TokenRole, ...], ...]:
    """Say what part each token of a prompt plays.

    The only token of a subject is its first and its last; the last token of the prompt
    is `last` whatever else it is. Tokens before the subject play none.

    Args:
        num_tokens: T (count).
        subject: First token of the subject and one past its last, [b, e).

    Returns:
        Roles of each token, in the order of `ROLES`.

    Raises:
        MeasureError: The prompt has no such span.

    >>> token_roles(5, (1, 3))[1:]
    (('first subject',), ('last subject',), ('first later',), ('last',))
    >>> token_roles(2, (1, 2))
    ((), ('first subject', 'last subject', 'last'))
    """
    begin, end = subject
    if not 0 <= begin < end <= num_tokens:
        raise MeasureError(
            f"a subject of tokens {begin}:{end} is no span of {num_tokens} tokens; "
            "find it again in this prompt"
        )
    plays = {
        "first subject": lambda t: t == begin,
        "middle subject": lambda t: begin < t < end - 1,
        "last subject": lambda t: t == end - 1,
        "first later": lambda t: t == end,
        "further": lambda t: end < t < num_tokens - 1,
        "last": lambda t: t == num_tokens - 1,
    }
    return tuple(
        tuple(role for role in ROLES if plays[role](token))
        for token in range(num_tokens)
    )


def _require_whole(cells: TraceCells, prompt: EncodedFact) -> None:
    where = f"fact {prompt.fact.id}, {cells.restoring.kind}"
    if len(cells.scores) != prompt.num_prompt:
        raise MeasureError(
            f"{where}: {len(cells.scores)} rows are no cells of a prompt of "
            f"{prompt.num_prompt} tokens"
        )
    ends = torch.cat([cells.low.double().cpu(), torch.tensor([cells.high]).double()])
    untraced = cells.scores.isnan().flatten(1).all(1)
    traced = cells.scores[~untraced]
    if not (ends.isfinite().all() and traced.isfinite().all() and len(traced)):
        raise MeasureError(
            f"{where}: an outcome is not finite; are the weights damaged, or is the "
            "dtype too narrow?"
        )


def _standard_error(
    effects: Float64[Tensor, "token layer draw"],
) -> Float64[np.ndarray, "token layer"]:
    num_draws = effects.shape[-1]
    if num_draws == 1:
        return torch.where(effects[..., 0].isnan(), torch.nan, 0.0).double().numpy()
    return (effects.std(dim=-1) / num_draws**0.5).numpy()
