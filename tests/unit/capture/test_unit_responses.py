import numpy as np
import pytest
import torch

from driftmap.capture.unit_responses import unit_differences, unit_sites
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_batches import batched, tiny_samples
from tiny_families import tiny_family


def differences(model, batches):
    found = {}

    def take(kind, layer, values):
        found.setdefault((kind, layer), []).append(values.numpy())

    unit_differences(model, unit_sites(model), batches, take)
    return {key: np.concatenate(values) for key, values in found.items()}


def test_against_hooks_on_one_sample_at_a_time():
    model = tiny_llama()
    samples = tiny_samples(7, 5, 6, 8)
    (batch,) = batched(samples)
    with assert_restores_model(model):
        found = differences(model, [batch])
    means = []
    for row, sample in enumerate(samples):
        seen = {}
        handles = [
            module.register_forward_pre_hook(
                lambda _m, args, name=name, seen=seen: seen.__setitem__(
                    name, args[0][0]
                )
            )
            for name, module in model.named_modules()
            if name.endswith(("layers.1.mlp.down_proj", "layers.1.self_attn.o_proj"))
        ]
        with torch.no_grad():
            model(sample.token_ids[None])
        for handle in handles:
            handle.remove()
        kept = batch.observed[row][batch.real[row]]
        means.append({name: value[kept].mean(0) for name, value in seen.items()})
    for kind, name, shape in (
        ("neuron", "model.layers.1.mlp.down_proj", (2, 32, 1)),
        ("head", "model.layers.1.self_attn.o_proj", (2, 4, 4)),
    ):
        want = torch.stack(
            [means[0][name] - means[2][name], means[1][name] - means[3][name]]
        )
        np.testing.assert_allclose(
            found[kind, 1], want.reshape(shape).numpy(), atol=2e-6
        )


def test_the_same_text_twice_differs_nowhere():
    samples = tiny_samples(6)
    (batch,) = batched([*samples, *samples])
    for values in differences(tiny_llama(), [batch]).values():
        assert np.abs(values).max() < 1e-6


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "bloom", "mpt", "opt"])
def test_units_of_other_families_are_found(family):
    sites = unit_sites(tiny_family(family))
    assert {(site.kind, site.layer) for site in sites} == {
        (kind, layer) for kind in ("neuron", "head") for layer in (0, 1)
    }
    assert {site.num for site in sites if site.kind == "head"} == {4}
