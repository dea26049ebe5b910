"""Banks of experts without a model: rows, what they come to, and the same by loops.

Every number of a gradient is worked out here token by token in float64, with numpy
alone: nothing of the measures is used.
"""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch

from driftmap.core.places import BankPlace
from driftmap.signals.experts import ExpertGradients, ExpertSignal


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A stored tensor, as a family would describe it."""

    name: str
    parts: tuple[str, ...]
    num_rows: int
    num_columns: int
    transposed: bool = False
    interleaved: bool = False
    bias: bool = False


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A bank, as a family would describe it."""

    place: BankPlace
    tensors: tuple[Stored, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Token:
    """What one token does at one expert of one bank, map by map."""

    bank: int
    expert: int
    sample: int
    place: int
    inputs: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """Banks and all that samples do there.

    `counted[i]` loss tokens of sample i; samples are numbered from 0.
    """

    banks: tuple[Layout, ...]
    tokens: tuple[Token, ...]
    counted: tuple[int, ...]
    weights: dict[tuple[str, int], dict[str, np.ndarray]]

    @cached_property
    def visits(self):
        """Tokens by bank, expert and sample."""
        found = {}
        for token in self.tokens:
            found.setdefault((token.bank, token.expert, token.sample), []).append(token)
        return found

    def slices(self, bank, expert):
        held = self.weights[bank.path, expert]
        return {name: torch.from_numpy(w).float() for name, w in held.items()}


HIDDEN, INNER = 5, 3


def layout(number, experts=4, *, bias=False, transposed=False, interleaved=False):
    """A bank of gated experts."""
    place = BankPlace(
        path=f"layers.{number}.experts", layer=number, num_experts=experts, num_chosen=2
    )
    up = ("gate", "up")
    kind = {"transposed": transposed}
    tensors = [
        Stored(name="gate_up", parts=up, num_rows=2 * INNER, num_columns=HIDDEN,
               interleaved=interleaved, **kind),
        Stored(name="down", parts=("down",), num_rows=HIDDEN, num_columns=INNER,
               **kind),
    ]  # fmt: skip
    if bias:
        tensors += [
            Stored(name="gate_up_bias", parts=up, num_rows=2 * INNER, num_columns=1,
                   interleaved=interleaved, bias=True),
            Stored(name="down_bias", parts=("down",), num_rows=HIDDEN, num_columns=1,
                   bias=True),
        ]  # fmt: skip
    return Layout(place=place, tensors=tuple(tensors))


def made(banks, seed=0, samples=6, length=7, scale=1.0):
    """Samples of different lengths, whose tokens go to two experts of every bank.

    The last expert of the first bank is never visited.
    """
    rng = np.random.default_rng(seed)
    tokens = []
    for number, bank in enumerate(banks):
        free = bank.place.num_experts - (number == 0 and bank.place.num_experts > 2)
        for sample in range(samples):
            for place in range(1 + (length + sample) % length):
                for expert in rng.permutation(free)[: bank.place.num_chosen]:
                    matrices = [t for t in bank.tensors if not t.bias]
                    tokens.append(
                        Token(
                            bank=number, expert=int(expert), sample=sample, place=place,
                            inputs={t.name: rng.normal(size=t.num_columns)
                                    for t in matrices},
                            gradients={t.name: scale * rng.normal(size=t.num_rows)
                                       for t in matrices},
                        )
                    )  # fmt: skip
    weights = {
        (bank.place.path, expert): {
            t.name: rng.normal(size=_stored_shape(t)) for t in bank.tensors
        }
        for bank in banks
        for expert in range(bank.place.num_experts)
    }
    counted = tuple(int(n) for n in rng.integers(1, 9, size=samples))
    return Made(
        banks=tuple(banks), tokens=tuple(tokens), counted=counted, weights=weights
    )


def signals(world, samples):
    """What one batch of samples shows, bank by bank from the top, down first."""
    for number in reversed(range(len(world.banks))):
        bank = world.banks[number]
        own = [t for t in world.tokens if t.bank == number and t.sample in samples]
        own.sort(key=lambda t: (t.expert, samples.index(t.sample), t.place))
        keys = [(t.expert, samples.index(t.sample)) for t in own]
        first = [n for n in range(len(keys)) if n == 0 or keys[n] != keys[n - 1]]
        for tensor in ("down", "gate_up"):
            yield ExpertSignal(
                bank=bank.place,
                tensor=tensor,
                sample_ids=tuple(f"s{n}" for n in samples),
                sample_index=tuple(samples),
                num_counted=tuple(world.counted[n] for n in samples),
                expert=torch.tensor([keys[n][0] for n in first]),
                sample=torch.tensor([keys[n][1] for n in first]),
                start=torch.tensor([*first, len(own)]),
                token=torch.tensor([t.place for t in own]),
                inputs=_rows(own, "inputs", tensor),
                output_gradients=_rows(own, "gradients", tensor),
            )


def whole_gradients(world, sample, *, told=True):
    """The same of one sample, from a bank that shows whole gradients."""
    for number, bank in enumerate(world.banks):
        experts = range(bank.place.num_experts)
        routed = [len(visits(world, number, e, sample)) for e in experts]
        for tensor in bank.tensors:
            stored = [
                _as_stored(gradient(world, number, e, sample)[tensor.name], tensor)
                for e in experts
            ]
            yield ExpertGradients(
                bank=bank.place,
                tensor=tensor.name,
                sample_id=f"s{sample}",
                sample_index=sample,
                num_counted=world.counted[sample],
                experts=tuple(experts),
                gradients=torch.from_numpy(np.stack(stored)).float(),
                num_routed=tuple(routed) if told else None,
            )


def visits(world, bank, expert, sample):
    """Tokens of a sample at an expert."""
    return world.visits.get((bank, expert, sample), [])


@cache
def gradient(world, bank, expert, sample):
    """A sample's gradient of every tensor of an expert, `[out in]`."""
    found = {}
    for tensor in world.banks[bank].tensors:
        name = tensor.name.removesuffix("_bias")
        total = np.zeros((tensor.num_rows, tensor.num_columns))
        for token in visits(world, bank, expert, sample):
            entered = np.ones(1) if tensor.bias else token.inputs[name]
            total += np.outer(token.gradients[name], entered)
        found[tensor.name] = total[:, 0] if tensor.bias else total
    return found


def pooled(tensors):
    """All numbers of an expert in one list."""
    return np.concatenate([values.ravel() for values in tensors.values()])


def weights_of(world, bank, expert):
    """W of every tensor, `[out in]`."""
    layout_ = world.banks[bank]
    held = world.weights[layout_.place.path, expert]
    return {
        t.name: held[t.name].T if t.transposed and not t.bias else held[t.name]
        for t in layout_.tensors
    }


def _rows(tokens, kind, tensor):
    rows = [getattr(t, kind)[tensor] for t in tokens]
    return torch.from_numpy(np.stack(rows)).float()


def _stored_shape(tensor):
    if tensor.bias:
        return (tensor.num_rows,)
    shape = (tensor.num_rows, tensor.num_columns)
    return shape[::-1] if tensor.transposed else shape


def _as_stored(values, tensor):
    return values.T if tensor.transposed and not tensor.bias else values
