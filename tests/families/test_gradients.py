"""Does a pass show the gradient of every parameter of every proved family?"""

import pytest
import torch

from driftmap.capture.gradients import show_gradients
from driftmap.families.tensor_names import place_of_name
from driftmap.families.tensors import find_tensors
from gradient_oracles import Collected, autograd_gradients, by_parameter
from laws.restores import assert_restores_model
from tiny_batches import batched, tiny_samples
from tiny_families import FAMILY_NAMES, ROW_NAMES, tiny_family

FAST = ("llama", "gpt2", "phi3", "falcon_grouped", "gemma3", "opt")
"""Plain, turned and tied, fused, fused by head, scaled inside, positions shifted."""

EVERY_NAME = [
    name if name in FAST else pytest.param(name, marks=pytest.mark.slow)
    for name in FAMILY_NAMES + ROW_NAMES
]
SAMPLES = tiny_samples(7, 4, 6)

pytestmark = pytest.mark.parametrize("name", EVERY_NAME)


@pytest.fixture
def all_double(monkeypatch):
    """Let models that narrow their norms or attention to float32 compute in float64."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(torch, "float32", torch.float64)


def test_pieces_are_autograd_of_every_parameter(all_double, name):
    model = tiny_family(name).double()
    rules = find_tensors(model)
    taken = Collected()
    with assert_restores_model(model):
        show_gradients(model, rules, batched(SAMPLES, 2), taken)
    wanted = autograd_gradients(model, SAMPLES)
    found = by_parameter(rules, taken.gradients())
    assert list(found) == list(wanted)
    for parameter, gradient in wanted.items():
        torch.testing.assert_close(
            found[parameter], gradient, rtol=0, atol=1e-9, msg=parameter
        )


def test_every_parameter_has_its_places(name):
    model = tiny_family(name)
    rules = find_tensors(model)
    parameters = dict(model.named_parameters())
    assert [rule.name for rule in rules] == list(parameters)
    assert "other" not in {rule.kind for rule in rules}
    for rule in rules:
        sizes = [place.num_weights for place in rule.places]
        assert sum(sizes) == parameters[rule.name].numel()
        for place in rule.places:
            named = place_of_name(place.name)
            assert (place.part, place.layer, place.half) == (
                named.part, named.layer, named.half,
            )  # fmt: skip
