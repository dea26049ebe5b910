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

from driftmap.capture.hooks import evaluating, one_attention_kernel
from driftmap.capture.losses import logits_at
from driftmap.core.errors import MeasureError, UsageError
from driftmap.core.progress import progress
from driftmap.families.modules import base_model
from driftmap.results.readings import TokenNumbers
from driftmap.signals.batch import Batch

NUMBERS_AT_A_TIME = 2**24
"""Logits that are made float32 together: 64 MiB."""

Choose = Callable[[Float[Tensor, " vocabulary"]], int]
"""Takes the logits of the next token and says which one is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """How a text longer than a window is read.

    Args:
        window: Most tokens that are read at once (count), at least 2.
        stride: Tokens that later windows share with the one before (count): each
            counted token has at least so many before it. Below `window`.
    """

    window: int
    stride: int

    def __post_init__(self) -> None:
        """Refuse windows that never move on.

        Raises:
            UsageError: A window predicts nothing, or overlaps whole with the next.
        """
        if self.window < 2:
            raise UsageError(
                f"a window of {self.window} tokens predicts none; give 2 or more"
            )
        if not 1 <= self.stride < self.window:
            raise UsageError(
                f"windows of {self.window} tokens cannot share {self.stride}; give a "
                f"stride of 1 to {self.window - 1} tokens"
            )


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
    found = [_Gathered(ids, num_top, text) for text, ids in enumerate(texts)]
    pieces = [
        piece for text, ids in enumerate(texts) for piece in _cut(text, ids, windows)
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
    found = _Gathered(prompt, num_top, 0)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Some tokens of a text that are read at once.

    `start` is the first one's place in the text, `skipped` how many at its front were
    read before or have no reading.
    """

    text: int
    start: int
    skipped: int
    token_ids: Int64[np.ndarray, " token"]


def _cut(text: int, ids: Int64[np.ndarray, " token"], windows: Windows) -> list[_Piece]:
    pieces = []
    start, skipped = 0, 1
    while not pieces or start + skipped < ids.size:
        some = ids[start : start + windows.window]
        pieces.append(_Piece(text=text, start=start, skipped=skipped, token_ids=some))
        start, skipped = start + windows.window - windows.stride, windows.stride
    return pieces


def _read_batch(
    model: nn.Module, pieces: Sequence[_Piece], found: Sequence["_Gathered"]
) -> None:
    batch = _padded(pieces, _device(model))
    longest = batch.token_ids.shape[1]
    first = min(piece.skipped for piece in pieces) - 1
    columns = torch.arange(first, longest, device=batch.token_ids.device)
    logits = logits_at(model, batch, columns)
    for row, piece in zip(logits, pieces, strict=True):
        rows = row[piece.skipped - 1 - first : piece.token_ids.size - 1 - first]
        targets = piece.token_ids[piece.skipped :]
        found[piece.text].add(rows, targets, first=piece.start + piece.skipped)


def _padded(pieces: Sequence[_Piece], device: torch.device) -> Batch:
    longest = max(piece.token_ids.size for piece in pieces)
    ids = torch.zeros(len(pieces), longest, dtype=torch.int64)
    real = torch.zeros(len(pieces), longest, dtype=torch.bool)
    for row, piece in enumerate(pieces):
        size = piece.token_ids.size
        ids[row, :size] = torch.from_numpy(piece.token_ids.astype(np.int64))
        real[row, :size] = True
    ids, real = ids.to(device), real.to(device)
    return Batch(
        sample_ids=tuple(str(piece.text) for piece in pieces),
        sample_index=tuple(range(len(pieces))),
        token_ids=ids,
        real=real,
        counted=real,
        observed=real,
    )


class _Gathered:
    """The numbers of one text, filled in as its windows are read."""

    def __init__(
        self, ids: Int64[np.ndarray, " token"], num_top: int, number: int
    ) -> None:
        if not ids.size:
            raise MeasureError(f"text {number}: it has no token to read")
        self.number = number
        self.num_top = num_top
        self.vocabulary = 0
        self.surprise = np.full(ids.size, np.nan)
        self.entropy = np.full(ids.size, np.nan)
        self.rank = np.full(ids.size, -1, np.int64)
        self.tops = np.full((ids.size, num_top), -1, np.int64)
        self.top_p = np.full((ids.size, num_top), np.nan)

    def add(
        self,
        logits: Float[Tensor, "token vocabulary"],
        targets: Int64[np.ndarray, " token"],
        *,
        first: int,
    ) -> None:
        """Take the logits that predict `targets`, which stand from `first` on."""
        self.vocabulary = logits.shape[-1]
        at_a_time = max(1, NUMBERS_AT_A_TIME // max(1, logits.shape[-1]))
        wanted = torch.from_numpy(targets.astype(np.int64)).to(logits.device)
        for start in range(0, len(targets), at_a_time):
            here = slice(start, start + at_a_time)
            size = len(targets[here])
            place = slice(first + start, first + start + size)
            self._fill(place, logits[here], wanted[here])

    def grow(self, logits: Float[Tensor, "1 vocabulary"], token: int) -> None:
        """Add a token at the end."""
        size = self.surprise.size
        self.surprise = np.append(self.surprise, np.nan)
        self.entropy = np.append(self.entropy, np.nan)
        self.rank = np.append(self.rank, -1)
        self.tops = np.vstack([self.tops, np.full((1, self.num_top), -1)])
        self.top_p = np.vstack([self.top_p, np.full((1, self.num_top), np.nan)])
        self.add(logits, np.array([token], np.int64), first=size)

    def numbers(self) -> TokenNumbers:
        """All of them."""
        return TokenNumbers(
            surprise=self.surprise,
            entropy=self.entropy,
            rank=self.rank,
            top_ids=self.tops,
            top_p=self.top_p,
            vocabulary=self.vocabulary,
        )

    def _fill(
        self,
        place: slice,
        logits: Float[Tensor, "token vocabulary"],
        targets: Int64[Tensor, " token"],
    ) -> None:
        z = logits.to(torch.promote_types(logits.dtype, torch.float32))
        own = z.gather(1, targets[:, None])
        total = z.logsumexp(1)
        if not bool((total.isfinite() & own[:, 0].isfinite()).all()):
            raise MeasureError(
                f"text {self.number}: a logit is NaN or infinite; are the model's "
                "weights finite?"
            )
        top = z.topk(min(self.num_top, z.shape[1]), 1)
        self.surprise[place] = (total - own[:, 0]).cpu().double().numpy()
        self.rank[place] = (z > own).sum(1).cpu().numpy()
        kept = top.indices.shape[1]
        self.tops[place, :kept] = top.indices.cpu().numpy()
        self.top_p[place, :kept] = (top.values - total[:, None]).exp().cpu().numpy()
        p = (z - total[:, None]).exp_()
        self.entropy[place] = torch.special.entr(p).sum(1).cpu().double().numpy()


def _device(model: nn.Module) -> torch.device:
    return next(base_model(model).parameters()).device
