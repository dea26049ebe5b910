"""Do chosen experts learn as plain training would teach them, and nothing else?"""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from driftmap.core.errors import DataError, ModelError, UsageError
from driftmap.core.places import ExpertPlace
from driftmap.families.experts import find_experts
from driftmap.results.samples import EncodedSample
from driftmap.tune import expert_gradients
from driftmap.tune.expert_leaves import expert_leaves, require_trainable
from driftmap.tune.expert_settings import ExpertTuningSettings
from driftmap.tune.experts import ExpertTask, tune_experts, tune_whole
from driftmap.tune.passes import steps_of
from driftmap.tune.slices import kept_masters, masters_of
from expert_samples import PlainAdamW, encoded, plain_gradients
from tiny_experts import tiny_moe

SETTINGS = ExpertTuningSettings(
    learning_rate=1e-3, batch_size=2, epochs=2, weight_decay=0.1, max_norm=0.5
)

OTHERS = (
    "afmoe", "aria_text", "bailing_hybrid", "deepseek_v4", "gemma4_text",
    "granitemoe", "inkling_text", "jamba", "lfm2_moe", "llama4_text", "longcat_flash",
    "minimax", "nemotron_h", "phimoe", "qwen3_next", "zaya",
)  # fmt: skip
"""Families that store or run their experts each in a way of its own."""


def task(model, experts=None, samples=None, settings=SETTINGS, **given):
    banks = find_experts(model)
    chosen = [banks[-1].experts[2], banks[0].experts[0], banks[-1].experts[3]]
    return ExpertTask(
        banks=banks,
        experts=chosen if experts is None else experts,
        samples=encoded(4) if samples is None else samples,
        settings=settings,
        seed=7,
        **given,
    )


def of_experts(banks, experts, name, tensor):
    """A mask of a parameter: 1 on the parts of some experts."""
    mask = torch.zeros_like(tensor)
    for bank in banks:
        for place in experts:
            if place.path != bank.place.path or not name.startswith(f"{place.path}."):
                continue
            if bank.tensors[0].layout == "fused":
                mask[place.expert] = 1
            elif bank.tensors[0].layout == "packed":
                mask.chunk(bank.place.num_experts)[place.expert].fill_(1)
            elif name.startswith(f"{place.path}.{bank.members[place.expert]}."):
                mask.fill_(1)
    return mask


def trained_plainly(model, the_task, chosen):
    """Plain training of what `chosen` says, sample by sample."""
    settings = the_task.settings
    adam = PlainAdamW(settings.learning_rate, settings.weight_decay, settings.max_norm)
    per_step = settings.batch_size * settings.grad_accum
    for step in steps_of(len(the_task.samples), per_step, settings.epochs, 7):
        gradients = plain_gradients(model, [the_task.samples[i] for i in step])
        adam.step(model, gradients, chosen)
    return model


def assert_close(left, right, atol=2e-6):
    states = left.state_dict(), right.state_dict()
    for name, tensor in states[0].items():
        difference = (tensor - states[1][name]).abs().max().item()
        assert difference <= atol, (name, difference)


@pytest.mark.parametrize("family", ["olmoe", "gpt_oss", "deepseek_v3", "dbrx"])
def test_chosen_experts_learn_as_in_plain_training_and_nothing_else_moves(family):
    require_plain_training(family, SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("family", OTHERS)
def test_experts_of_other_families_learn_as_in_plain_training(family):
    require_plain_training(family, ExpertTuningSettings(learning_rate=1e-3))


def require_plain_training(family, settings):
    model = tiny_moe(family)
    before = copy.deepcopy(model)
    the_task = task(model, settings=settings)
    log = tune_experts(model, the_task).log

    chosen = partial(of_experts, the_task.banks, the_task.experts)
    num_chosen = num_moved = 0
    for name, tensor in model.state_dict().items():
        old, mask = before.state_dict()[name], chosen(name, tensor).bool()
        assert torch.equal(tensor[~mask], old[~mask]), name
        num_chosen += mask.sum().item()
        num_moved += (tensor != old).sum().item()
    assert 0 < num_moved <= num_chosen == log.num_weights  # no token, no step

    assert_close(model, trained_plainly(before, the_task, chosen))
    assert [step.step for step in log.steps] == list(range(1, len(log.steps) + 1))
    assert log.experts == tuple(the_task.experts)


def test_all_experts_are_all_experts():
    model = tiny_moe("olmoe")
    banks = find_experts(model)
    everyone = [expert for bank in banks for expert in bank.experts]
    the_task = task(model, everyone)
    expected = trained_plainly(
        copy.deepcopy(model), the_task, lambda name, g: g * 0 + (".experts." in name)
    )
    log = tune_experts(model, the_task).log
    assert_close(model, expected)
    assert log.num_weights == sum(bank.num_weights * 6 for bank in banks)


def test_the_whole_model_learns_as_in_plain_training():
    model = tiny_moe("qwen3_moe")
    the_task = task(model)
    expected = trained_plainly(
        copy.deepcopy(model), the_task, lambda _, g: torch.ones_like(g)
    )
    steps = tune_whole(model, the_task.samples, SETTINGS, 7)
    assert_close(model, expected)
    assert len(steps) == 4
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("family", ["olmoe", "gpt_oss"])
def test_whole_gradients_give_what_rows_give(family, monkeypatch):
    by_rows, by_parameters = tiny_moe(family), tiny_moe(family)
    tune_experts(by_rows, task(by_rows))
    monkeypatch.setattr(expert_gradients, "runs_on_rows", lambda *_: False)
    tune_experts(by_parameters, task(by_parameters))
    assert_close(by_rows, by_parameters, atol=1e-6)


def test_smaller_batches_that_share_a_step_change_nothing():
    models = [tiny_moe("olmoe") for _ in range(3)]
    for model, (size, accum) in zip(models, [(4, 1), (1, 4), (2, 2)], strict=True):
        settings = ExpertTuningSettings(
            learning_rate=1e-3, batch_size=size, grad_accum=accum
        )
        tune_experts(model, task(model, settings=settings))
    assert_close(models[0], models[1], atol=1e-6)
    assert_close(models[0], models[2], atol=1e-6)


def test_the_first_loss_is_the_mean_over_counted_tokens():
    model = tiny_moe("olmoe")
    settings = ExpertTuningSettings(batch_size=3, grad_accum=2)
    log = tune_experts(copy.deepcopy(model), task(model, settings=settings)).log
    nats = []
    for sample in encoded(4):
        ids = torch.from_numpy(sample.token_ids).long()
        logs = model(input_ids=ids[None]).logits[0].log_softmax(-1)
        nats += [-logs[t - 1, ids[t]].item() for t in np.flatnonzero(sample.counted)]
    assert log.steps[0].loss_nats == pytest.approx(np.mean(nats), rel=1e-5)
    assert log.steps[0].num_tokens == len(nats)


@pytest.mark.parametrize("backend", ["eager", "batched_mm", "grouped_mm"])
def test_the_model_is_given_back_as_it_was(backend):
    model = tiny_moe("olmoe")
    model.set_experts_implementation(backend)
    model.train()
    model.model.layers[0].eval()
    model.lm_head.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    needs = [parameter.requires_grad for parameter in model.parameters()]
    tune_experts(model, task(model))
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == needs
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.get_experts_implementation() == {"": backend}
    assert not any(
        parameter._post_accumulate_grad_hooks for parameter in model.parameters()
    )


def test_the_same_seed_gives_the_same_bytes():
    first, second, other = (tiny_moe("olmoe") for _ in range(3))
    tune_experts(first, task(first))
    torch.rand(3)
    tune_experts(second, task(second))
    the_task = task(other)
    tune_experts(other, ExpertTask(**{**_fields(the_task), "seed": 8}))
    one, two, three = (m.state_dict() for m in (first, second, other))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert not all(torch.equal(tensor, three[name]) for name, tensor in one.items())


def test_backward_ends_at_the_lowest_chosen_layer():
    model = tiny_moe("olmoe")
    seen = []
    model.model.layers[0].register_forward_hook(
        lambda *given: seen.append(given[-1].requires_grad)
    )
    tune_experts(model, task(model, list(find_experts(model)[1].experts[:2])))
    assert seen == [False] * len(seen)
    assert seen


def test_blocks_that_compute_again_give_the_same():
    plain, again = tiny_moe("olmoe"), tiny_moe("olmoe")
    state = [dict(vars(layer)) for layer in again.model.layers]
    calls = []
    again.model.layers[1].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    settings = ExpertTuningSettings(
        learning_rate=1e-3, batch_size=2, checkpoint_activations=True
    )
    tune_experts(again, task(again, settings=settings))
    settings = ExpertTuningSettings(learning_rate=1e-3, batch_size=2)
    tune_experts(plain, task(plain, settings=settings))
    assert_close(plain, again, atol=0)
    assert [dict(vars(layer)) for layer in again.model.layers] == state
    assert len(calls) == 2 * 2  # forward, and again in the backward


def test_steps_too_small_for_bfloat16_count_in_the_masters():
    model = tiny_moe("olmoe").to(torch.bfloat16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.1)  # weights near 0.02
    before = copy.deepcopy(model.state_dict())
    settings = ExpertTuningSettings(learning_rate=1e-6, batch_size=6, epochs=12)
    kept, moved = {}, []
    for _ in range(2):
        the_task = task(
            model, settings=settings, masters=masters_of(kept_masters(kept))
        )
        kept = tune_experts(model, the_task).masters
        leaves = expert_leaves(model, the_task.banks, the_task.experts)
        share = [
            (leaf.part_of(before[f"{slot.path}.{slot.tensor}"]) != leaf.values)
            .float()
            .mean()
            for slot, leaf in leaves.items()
        ]
        moved.append(torch.stack(share).mean().item())
    assert moved[1] > moved[0] > 0.03
    for slot, leaf in leaves.items():
        assert kept[leaf.name].dtype == torch.float32
        assert torch.equal(kept[leaf.name].bfloat16(), leaf.values)
        walked = (
            kept[leaf.name] - leaf.part_of(before[f"{slot.path}.{slot.tensor}"]).float()
        )
        # Adam's steps are of about the learning rate each.
        assert 5e-6 < walked.abs().mean() < 3e-5


def test_masters_of_other_weights_are_refused():
    model = tiny_moe("olmoe").to(torch.bfloat16)
    kept = tune_experts(model, task(model)).masters
    other = tiny_moe("olmoe", seed=1).to(torch.bfloat16)
    with pytest.raises(ModelError, match="not the one that the last round left"):
        tune_experts(other, task(other, masters=kept))


def test_what_cannot_be_tuned_is_refused():
    model = tiny_moe("olmoe")
    expert = find_experts(model)[0].experts[1]
    gone = ExpertPlace(path=expert.path, layer=0, expert=99)
    with pytest.raises(UsageError, match="no expert is chosen"):
        tune_experts(model, task(model, []))
    with pytest.raises(UsageError, match=r"#expert\.1 is chosen twice"):
        tune_experts(model, task(model, [expert, expert]))
    with pytest.raises(UsageError, match=r"#expert\.99: the model has no such expert"):
        tune_experts(model, task(model, [gone]))
    with pytest.raises(DataError, match="there is no sample"):
        tune_experts(model, task(model, samples=[]))
    silent = EncodedSample(
        sample_id="mute",
        token_ids=np.arange(3, 7, dtype="i4"),
        counted=np.zeros(4, bool),
        prompt_length=4,
    )
    with pytest.raises(DataError, match="sample 'mute': no token counts"):
        tune_experts(model, task(model, samples=[silent]))
    adapted = get_peft_model(tiny_moe("olmoe"), LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(ModelError, match="the model has an adapter: merge it into the"):
        tune_whole(adapted, encoded(), SETTINGS, 0)
    half = tiny_moe("olmoe").half()
    with pytest.raises(ModelError, match="float16, in which small steps are lost"):
        tune_experts(half, task(half))


def test_a_loss_that_is_no_number_is_refused_and_the_model_given_back():
    model = tiny_moe("olmoe")
    model.lm_head.weight.data[0, 0] = float("nan")
    with pytest.raises(ModelError, match=r"samples s\d.*: the loss is nan"):
        tune_experts(model, task(model))
    assert model.get_experts_implementation() == {"": "grouped_mm"}


def test_leaves_must_be_the_model_s_own_memory():
    model = tiny_moe("olmoe")
    the_task = task(model)
    leaves = list(expert_leaves(model, the_task.banks, the_task.experts).values())
    require_trainable(leaves)
    model.to(torch.float64)
    with pytest.raises(ModelError, match="moved or replaced after the leaves were"):
        require_trainable(leaves)


def test_settings_out_of_range_are_refused():
    with pytest.raises(UsageError, match=r"--expert-lr is 0: it must be above 0"):
        ExpertTuningSettings(learning_rate=0)
    with pytest.raises(UsageError, match=r"--grad-accum is 0: it must be at least 1"):
        ExpertTuningSettings(grad_accum=0)


def _fields(the_task):
    return {name: getattr(the_task, name) for name in the_task.__dataclass_fields__}
