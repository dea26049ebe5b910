"""Does a pass show each sample's gradient of every expert, router and all the rest?"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from driftmap.capture.gradients import show_gradients
from driftmap.capture.layer_sweep import sweep_layers
from driftmap.families import grouped_maps
from driftmap.families.tensor_names import place_of_name
from driftmap.families.tensors import choose_tensors, find_tensors
from driftmap.measure.products.fold import PairFold
from driftmap.measure.products.keeper import QueryKeeper
from driftmap.measure.products.pairing import Pairs
from driftmap.measure.products.work import workload_of
from expert_site_oracles import own_gradients
from gradient_oracles import assembled
from laws.restores import assert_restores_model
from tiny_batches import batched, tiny_samples
from tiny_experts import tiny_moe

FAMILIES = (
    "olmoe",
    "gpt_oss",
    "deepseek_v3",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("mixtral", "qwen2_moe", "granitemoe")
    ),
)
SAMPLES = tiny_samples(7, 4, 6, 5)


@pytest.fixture
def all_double(monkeypatch):
    """Let models that narrow their norms or attention to float32 compute in float64."""
    monkeypatch.setattr(grouped_maps, "_HAS_GROUPED", False)  # knows no float64
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(torch, "float32", torch.float64)


class Taken:
    """Takes signals; a sample that comes without pieces has a gradient of zero."""

    def __init__(self):
        self.rows = {}

    def __call__(self, signal):
        of = self.rows.setdefault(signal.tensor.name, {})
        zeros = torch.zeros(len(signal.sample_index), *signal.shape)
        values = assembled(signal) if signal.pieces else zeros
        for index, gradient in zip(signal.sample_index, values, strict=True):
            assert index not in of, signal.tensor.name
            of[index] = gradient.double()

    def of(self, name):
        rows = self.rows[name]
        return torch.stack([rows[index] for index in range(len(rows))])


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_are_autograd_of_every_tensor(all_double, family):
    model = tiny_moe(family).double()
    model.set_experts_implementation("eager")
    rules = find_tensors(model)
    taken = Taken()
    with assert_restores_model(model):
        show_gradients(model, rules, batched(SAMPLES, 3), taken)
    wanted = own_gradients(model, rules, SAMPLES)
    assert taken.rows.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(
            taken.of(name), gradient, rtol=0, atol=1e-9, msg=name
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_has_its_place_and_its_name_tells_it(family):
    model = tiny_moe(family)
    places = [place for rule in find_tensors(model) for place in rule.places]
    size = sum(place.num_weights for place in places)
    assert size == sum(parameter.numel() for parameter in model.parameters())
    latent = [p for p in places if family == "deepseek_v3" and p.name.endswith(
        "self_attn.o_proj.weight")]  # fmt: skip
    for place in places:
        if place not in latent:
            named = replace(place, num_weights=None)
            assert place_of_name(place.name) == named


@pytest.mark.parametrize("family", ["olmoe", "mixtral", "gpt_oss"])
@pytest.mark.parametrize("products", ["ghost", "materialise"])
def test_dots_of_every_tensor_are_those_of_autograd(family, products):
    model = tiny_moe(family)
    found = dots(model, find_tensors(model), products)
    double = tiny_moe(family).double()
    double.set_experts_implementation("eager")
    wanted = own_gradients(double, find_tensors(double), SAMPLES)
    for name, dot in found.items():
        rows = wanted[name].flatten(1)
        lengths = rows.norm(dim=1)
        scale = (lengths[:2, None] * lengths[None, 2:]).numpy()
        error = np.abs(dot - (rows[:2] @ rows[2:].T).numpy())
        assert (error <= 2e-6 * np.maximum(scale, 1e-12)).all(), name
    unvisited = [name for name in found if not wanted[name].any()]
    assert not any(found[name].any() for name in unvisited)


def dots(model, rules, products):
    """Products of the first two samples with the others, by name of the tensor."""
    queries, originals = (
        SAMPLES[:2],
        [replace(sample, index=sample.index - 2) for sample in SAMPLES[2:]],
    )
    places = [place for rule in rules for place in rule.places]
    candidates = np.array([[0, 1], [0, 1]])
    keeper = QueryKeeper(
        tensors=places,
        energies=np.zeros((2, len(places))),
        workload=workload_of(candidates, [7, 4], [6, 5]),
        products=products,
    )
    dot = np.zeros((2, 2, len(places)))
    fold = PairFold(
        keeper=keeper,
        pairs=Pairs(candidates=candidates, num_originals=2),
        dot=dot,
        energies=np.zeros((2, len(places))),
        query_ids=("s0", "s1"),
    )
    show_gradients(model, rules, batched(queries), keeper.take)
    show_gradients(model, rules, batched(originals, 1), fold.take)
    return {place.name: dot[:, :, at] for at, place in enumerate(places)}


def test_layers_taken_one_by_one_show_the_same():
    model = tiny_moe("gpt_oss")
    rules = find_tensors(model)
    whole, swept = Taken(), Sides()
    show_gradients(model, rules, batched(SAMPLES), whole)
    originals = batched([replace(one, index=one.index + 4) for one in SAMPLES], 2)
    sweep_layers(model, rules, batched(SAMPLES), originals, swept)
    assert swept.taken["query"].rows.keys() == whole.rows.keys()
    for name in whole.rows:
        found = swept.taken["query"].of(name)
        torch.testing.assert_close(found, whole.of(name), rtol=1e-5, atol=1e-6)


class Sides:
    """Takes what a sweep shows, side by side."""

    def __init__(self):
        self.taken = {"query": Taken(), "original": Taken()}

    def take(self, signal, side):
        self.taken[side](signal)

    def close(self):
        pass


def test_one_expert_s_part_can_be_asked_for_alone():
    model = tiny_moe("olmoe")
    name = "model.layers.1.mlp.experts.gate_up_proj#expert.4.up"
    rules = choose_tensors(find_tensors(model), lambda place: place.name == name)
    taken = Taken()
    show_gradients(model, rules, batched(SAMPLES), taken)
    assert list(taken.rows) == [name]
    wanted = own_gradients(model, find_tensors(model), SAMPLES)[name]
    torch.testing.assert_close(taken.of(name), wanted.double(), rtol=1e-4, atol=1e-6)
