"""How surprised is a model by each token, and how sure was it?

One pass gives all of it. The logits of a window are made once, in the model's own
dtype; their log-softmax is taken in float32 over some positions at a time, so that
there are never two tables `[token vocabulary]`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from driftmap.capture.gathered import GatheredTokens
from driftmap.capture.hooks import evaluating, one_attention_kernel
from driftmap.capture.losses import logits_at
from driftmap.capture.windows import Piece, Windows, padded, pieces_of
from driftmap.core.errors import UsageError
from driftmap.core.progress import progress
from driftmap.families.modules import base_model
from driftmap.results.readings import TokenNumbers

Choose = Callable[[Float[Tensor, " vocabulary"]], int]
"""Takes the logits of the next token and says which one is written."""


def read_tokens(
    model: nn.Module,
    texts: Sequence[Int64[np.ndarray, " _"]],
    windows: Windows,
    *,
    num_top: int = 5,
    batch_size: int = 1,
) -> tuple[TokenNumbers, ...]:
    """Read every token of some texts, each token in one window alone.

    Args:
        model: A causal language model; left as it was found.
        texts: Token ids of each, at least one.
        windows: How long texts are cut.
        num_top: Most likely tokens that are kept for each place (count).
        batch_size: Windows in one forward pass; changes speed and memory only.

    Returns:
        One per text, in order. The first token has no reading.

    Raises:
        MeasureError: A text has no token, or a logit is NaN or infinite.
    """
    found = [GatheredTokens(ids, num_top, text) for text, ids in enumerate(texts)]
    pieces = [
        piece
        for text, ids in enumerate(texts)
        for piece in pieces_of(text, ids, windows)
    ]
    with (
        torch.no_grad(),
        evaluating(model),
        one_attention_kernel(model),
        progress("read tokens", len(pieces)) as bar,
    ):
        for start in range(0, len(pieces), batch_size):
            some = pieces[start : start + batch_size]
            _read_batch(model, some, found)
            bar.advance(len(some))
    return tuple(one.numbers() for one in found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Written:
    """A prompt and what the model wrote after it.

    Args:
        token_ids: Both together.
        numbers: Of every token of both, from the pass that wrote them.
    """

    token_ids: Int64[np.ndarray, " token"]
    numbers: TokenNumbers


def read_while_writing(
    model: nn.Module,
    prompt: Int64[np.ndarray, " token"],
    choose: Choose,
    *,
    ends: Sequence[int] = (),
    max_new_tokens: int = 64,
    num_top: int = 5,
) -> Written:
    """Let a model go on from a prompt, and keep what it gave for each token.

    Readings are of the model's own distribution, whatever `choose` makes of it: a
    later pass over the whole text gives the same numbers.

    Args:
        model: A causal language model; left as it was found.
        prompt: Its token ids, at least one.
        choose: Picks the next token.
        ends: Ids that end the answer; the end itself is kept.
        max_new_tokens: Longest answer (tokens).
        num_top: Most likely tokens that are kept for each place (count).

    Raises:
        MeasureError: The prompt has no token, or a logit is NaN or infinite.
    """
    found = GatheredTokens(prompt, num_top, 0)
    written: list[int] = []
    held: object = None
    fed = torch.from_numpy(prompt.astype(np.int64))[None].to(_device(model))
    with torch.no_grad(), evaluating(model), one_attention_kernel(model):
        for number in range(max_new_tokens):
            given = {} if held is None else {"past_key_values": held}
            output = model(input_ids=fed, use_cache=True, **given)
            held, logits = output.past_key_values, output.logits[0]
            if number == 0:
                found.add(logits[:-1], prompt[1:], first=1)
            token = choose(logits[-1])
            written.append(token)
            found.grow(logits[-1:], token)
            if token in ends:
                break
            fed = torch.tensor([[token]], device=fed.device)
    ids = np.concatenate([prompt.astype(np.int64), np.array(written, np.int64)])
    return Written(token_ids=ids, numbers=found.numbers())


def greedy(logits: Float[Tensor, " vocabulary"]) -> int:
    """The most likely token."""
    return int(logits.argmax())


def drawing(temperature: float, stream: np.random.Generator) -> Choose:
    """Tokens by chance, each from one number of a stream.

    Args:
        temperature: Above 0; 1 is the model's own distribution.
        stream: Gives one number a token, so that a text follows from its seed.

    Raises:
        UsageError: The temperature is not above 0.
    """
    if temperature <= 0:
        raise UsageError(f"temperature {temperature:g} draws nothing; give above 0")

    def choose(logits: Float[Tensor, " vocabulary"]) -> int:
        # float64 does not exist on every device; float32 loses rare tokens.
        p = (logits.cpu().double() / temperature).softmax(0).cumsum(0)
        wanted = torch.tensor([stream.random()], dtype=torch.float64) * p[-1]
        return min(int(torch.searchsorted(p, wanted, right=True)), p.shape[0] - 1)

    return choose


def _read_batch(
    model: nn.Module, pieces: Sequence[Piece], found: Sequence["GatheredTokens"]
) -> None:
    batch = padded(pieces, _device(model))
    longest = batch.token_ids.shape[1]
    first = min(piece.skipped for piece in pieces) - 1
    columns = torch.arange(first, longest, device=batch.token_ids.device)
    logits = logits_at(model, batch, columns)
    for row, piece in zip(logits, pieces, strict=True):
        rows = row[piece.skipped - 1 - first : piece.token_ids.size - 1 - first]
        targets = piece.token_ids[piece.skipped :]
        found[piece.text].add(rows, targets, first=piece.start + piece.skipped)


def _device(model: nn.Module) -> torch.device:
    return next(base_model(model).parameters()).device
