"""Does one pass show each sample's own gradients at experts and routers?"""

from functools import partial

import pytest
import torch

from driftmap.capture.stream import run_folds
from driftmap.core.errors import MeasureError
from driftmap.families.discover import find_layout
from driftmap.families.matrices import site_weight
from driftmap.measure.first_order import FirstOrder
from driftmap.measure.snip import Snip, SnipHalves
from driftmap.measure.wanda import Wanda
from expert_site_oracles import naive_expert_snip, site_gradients
from laws.invariance import assert_close, assert_matches_oracle
from laws.restores import assert_restores_model
from tiny_batches import batched, checkpointed, tiny_samples
from tiny_experts import tiny_moe

SAMPLES = tiny_samples(7, 4, 9, 7, 5)
FAMILIES = ("olmoe", "mixtral", "gpt_oss", "deepseek_v3")


def snip(model, batches, **settings):
    sites = find_layout(model).sites
    return run_folds(
        model, sites, batches, [Snip(partial(site_weight, model))], **settings
    )[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_snip_of_experts_and_routers_is_one_backward_per_sample(family):
    model = tiny_moe(family)
    with assert_restores_model(model):
        found = snip(model, batched(SAMPLES, 3, side="left"))
    wanted = naive_expert_snip(model, SAMPLES)
    assert_matches_oracle(found, wanted)
    of_experts = [score for site, score in found.items() if site.expert is not None]
    assert sum(bool(score.any()) for score in of_experts) > len(of_experts) / 2


def test_batches_padding_and_passes_change_nothing():
    model = tiny_moe("gpt_oss").double()
    wanted = snip(model, batched(SAMPLES, 1))
    assert_close(snip(model, batched(SAMPLES, side="left", extra=4)), wanted)
    assert_close(snip(model, batched(SAMPLES, 2), memory_bytes=12_000), wanted)


def test_any_backend_is_restored_and_gives_the_same():
    model = tiny_moe("olmoe")
    wanted = snip(model, batched(SAMPLES, 3))
    for name in ("eager", "grouped_mm", "batched_mm"):
        model.set_experts_implementation(name)
        assert_close(snip(model, batched(SAMPLES, 3)), wanted)
        assert model.config._experts_implementation == name


def test_checkpointing_changes_nothing():
    model = tiny_moe("olmoe")
    wanted = snip(model, batched(SAMPLES))
    checkpointed(model, False)
    assert_close(snip(model, batched(SAMPLES)), wanted)


def test_halves_know_which_samples_went_to_an_expert():
    model = tiny_moe("mixtral")
    sites = find_layout(model).sites
    halves = SnipHalves(partial(site_weight, model))
    (found,) = run_folds(model, sites, batched(SAMPLES, 3), [halves])
    even = [sample for sample in SAMPLES if sample.index % 2 == 0]
    wanted = naive_expert_snip(model, even)
    share = len(even) / len(SAMPLES)
    assert_matches_oracle(
        {site: half.even for site, half in found.items()},
        {site: score * share for site, score in wanted.items()},
    )


@pytest.mark.parametrize("family", ["olmoe", "gpt_oss"])
def test_wanda_takes_the_tokens_that_an_expert_saw(family):
    model = tiny_moe(family)
    sites = find_layout(model).sites
    (found,) = run_folds(
        model,
        sites,
        batched(SAMPLES, 3, side="left", positions="response"),
        [Wanda(partial(site_weight, model))],
    )
    for site, squares in observed_squares(model, SAMPLES).items():
        size = squares.mean(dim=0).sqrt() if len(squares) else squares.new_zeros(1)
        wanted = site_weight(model, site).abs() * size
        torch.testing.assert_close(found[site], wanted, rtol=2e-5, atol=1e-6)


def observed_squares(model, samples):
    """Squared inputs of gate and up at the tokens that predict a counted one."""
    layout = find_layout(model)
    entered = {}

    def listen(path, _module, args, named):
        hidden, chosen = (*args, *named.values())[:2]
        entered[path] = hidden, chosen

    handles = [
        model.get_submodule(bank.place.path).register_forward_pre_hook(
            partial(listen, bank.place.path), with_kwargs=True
        )
        for bank in layout.banks
    ]
    squares = {s: [] for s in layout.sites if s.expert is not None and s.part == "up"}
    for sample in samples:
        with torch.no_grad():
            model(input_ids=sample.token_ids[None], use_cache=False)
        length = len(sample.token_ids)
        for token in range(length - sample.num_counted - 1, length - 1):
            for site, of_site in squares.items():
                hidden, chosen = entered[site.path]
                if site.expert in chosen[token]:
                    of_site.append(hidden[token] ** 2)
    for handle in handles:
        handle.remove()
    empty = torch.zeros(0, 1)
    return {s: torch.stack(of) if of else empty for s, of in squares.items()}


@pytest.mark.parametrize("grain", ["row", "column", "module"])
def test_effects_of_units_are_sums_of_weight_times_gradient(grain):
    model = tiny_moe("gpt_oss")
    sites = find_layout(model).sites
    fold = FirstOrder(sites, grain, len(SAMPLES))
    (terms,) = run_folds(model, sites, batched(SAMPLES, 3), [fold])
    total = {}
    for gradients in site_gradients(model, SAMPLES):
        for site, gradient in gradients.items():
            product = (site_weight(model, site) * gradient).detach()
            axes = {"row": (1,), "column": (0,), "module": (0, 1)}[grain]
            total[site] = total.get(site, 0.0) + product.sum(dim=axes).abs()
    for effect in fold.effects(terms):
        (piece,) = effect.units.pieces
        wanted = (total[piece.site] / len(SAMPLES)).double().reshape(-1).numpy()
        assert effect.effect == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_a_bank_that_runs_otherwise_is_noticed():
    model = tiny_moe("olmoe")
    bank = model.get_submodule("model.layers.1.mlp.experts")
    bank.forward = partial(type(bank).forward.__wrapped__, bank)
    message = r"^model.layers.1.mlp.experts: the model never ran this bank in the way"
    with pytest.raises(MeasureError, match=message):
        snip(model, batched(SAMPLES))


def test_a_number_that_is_none_is_named_with_bank_and_sample():
    model = tiny_moe("olmoe")
    bank = model.get_submodule("model.layers.1.mlp.experts")
    with torch.no_grad():
        bank.gate_up_proj[:] = torch.inf
    sites = [s for s in find_layout(model).sites if s.expert is not None and s.layer]
    fold = Wanda(partial(site_weight, model))
    message = (
        r"^model.layers.1.mlp.experts: the input of sample s\d is not finite; are the "
        "weights damaged, or is the dtype too narrow"
    )
    with pytest.raises(MeasureError, match=message):
        run_folds(model, sites, batched(SAMPLES), [fold])


def test_neurons_are_numbered_within_their_own_expert():
    model = tiny_moe("deepseek_v3")
    sites = find_layout(model).sites
    fold = FirstOrder(sites, "neuron", len(SAMPLES))
    (terms,) = run_folds(model, sites, batched(SAMPLES, 3), [fold])
    effects = {one.units.name: one for one in fold.effects(terms)}
    assert len(effects) == 1 + 1 + 8  # the dense layer, the shared expert, and eight
    assert effects[""].units.layer == 0
    total = torch.zeros(12)
    for gradients in site_gradients(model, SAMPLES):
        (down,) = [s for s in sites if s.key.endswith("#expert.5.down")]
        total += (site_weight(model, down) * gradients[down]).sum(dim=0).abs().detach()
    found = effects["model.layers.1.mlp.experts#expert.5"].effect
    assert found == pytest.approx((total / len(SAMPLES)).numpy(), rel=1e-4, abs=1e-6)
