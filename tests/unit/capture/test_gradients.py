"""Do the pieces of a pass add up to each sample's own gradient of every tensor?"""

import torch

from driftmap.capture.gradients import show_gradients
from driftmap.families.tensors import find_tensors
from gradient_oracles import Collected, autograd_gradients
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_batches import batched, tiny_samples

SAMPLES = tiny_samples(7, 4, 6)


def test_pieces_add_up_to_the_gradient_of_every_parameter():
    model = tiny_llama().double()
    taken = Collected()
    with assert_restores_model(model):
        show_gradients(model, find_tensors(model), batched(SAMPLES, 2), taken)
    wanted = autograd_gradients(model, SAMPLES)
    assert list(wanted) == [rule.name for rule in find_tensors(model)]
    found = taken.gradients()
    assert set(found) == set(wanted)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-9)
