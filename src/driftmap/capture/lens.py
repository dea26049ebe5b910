"""What would a model say if it ended after each of its blocks (the logit lens)?

The output of a block goes through all that the model itself does after its last block:
final norm, head, scaling and softcap of logits, whatever its family has. Nothing of it
is written again here: the model runs with every block replaced by one that hands on,
and the last one by one that gives the state in question. So the lens at the last block
is the model. The last entry of `hidden_states` is normed already; block outputs are
read instead.

The lens describes states (nostalgebraist 2020); it changes nothing and shows no cause.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from driftmap.capture.gathered import NUMBERS_AT_A_TIME
from driftmap.capture.hooks import evaluating, one_attention_kernel, running_instead
from driftmap.core.errors import MeasureError
from driftmap.families.discover import find_layout
from driftmap.families.modules import base_model
from driftmap.results.readings import LensReadings


def answer_lens(
    model: nn.Module,
    token_ids: Int[np.ndarray, " token"],
    answer_id: int,
    foil_id: int | None = None,
) -> LensReadings:
    """Read, at every token of a prompt, one answer and what it is compared with.

    Args:
        model: A causal language model; left as it was found.
        token_ids: The prompt.
        answer_id: The token whose probability is read.
        foil_id: Another one beside it.

    Raises:
        MeasureError: As `logit_lens`.
    """
    size = len(token_ids)
    foils = None if foil_id is None else np.full(size, foil_id, np.int64)
    return logit_lens(
        model, token_ids, np.arange(size), np.full(size, answer_id, np.int64), foils
    )


def next_token_lens(
    model: nn.Module, token_ids: Int[np.ndarray, " token"]
) -> LensReadings:
    """Read, at every token but the last, the token that follows it.

    Raises:
        MeasureError: As `logit_lens`.
    """
    ids = token_ids.astype(np.int64)
    return logit_lens(model, ids, np.arange(len(ids) - 1), ids[1:])


def logit_lens(
    model: nn.Module,
    token_ids: Int[np.ndarray, " text"],
    positions: Int64[np.ndarray, " token"],
    answer_ids: Int64[np.ndarray, " token"],
    foil_ids: Int64[np.ndarray, " token"] | None = None,
) -> LensReadings:
    """Read what each block's output says at some tokens of a text.

    Args:
        model: A causal language model; left as it was found.
        token_ids: The text.
        positions: Tokens whose states are read, from 0, at least one.
        answer_ids: Per position, the token whose probability is read.
        foil_ids: Per position, another one beside it.

    Raises:
        MeasureError: There is no position or none such in the text, or a logit is NaN
            or infinite.
    """
    if not positions.size or positions.min() < 0 or positions.max() >= len(token_ids):
        raise MeasureError(
            f"the lens reads tokens {positions.tolist()[:8]} of a text of "
            f"{len(token_ids)}; give some of 0 to {len(token_ids) - 1}"
        )
    blocks = [
        base_model(model).get_submodule(path) for path in find_layout(model).blocks
    ]
    wanted = [answer_ids] if foil_ids is None else [answer_ids, foil_ids]
    found = _Found.empty(len(blocks), positions.size, len(wanted))
    with torch.no_grad(), evaluating(model), one_attention_kernel(model):
        ids = torch.from_numpy(token_ids.astype(np.int64)).to(_device(model))
        outputs = _block_outputs(model, blocks, ids)
        at_a_time = max(1, NUMBERS_AT_A_TIME // _vocabulary(model))
        for start in range(0, positions.size, at_a_time):
            some = slice(start, start + at_a_time)
            here = torch.from_numpy(positions[some]).to(ids.device)
            logits = _lensed(model, blocks, outputs, ids, here)
            targets = [torch.from_numpy(one[some].astype(np.int64)) for one in wanted]
            _read(found, some, logits, targets)
    return found.readings(positions, answer_ids, foil_ids)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Found:
    """Numbers as they are filled in; the first axis of `p` and `rank` is whose."""

    p: Float[np.ndarray, "wanted layer token"]
    rank: Int64[np.ndarray, "wanted layer token"]
    entropy: Float[np.ndarray, "layer token"]
    kl: Float[np.ndarray, "layer token"]
    top: Int64[np.ndarray, "layer token"]

    @staticmethod
    def empty(num_layers: int, num_tokens: int, num_wanted: int) -> "_Found":
        shape = num_layers, num_tokens
        return _Found(
            p=np.full((num_wanted, *shape), np.nan),
            rank=np.full((num_wanted, *shape), -1, np.int64),
            entropy=np.full(shape, np.nan),
            kl=np.full(shape, np.nan),
            top=np.full(shape, -1, np.int64),
        )

    def readings(
        self,
        positions: Int64[np.ndarray, " token"],
        answer_ids: Int64[np.ndarray, " token"],
        foil_ids: Int64[np.ndarray, " token"] | None,
    ) -> LensReadings:
        return LensReadings(
            positions=positions,
            answer_ids=answer_ids,
            foil_ids=foil_ids,
            answer_p=self.p[0],
            answer_rank=self.rank[0],
            foil_p=None if foil_ids is None else self.p[1],
            foil_rank=None if foil_ids is None else self.rank[1],
            entropy=self.entropy,
            kl=self.kl,
            top_ids=self.top,
        )


def _block_outputs(
    model: nn.Module, blocks: Sequence[nn.Module], ids: Int64[Tensor, " text"]
) -> list[object]:
    """What each block gives for the text, in the shape in which it gives it."""
    outputs: list[object] = [None] * len(blocks)
    with ExitStack() as stack:
        for number, block in enumerate(blocks):

            def keep(
                _module: nn.Module, _inputs: object, output: object, at: int = number
            ) -> None:
                outputs[at] = output

            handle = block.register_forward_hook(keep)
            stack.callback(handle.remove)
        model(input_ids=ids[None], use_cache=False)
    return outputs


def _lensed(
    model: nn.Module,
    blocks: Sequence[nn.Module],
    outputs: Sequence[object],
    ids: Int64[Tensor, " text"],
    positions: Int64[Tensor, " token"],
) -> Iterator[tuple[int, Float[Tensor, "token vocabulary"]]]:
    """Logits of every block's output at some tokens, the last block's first."""
    for layer in reversed(range(len(blocks))):
        state = _state(outputs[layer])
        # Some models hand on several residual streams: [1 token stream width].
        chosen = state[:, positions.to(state.device)]
        with _ending_with(blocks, outputs, chosen):
            logits = model(input_ids=ids[positions][None], use_cache=False).logits[0]
        yield layer, logits.to(torch.promote_types(logits.dtype, torch.float32))


@contextmanager
def _ending_with(
    blocks: Sequence[nn.Module], outputs: Sequence[object], state: Tensor
) -> Iterator[None]:
    """Have the blocks hand on what they are given, and the last one give `state`."""

    def handing_on(at: int) -> Callable[..., object]:
        def forward(hidden_states: Tensor, *_: object, **__: object) -> object:
            return _in_place_of(outputs[at], hidden_states)

        return forward

    def ending(*_: object, **__: object) -> object:
        home = _state(outputs[-1]).device
        return _in_place_of(outputs[-1], state.to(home))

    with ExitStack() as stack:
        for number, block in enumerate(blocks[:-1]):
            stack.enter_context(running_instead(block, handing_on(number)))
        stack.enter_context(running_instead(blocks[-1], ending))
        yield


def _read(
    found: _Found,
    place: slice,
    logits: Iterator[tuple[int, Float[Tensor, "token vocabulary"]]],
    wanted: Sequence[Int64[Tensor, " token"]],
) -> None:
    last: Tensor | None = None
    for layer, z in logits:
        log_p = z.log_softmax(1)
        if not bool(log_p.isfinite().all()):
            raise MeasureError(
                f"block {layer}: a logit of its output is NaN or infinite; are the "
                "model's weights finite?"
            )
        last = log_p if last is None else last
        for number, ids in enumerate(wanted):
            own = z.gather(1, ids.to(z.device)[:, None])
            p = log_p.gather(1, ids.to(z.device)[:, None])[:, 0].exp()
            found.p[number, layer, place] = p.cpu().double().numpy()
            found.rank[number, layer, place] = (z > own).sum(1).cpu().numpy()
        entropy = -(log_p.exp() * log_p).sum(1)
        found.entropy[layer, place] = entropy.cpu().double().numpy()
        kl = (last.exp() * (last - log_p)).sum(1)
        found.kl[layer, place] = kl.cpu().double().clamp(min=0).numpy()
        found.top[layer, place] = z.argmax(1).cpu().numpy()


def _state(output: object) -> Tensor:
    state = output[0] if isinstance(output, tuple) else output
    assert isinstance(state, Tensor), type(output)
    return state


def _in_place_of(output: object, state: Tensor) -> object:
    return (state, *output[1:]) if isinstance(output, tuple) else state


def _device(model: nn.Module) -> torch.device:
    return next(base_model(model).parameters()).device


def _vocabulary(model: nn.Module) -> int:
    head = getattr(base_model(model), "get_output_embeddings", lambda: None)()
    weight = getattr(head, "weight", None)
    return weight.shape[0] if isinstance(weight, Tensor) else NUMBERS_AT_A_TIME
