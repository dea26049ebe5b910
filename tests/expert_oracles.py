"""Gradients of experts the slow way, and signals put together to compare with them."""

from functools import partial

import torch

from driftmap.capture.expert_rows import show_experts
from driftmap.families.expert_tensors import bank_parameter, slice_of
from driftmap.families.experts import find_experts
from driftmap.signals.experts import ExpertGradients
from tiny_batches import own_loss


def one_by_one_experts(model, samples, implementation="eager", banks=None):
    """Each sample's own gradient of every expert, by autograd on the model's own run.

    By bank, tensor and sample, as `[expert ...]`, laid out as the tensor is stored.
    """
    before = model.get_experts_implementation()
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.set_experts_implementation(implementation)
    model.requires_grad_(True)
    found = {}
    for sample in samples:
        loss = own_loss(model, sample)
        for bank in banks or find_experts(model):
            for tensor in bank.tensors:
                found[bank.place.path, tensor.name, sample.id] = torch.stack(
                    _slices(model, bank, tensor, loss)
                )
    model.set_experts_implementation(before)
    for parameter, flag in flags:
        parameter.requires_grad_(flag)
    return found


def shown_experts(model, batches, banks=None):
    """What `show_experts` shows, as `one_by_one_experts` gives it."""
    banks = banks or find_experts(model)
    return gathered_experts(banks, partial(show_experts, model, banks, batches))


def gathered_experts(banks, show):
    """Put together what `show` hands to the function that it is given."""
    by_path = {bank.place.path: bank for bank in banks}
    found = {}

    def put(bank, tensor, sample, expert, gradient):
        key = (bank.place.path, tensor.name, sample)
        if key not in found:
            found[key] = gradient.new_zeros(bank.place.num_experts, *_shape(tensor))
        found[key][expert] += gradient

    def take(signal):
        bank = by_path[signal.bank.path]
        tensor = bank.tensor(signal.tensor)
        if isinstance(signal, ExpertGradients):
            for expert, gradient in zip(signal.experts, signal.gradients, strict=True):
                put(bank, tensor, signal.sample_id, expert, gradient)
            return
        for segment, expert in enumerate(signal.expert.tolist()):
            rows = slice(*signal.start[segment : segment + 2].tolist())
            x, d = signal.inputs[rows], signal.output_gradients[rows]
            sample = signal.sample_ids[signal.sample[segment]]
            put(bank, tensor, sample, expert, x.T @ d if tensor.transposed else d.T @ x)
            for bias in bank.tensors:
                if bias.bias and bias.parts == tensor.parts:
                    put(bank, bias, sample, expert, d.sum(dim=0))

    show(take)
    return found


def assert_same_gradients(found, wanted, share=1e-5):
    """Fail unless every gradient is there and within a share of its largest number."""
    assert sorted(found) == sorted(wanted)
    for key, gradient in wanted.items():
        assert found[key].shape == gradient.shape, key
        worst = (found[key].double() - gradient.double()).abs().max()
        assert worst <= share * gradient.double().abs().max(), (key, worst)


def _slices(model, bank, tensor, loss):
    experts = range(bank.place.num_experts)
    parameters = [bank_parameter(model, bank, tensor, expert) for expert in experts]
    if tensor.layout != "listed":
        parameters = parameters[:1]
    gradients = torch.autograd.grad(
        loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return [
        slice_of(gradients[min(e, len(gradients) - 1)], bank, tensor, e)
        for e in experts
    ]


def _shape(tensor):
    if tensor.bias:
        return (tensor.num_rows,)
    shape = (tensor.num_rows, tensor.num_columns)
    return shape[::-1] if tensor.transposed else shape
