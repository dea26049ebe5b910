"""Does taking layers one by one show what one pass shows, some tensors at a time?"""

import re

import pytest
import torch
from torch import nn

from driftmap.capture.gradients import show_gradients
from driftmap.capture.layer_sweep import (
    SweepSettings,
    require_layers,
    sweep_bytes,
    sweep_layers,
)
from driftmap.core.errors import MeasureError
from driftmap.families.tensors import choose_tensors, find_tensors
from gradient_oracles import Collected, autograd_gradients
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_batches import batched, tiny_samples
from tiny_families import FAMILY_NAMES, ROW_NAMES, tiny_family

QUERIES = tiny_samples(7, 4, 6)
ORIGINALS = tiny_samples(5, 9, 8, 3, seed=3)


class BySide:
    """Takes a sweep; a log says what came between two closings."""

    def __init__(self):
        self.taken = {"query": Collected(), "original": Collected()}
        self.log = [[]]

    def take(self, signal, side):
        again = any(
            signal.sample_ids == known.sample_ids and signal.tensor == known.tensor
            for known in self.taken[side].signals
        )
        if not again:
            self.taken[side](signal)
        self.log[-1].append((signal.tensor, side, signal.sample_ids))

    def close(self):
        self.log.append([])

    def gradients(self):
        return {side: taken.gradients() for side, taken in self.taken.items()}


def swept(model, settings=None, rules=None, size=2):
    taker = BySide()
    with assert_restores_model(model):
        sweep_layers(
            model,
            rules or find_tensors(model),
            batched(QUERIES, size),
            batched(ORIGINALS, size),
            taker,
            settings,
        )
    assert all("forward" not in vars(module) for module in model.modules())
    return taker


def assert_like_one_pass(model, found, rules=None):
    for side, samples in (("query", QUERIES), ("original", ORIGINALS)):
        whole = Collected()
        show_gradients(model, rules or find_tensors(model), batched(samples, 2), whole)
        wanted = whole.gradients()
        assert set(found[side]) == set(wanted)
        for name, gradient in wanted.items():
            error = (found[side][name] - gradient).abs().max()
            assert error <= 1e-6 * gradient.abs().max(), name


SLOW = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in (*FAMILY_NAMES, *ROW_NAMES)
    if name not in ("gpt2", "falcon_grouped")
]


@pytest.mark.parametrize("name", ["gpt2", "falcon_grouped", *SLOW])
def test_layers_one_by_one_show_what_one_pass_shows(name):
    model = tiny_family(name)
    assert_like_one_pass(model, swept(model).gradients())


def test_it_is_autograd_of_each_sample():
    model = tiny_llama().double()
    found = swept(model).gradients()["original"]
    for name, gradient in autograd_gradients(model, ORIGINALS).items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-9)


def test_tensors_of_one_layer_at_a_time_queries_before_originals():
    model = tiny_family("gpt2")
    *closed, rest = swept(model).log
    assert rest == []
    layers = [{tensor.layer for tensor, *_ in shown} for shown in closed]
    assert layers == [{None}, {1}, {0}, {None}]
    assert {tensor.part for tensor, *_ in closed[-1]} == {"embed"}
    for shown in closed:
        sides = [side for _, side, _ in shown]
        assert sides == sorted(sides, reverse=True)
        assert set(sides) == {"query", "original"}


def test_fewer_queries_at_a_time_show_originals_again():
    model = tiny_family("gpt2")
    taker = swept(model, SweepSettings(query_batches=1))
    assert_like_one_pass(model, taker.gradients())
    *closed, _ = taker.log
    assert len(closed) == 8
    for first, second in zip(closed[::2], closed[1::2], strict=True):
        seen = [
            {ids for _, side, ids in shown if side == "query"}
            for shown in (first, second)
        ]
        assert seen == [{("s0", "s1")}, {("s2",)}]
        originals = [
            [entry for entry in shown if entry[1] == "original"]
            for shown in (first, second)
        ]
        assert originals[0] == originals[1] != []


def test_hidden_states_lie_in_files_where_memory_is_short(tmp_path):
    model = tiny_llama()
    files = []

    class Looking(BySide):
        def take(self, signal, side):
            files.append(len(list(tmp_path.rglob("level_*.bin"))))
            super().take(signal, side)

    taker = Looking()
    settings = SweepSettings(memory_bytes=10, folder=tmp_path)
    batches = batched(QUERIES, 2), batched(ORIGINALS, 2)
    sweep_layers(model, find_tensors(model), *batches, taker, settings)
    assert_like_one_pass(model, taker.gradients())
    # What enters both layers and what leaves the last; fewer once they are done.
    assert files[0] == 3
    assert files[-1] == 1
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MeasureError) as refusal:
        swept(model, SweepSettings(memory_bytes=10))
    needed = (7 * 2 + 6 + 9 * 2 + 8 * 2) * 16 * 4 * 3
    assert sweep_bytes(model, find_tensors(model), [*batches[0], *batches[1]]) == needed
    assert re.fullmatch(
        r"the hidden states of all samples take 10\.\d KiB and the budget is 10 B: "
        "give a folder for temporary files, or more memory",
        str(refusal.value),
    )


def test_layers_below_the_last_tensor_are_not_run():
    model = tiny_llama()
    rules = choose_tensors(find_tensors(model), lambda place: place.layer == 1)
    runs = []
    hook = model.model.layers[0].mlp.register_forward_hook(lambda *_: runs.append(1))
    taker = swept(model, rules=rules)
    hook.remove()
    assert_like_one_pass(model, taker.gradients(), rules)
    # Twice to try the model, then once per batch.
    assert len(runs) == 3 + 4


def test_parameters_of_no_known_kind_come_last():
    model = tiny_llama()
    model.model.layers[1].mlp.gain = nn.Parameter(torch.ones(16))
    mlp = model.model.layers[1].mlp
    type_forward = type(mlp).forward

    class Gained(type(mlp)):
        def forward(self, hidden):
            return type_forward(self, hidden) * self.gain

    mlp.__class__ = Gained
    taker = swept(model)
    assert_like_one_pass(model, taker.gradients())
    *_, shown, rest = taker.log
    assert rest == []
    assert {tensor.name for tensor, *_ in shown} == {"model.layers.1.mlp.gain"}


def test_layers_that_share_more_than_hidden_states_are_refused():
    model = tiny_llama()
    lower, upper = model.model.layers
    kept = {}
    below, above = lower.forward, upper.forward

    def keeping(hidden, **named):
        kept["hidden"] = below(hidden, **named)
        return kept["hidden"]

    lower.forward = keeping
    upper.forward = lambda hidden, **named: above(hidden, **named) + kept["hidden"]
    with pytest.raises(MeasureError) as refusal:
        sweep_layers(
            model, find_tensors(model), batched(QUERIES), batched(ORIGINALS), BySide()
        )
    with pytest.raises(MeasureError, match=re.escape(str(refusal.value))):
        require_layers(model, find_tensors(model), batched(QUERIES)[0])
    require_layers(tiny_llama(), find_tensors(tiny_llama()), batched(QUERIES)[0])
    assert re.fullmatch(
        r"model\.layers\.0\.\S+: its gradient is another one when layers are taken one "
        "by one; layers of this model share more than hidden states, so take them in "
        "one pass",
        str(refusal.value),
    )


def test_a_parameter_of_several_layers_is_refused():
    model = tiny_llama()
    lower, upper = model.model.layers
    upper.mlp.up_proj.weight = lower.mlp.up_proj.weight
    with pytest.raises(MeasureError) as refusal:
        swept(model)
    assert str(refusal.value) == (
        "model.layers.0.mlp.up_proj.weight: several layers (0, 1) use it, so layers "
        "cannot be taken one by one; take them in one pass"
    )


def test_numbers_that_are_not_finite_name_layer_and_sample():
    model = tiny_llama()
    with torch.no_grad():
        model.model.embed_tokens.weight[5] = torch.nan
    samples = tiny_samples(7, 20, vocab=4)
    samples[1].token_ids[15] = 5  # the model is tried on fewer tokens
    with assert_restores_model(model), pytest.raises(MeasureError) as refusal:
        sweep_layers(
            model, find_tensors(model), batched(samples), batched(ORIGINALS), BySide()
        )
    assert str(refusal.value) == (
        "model.layers.0: the input of sample s1 is not finite; are the weights "
        "damaged, or is the dtype too narrow?"
    )


def test_nothing_to_show_is_refused():
    model = tiny_llama()
    with pytest.raises(MeasureError, match="nothing to do: give tensors and two sets"):
        sweep_layers(model, (), batched(QUERIES), batched(ORIGINALS), BySide())
