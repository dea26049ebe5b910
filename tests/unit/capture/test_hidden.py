import numpy as np
import pytest
import torch

from driftmap.capture.hidden import hidden_places, pooled_hidden
from driftmap.core.errors import MeasureError
from tiny import tiny_llama
from tiny_batches import batched, tiny_samples
from tiny_families import FAMILY_NAMES, tiny_family

POOLED = {
    "answer": lambda states, counted: states[-counted:].mean(0),
    "mean": lambda states, counted: states.mean(0),
    "last": lambda states, counted: states[-1],
    "prompt_last": lambda states, counted: states[-counted - 1],
}


def alone(model, sample):
    """Hidden states of one unpadded sample: the embedding's, then every block's."""
    with torch.no_grad():
        found = model(input_ids=sample.token_ids[None], output_hidden_states=True)
    return [states[0] for states in found.hidden_states]


@pytest.mark.parametrize("pool", POOLED)
def test_states_are_those_of_each_sample_alone(pool):
    model = tiny_llama(layers=3)
    samples = tiny_samples(5, 9, 7)
    places = hidden_places(model, ("block", "embed"))
    kept = pooled_hidden(model, places, batched(samples, 2, extra=3), pool)
    assert [p.place.layer for p in places] == [None, 0, 1, 2]
    for row, sample in enumerate(samples):
        states = alone(model, sample)
        for place, of_place in list(zip(places, states, strict=True))[:-1]:
            wanted = POOLED[pool](of_place, sample.num_counted).numpy()
            got = kept[place.place][row]
            np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-6)


def test_the_halves_add_up_to_what_the_block_adds():
    model = tiny_llama(layers=1)
    places = hidden_places(model, ("embed", "attention", "mlp", "block"))
    kept = pooled_hidden(model, places, batched(tiny_samples(6, 8)), "answer")
    embed, attention, mlp, block = (kept[place.place] for place in places)
    np.testing.assert_allclose(embed + attention + mlp, block, rtol=1e-5, atol=1e-5)
    assert [p.place.half for p in places] == [None, "attention", "mlp", None]


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_padding_and_batches_change_nothing_in_any_family(family):
    model = tiny_family(family)
    samples = tiny_samples(5, 9, 7)
    places = hidden_places(model, ("embed", "attention", "mlp", "block"))
    one = pooled_hidden(model, places, batched(samples, 1), "mean")
    other = pooled_hidden(model, places, batched(samples, 3, extra=2), "mean")
    for place in one:
        scale = np.abs(one[place]).max()
        np.testing.assert_allclose(one[place], other[place], rtol=0, atol=2e-5 * scale)


def test_a_number_that_is_not_finite_is_named():
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(MeasureError, match=r"layers\.1: the output for sample s0 is"):
        pooled_hidden(model, hidden_places(model), batched(tiny_samples(5)), "mean")


def test_the_model_is_left_as_it_was():
    model = tiny_llama()
    flags = [parameter.requires_grad for parameter in model.parameters()]
    pooled_hidden(model, hidden_places(model), batched(tiny_samples(5)), "mean")
    assert flags == [parameter.requires_grad for parameter in model.parameters()]
    assert not any(module._forward_hooks for module in model.modules())


def test_a_sample_without_an_answer_is_named():
    model = tiny_llama()
    batches = batched(tiny_samples(5))
    batches[0].counted[:] = False
    with pytest.raises(MeasureError, match=r"s0: no token is left .* --pool answer"):
        pooled_hidden(model, hidden_places(model), batches, "answer")
