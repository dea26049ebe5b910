"""What do two models give for the same tokens, piece by piece?

Both read a piece in one batch of the same shape, so that equal models give equal
logits, bit for bit. Logits of both are held for one batch at a time, in the models' own
dtype; who takes them is handed some positions at a time.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from driftmap.capture.gathered import NUMBERS_AT_A_TIME, GatheredTokens
from driftmap.capture.hooks import evaluating, one_attention_kernel
from driftmap.capture.losses import logits_at
from driftmap.capture.windows import Piece, Windows, padded, pieces_of
from driftmap.core.errors import MeasureError
from driftmap.core.progress import progress
from driftmap.families.modules import base_model
from driftmap.results.readings import TokenNumbers

Logits = Float[Tensor, "token vocabulary"]

Take = Callable[[int, slice, tuple[Logits, Logits], Int64[Tensor, " token"]], None]
"""Takes the number of a text, which of its tokens are foretold, the logits of the first
and of the second model, and the tokens that stand there."""


def read_both(
    models: tuple[nn.Module, nn.Module],
    texts: Sequence[Int64[np.ndarray, " _"]],
    windows: Windows,
    take: Take,
    *,
    num_top: int = 5,
    batch_size: int = 1,
) -> tuple[tuple[TokenNumbers, TokenNumbers], ...]:
    """Read every token of some texts with two models.

    Args:
        models: Two causal language models with one vocabulary; left as they were
            found.
        texts: Token ids of each, at least one.
        windows: How long texts are cut.
        take: Is handed the logits of both.
        num_top: Most likely tokens that are kept for each place (count).
        batch_size: Pieces in one forward pass; changes speed and memory only.

    Returns:
        One pair per text, in order. The first token has no reading.

    Raises:
        MeasureError: A text has no token, a logit is NaN or infinite, or the two
            models choose between different numbers of tokens.
    """
    found = [
        (GatheredTokens(ids, num_top, text), GatheredTokens(ids, num_top, text))
        for text, ids in enumerate(texts)
    ]
    pieces = [
        piece
        for text, ids in enumerate(texts)
        for piece in pieces_of(text, ids, windows)
    ]
    pieces = [piece for piece in pieces if piece.token_ids.size > piece.skipped]
    pieces.sort(key=lambda piece: piece.token_ids.size)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for model in models:
            stack.enter_context(evaluating(model))
            stack.enter_context(one_attention_kernel(model))
        bar = stack.enter_context(progress("read with both models", len(pieces)))
        for start in range(0, len(pieces), batch_size):
            some = pieces[start : start + batch_size]
            _read_batch(models, some, found, take)
            bar.advance(len(some))
    return tuple((before.numbers(), after.numbers()) for before, after in found)


def _read_batch(
    models: tuple[nn.Module, nn.Module],
    pieces: Sequence[Piece],
    found: Sequence[tuple[GatheredTokens, GatheredTokens]],
    take: Take,
) -> None:
    first = min(piece.skipped for piece in pieces) - 1
    before, after = (_logits(model, pieces, first) for model in models)
    if before.shape[-1] != after.shape[-1]:
        raise MeasureError(
            f"the base chooses between {before.shape[-1]} tokens, the tuned model "
            f"between {after.shape[-1]}; compare models of one vocabulary"
        )
    after = after.to(before.device)
    for row, piece in enumerate(pieces):
        here = slice(piece.skipped - 1 - first, piece.token_ids.size - 1 - first)
        targets = piece.token_ids[piece.skipped :]
        start = piece.start + piece.skipped
        pair = before[row, here], after[row, here]
        for gathered, logits in zip(found[piece.text], pair, strict=True):
            gathered.add(logits, targets, first=start)
        _hand_on(piece.text, start, pair, targets, take)


def _logits(
    model: nn.Module, pieces: Sequence[Piece], first: int
) -> Float[Tensor, "piece token vocabulary"]:
    batch = padded(pieces, next(base_model(model).parameters()).device)
    longest = batch.token_ids.shape[1]
    columns = torch.arange(first, longest, device=batch.token_ids.device)
    return logits_at(model, batch, columns)


def _hand_on(
    text: int,
    first: int,
    pair: tuple[Logits, Logits],
    targets: Int64[np.ndarray, " token"],
    take: Take,
) -> None:
    before, after = pair
    wanted = torch.from_numpy(targets.astype(np.int64)).to(before.device)
    at_a_time = max(1, NUMBERS_AT_A_TIME // max(1, before.shape[-1]))
    for start in range(0, len(targets), at_a_time):
        some = slice(start, start + at_a_time)
        ids = wanted[some]
        place = slice(first + start, first + start + len(ids))
        take(text, place, (before[some], after[some]), ids)
