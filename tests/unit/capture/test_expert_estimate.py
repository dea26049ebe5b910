"""One backward foresees ablations: derivatives by differences, and the laws."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from driftmap.capture.expert_estimate import estimate_ablation
from driftmap.core.errors import FamilyError, MeasureError
from driftmap.families.bank_calls import Told, telling
from driftmap.families.expert_routing import see_routing
from driftmap.families.experts import find_experts
from laws.restores import assert_restores_model
from tiny_batches import batched, tiny_samples
from tiny_experts import tiny_moe

FAMILIES = ("olmoe", "gpt_oss", "deepseek_v3")
FIRST = (4, 7)
SAMPLES = tiny_samples(4, 6, 6, 3)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return tiny_moe(request.param)


@pytest.fixture(scope="module")
def banks(model):
    return find_experts(model)


@pytest.fixture(scope="module")
def foreseen(model, banks):
    return estimate_ablation(model, banks, batched(SAMPLES, 1), FIRST)


def odds(model, sample):
    with torch.no_grad():
        p = model(input_ids=sample.token_ids[None]).logits[0, -1].double().softmax(0)
    refusing = p[list(FIRST)].sum()
    return (refusing / (1 - refusing)).log().item()


def turned_down(bank, expert, share):
    """Multiply one expert's weights by a number, from outside."""

    def tell(found, told):
        factor = torch.where(told.chosen == expert, share, 1.0)
        return Told(chosen=told.chosen, weights=told.weights * factor)

    return bank, tell


def test_foreseen_changes_are_derivatives(model, banks, foreseen):
    """A central difference of the model itself, in float64."""
    wide = tiny_moe(model.config.model_type).double()
    wide.set_experts_implementation("eager")  # the faster ones know no float64
    step = 5e-3
    for place, bank in enumerate(banks):
        for number, sample in enumerate(SAMPLES[:2]):
            for expert in range(bank.place.num_experts):
                ends = []
                for share in (1 + step, 1 - step):
                    one, tell = turned_down(bank, expert, share)
                    with telling(wide, [one], tell):
                        ends.append(odds(wide, sample))
                slope = (ends[0] - ends[1]) / (2 * step)
                value = foreseen.examples[number, place, expert]
                assert value == pytest.approx(-slope, abs=2e-4)


def test_an_unvisited_expert_has_exactly_none(model, banks, foreseen):
    sample = SAMPLES[3]
    seen = see_routing(model, banks, sample.token_ids[None])
    for place, bank in enumerate(banks):
        busy = set(seen[bank.place.path].chosen.flatten().tolist())
        idle = [e for e in range(bank.place.num_experts) if e not in busy]
        assert idle
        assert not foreseen.examples[3, place, idle].any()
        assert foreseen.examples[3, place, sorted(busy)].any()


def test_samples_are_in_the_order_of_the_data_set(model, banks, foreseen):
    turned = batched(list(reversed(SAMPLES)), 2)
    again = estimate_ablation(model, banks, turned, FIRST)
    assert again.sample_ids == foreseen.sample_ids == ("s0", "s1", "s2", "s3")
    assert again.examples == pytest.approx(foreseen.examples, abs=2e-5)
    assert foreseen.change == pytest.approx(foreseen.examples.mean(0), abs=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_and_company_change_nothing(model, banks, foreseen, side):
    batches = batched(SAMPLES, 3, side=side, extra=2)
    again = estimate_ablation(model, banks, batches, FIRST)
    assert again.examples == pytest.approx(foreseen.examples, abs=2e-5)


def test_the_model_is_left_as_it_was(banks):
    model = tiny_moe("olmoe").train()
    model.requires_grad_(True)
    model.set_experts_implementation("eager")
    with assert_restores_model(model):
        estimate_ablation(model, find_experts(model), batched(SAMPLES), FIRST)
    assert set(model.get_experts_implementation().values()) == {"eager"}


def test_a_bank_of_fewer_experts_is_filled_with_nan(model, banks, foreseen):
    if len(banks) < 2:
        pytest.skip("this model has one bank")
    first = replace(banks[0].place, num_experts=banks[0].place.num_experts - 1)
    short = replace(banks[0], place=first)
    found = estimate_ablation(model, [short, banks[1]], batched(SAMPLES), FIRST)
    assert np.isnan(found.change).tolist() == [[False] * 5 + [True], [False] * 6]


def test_what_cannot_be_foreseen_is_refused(model, banks):
    batches = batched(SAMPLES)
    with pytest.raises(MeasureError, match="there is nothing to do"):
        estimate_ablation(model, banks, [], FIRST)
    for ids, words in (((), "0 token ids open"), ((3, 99), "2 token ids open")):
        with pytest.raises(MeasureError, match=f"{words} a refusal"):
            estimate_ablation(model, banks, batches, ids)
    mute = [replace(bank, told_choice=False) for bank in banks]
    with pytest.raises(FamilyError, match="does not tell its experts which tokens"):
        estimate_ablation(model, mute, batches, FIRST)


def test_a_nan_is_named():
    model = tiny_moe("olmoe")
    with torch.no_grad():
        model.lm_head.weight[3] = torch.nan
    banks = find_experts(model)
    words = "the foreseen change of sample s0 is not finite"
    with assert_restores_model(model), pytest.raises(MeasureError, match=words):
        estimate_ablation(model, banks, batched(SAMPLES), FIRST)
