"""What single states do for the answer: the laws that every way of tracing keeps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from driftmap.capture.patching.ends import ends_of
from driftmap.capture.patching.tracing import trace_prompt
from driftmap.core.errors import MeasureError
from driftmap.signals.traces import Restoring
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_traces import tiny_corruption, tiny_prompt

KINDS = [
    Restoring(),
    Restoring(dims=(2, 9)),
    Restoring(kind="mlp", window=3),
    Restoring(kind="attn", window=2),
    Restoring(kind="severed_mlp"),
    Restoring(kind="severed_attn"),
]


@pytest.mark.parametrize("answer", [1, 3])
def test_without_noise_every_cell_is_the_clean_run(answer):
    prompt = tiny_prompt(answer=answer)
    model = tiny_llama(layers=4)
    corruption = tiny_corruption(prompt, level=0.0)
    for cells in trace_prompt(model, prompt, corruption, KINDS):
        torch.testing.assert_close(
            cells.scores, torch.full_like(cells.scores, cells.high), rtol=1e-5, atol=0
        )


def test_cells_before_the_subject_are_the_corrupted_run_exactly():
    prompt = tiny_prompt(subject=(2, 4))
    model = tiny_llama(layers=3)
    for cells in trace_prompt(model, prompt, tiny_corruption(prompt), KINDS):
        assert torch.equal(cells.scores[:2], cells.low.expand(2, 3, -1))
        assert not torch.equal(cells.scores[2:, 0], cells.low.expand(5, -1))


def test_a_model_is_left_as_it_was_also_after_an_error():
    prompt, model = tiny_prompt(), tiny_llama().train()
    with assert_restores_model(model):
        trace_prompt(model, prompt, tiny_corruption(prompt), KINDS)
    with assert_restores_model(model), pytest.raises(RuntimeError):
        trace_prompt(model, prompt, tiny_corruption(prompt, width=5), KINDS)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Restoring(kind="mlp"), "mlp: a window of None layers; give 1 or more"),
        (Restoring(window=2), "hidden: it has no window; leave it out"),
        (Restoring(kind="attn", window=1, dims=(0, 1)), "attn: single coordinates"),
    ],
)
def test_what_cannot_be_meant_is_refused(wanted, message):
    prompt = tiny_prompt()
    with pytest.raises(MeasureError, match=message):
        trace_prompt(tiny_llama(), prompt, tiny_corruption(prompt), [wanted])


def test_a_corruption_outside_the_prompt_is_refused():
    prompt = tiny_prompt(subject=(6, 8))
    with pytest.raises(MeasureError, match="tokens 6 to 8 are corrupted, and its pro"):
        trace_prompt(tiny_llama(), prompt, tiny_corruption(prompt), [Restoring()])


def test_same_noise_gives_the_same_bytes():
    prompt, model = tiny_prompt(), tiny_llama(layers=3)
    one, other = (
        trace_prompt(model, prompt, tiny_corruption(prompt), KINDS) for _ in range(2)
    )
    for first, second in zip(one, other, strict=True):
        assert np.array_equal(first.scores.numpy(), second.scores.numpy())


@pytest.mark.parametrize("wanted", KINDS)
def test_cells_of_some_tokens_are_those_of_all(wanted):
    prompt, model = tiny_prompt(), tiny_llama(layers=3)
    whole, some = trace_prompt(
        model, prompt, tiny_corruption(prompt), [wanted, replace(wanted, tokens=(2, 4))]
    )

    assert torch.equal(some.scores[2:4], whole.scores[2:4])
    assert some.scores[:2].isnan().all()
    assert some.scores[4:].isnan().all()


def test_what_corruption_costs_is_what_a_trace_says():
    prompt, model = tiny_prompt(answer=2), tiny_llama()
    corruption = tiny_corruption(prompt)
    (cells,) = trace_prompt(model, prompt, corruption, [Restoring()])
    with assert_restores_model(model):
        ends = ends_of(model, prompt, corruption, "prob")

    assert (ends.high, ends.low) == (cells.high, float(cells.low.mean()))
