"""What a pass should show of experts and routers, the slow way: eager, one by one."""

from functools import partial

import torch

from driftmap.families.discover import find_layout
from driftmap.families.expert_tensors import bank_parameter, part_views, slice_of
from tiny_batches import own_loss


def site_gradients(model, samples):
    """Every sample's own gradient of every site, by autograd on the parameters."""
    layout = find_layout(model)
    model.set_experts_implementation("eager")
    parameters = dict(model.named_parameters())
    for sample in samples:
        loss = own_loss(model, sample)
        found = torch.autograd.grad(loss, list(parameters.values()))
        named = dict(zip(parameters, found, strict=True))
        yield {site: _of_site(model, layout, site, named) for site in layout.sites}


def naive_expert_snip(model, samples):
    """SNIP of every site by one backward per sample, in the model's own dtype."""
    total = {}
    for gradients in site_gradients(model, samples):
        for site, gradient in gradients.items():
            total[site] = total.get(site, 0.0) + gradient.abs()
    weights = dict(model.named_parameters())
    layout = find_layout(model)
    cut = partial(_of_site, model, layout, named=weights)
    return {
        site: (cut(site).abs() * size / len(samples)).detach()
        for site, size in total.items()
    }


def _of_site(model, layout, site, named):
    if site.expert is None:
        whole = named[f"{site.path}.{site.tensor or 'weight'}"]
        assert site.split is None
        assert not site.transposed
        return whole
    bank = next(bank for bank in layout.banks if bank.place.path == site.path)
    tensor = bank.tensor(site.tensor)
    assert (
        bank_parameter(model, bank, tensor).shape
        == named[f"{site.path}.{tensor.name}"].shape
    )
    own = slice_of(named[f"{site.path}.{tensor.name}"], bank, tensor, site.expert)
    return part_views(tensor, own)[site.part]


def own_gradients(model, rules, samples):
    """Every sample's gradient `[sample *shape]` of every place, by its name."""
    model.set_experts_implementation("eager")
    parameters = {
        name: parameter
        for name, parameter in model.named_parameters()
        if name in {rule.name for rule in rules}
    }
    flags = [parameter.requires_grad for parameter in parameters.values()]
    found = {rule.name: [] for rule in rules}
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    for sample in samples:
        loss = own_loss(model, sample)
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        for name, gradient in zip(parameters, gradients, strict=True):
            found[name].append(gradient)
    for parameter, flag in zip(parameters.values(), flags, strict=True):
        parameter.requires_grad_(flag)
    return {
        one.place.name: _cut(rule, one, torch.stack(found[rule.name]))
        for rule in rules
        for one in rule.slices
    }


def _cut(rule, one, gradients):
    own = gradients if one.expert is None else gradients[:, one.expert]
    own = own.transpose(1, 2) if rule.transposed else own
    return own if one.rows is None else own[:, one.rows.rows()]
