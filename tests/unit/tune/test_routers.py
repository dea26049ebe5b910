"""Do routers learn what the formula says, and nothing else of the model?"""

import copy
from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.core.errors import DataError, ModelError, UsageError
from driftmap.families.experts import find_experts
from driftmap.results.samples import EncodedSample
from driftmap.tune.expert_settings import RouterSettings
from driftmap.tune.passes import steps_of
from driftmap.tune.router_reading import divergence, log_routing
from driftmap.tune.routers import (
    RouterTask,
    align_routers,
    routing_divergence,
    routing_reference,
)
from expert_samples import PlainAdamW, encoded
from tiny_experts import VOCAB, tiny_moe

KINDS = ("forward", "reverse", "symmetric")
SETTINGS = RouterSettings(
    learning_rate=1e-2, batch_size=2, epochs=2, weight_decay=0.1, max_norm=0.05
)


def pairs(num=4):
    """Prompts of different length, each pair with the same response."""
    rng = np.random.default_rng(5)
    safe, unsafe = [], []
    for number in range(num):
        answer = rng.integers(3, VOCAB, int(rng.integers(2, 5)))
        for side, low in ((safe, 3), (unsafe, 6)):
            prompt = rng.integers(3, VOCAB, int(rng.integers(low, low + 4)))
            side.append(
                EncodedSample(
                    sample_id=f"s{number}",
                    token_ids=np.concatenate([prompt, answer]).astype("i4"),
                    counted=np.arange(len(prompt) + len(answer)) >= len(prompt),
                    prompt_length=len(prompt),
                )
            )
    return safe, unsafe


def task(model, settings=SETTINGS):
    safe, unsafe = pairs()
    banks = find_experts(model)
    return RouterTask(banks=banks, safe=safe, unsafe=unsafe, settings=settings)


def score(model):
    return "sigmoid" if model.config.model_type == "deepseek_v3" else "softmax"


@torch.no_grad()
def read_plainly(model, bank, sample, positions="response"):
    """Inputs and logits of one router at the compared tokens of one sample."""
    seen = []
    router = model.get_submodule(bank.router.path)
    handle = router.register_forward_hook(lambda _, args, out: seen.append((args, out)))
    model(input_ids=torch.from_numpy(sample.token_ids).long()[None])
    handle.remove()
    (args, out), length = seen[0], sample.prompt_length
    logits = out if isinstance(out, torch.Tensor) else out[bank.router.logits_output]
    inputs = args[0].reshape(len(sample.token_ids), -1)
    logits = logits.reshape(len(sample.token_ids), -1)
    if positions == "prompt_mean":
        return inputs[:length], logits[:length].mean(0, keepdim=True)
    where = slice(length - 1, -1 if positions == "response" else length)
    return inputs[where], logits[where]


def probabilities(logits, score):
    values = logits.softmax(-1) if score == "softmax" else logits.sigmoid()
    return values / values.sum(-1, keepdim=True)


@torch.no_grad()
def test_divergence_by_hand():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
    forward = 0.5 * log(0.5 / 0.9) + 0.5 * log(0.5 / 0.1)
    reverse = 0.9 * log(0.9 / 0.5) + 0.1 * log(0.1 / 0.5)
    found = [divergence(p.log(), q.log(), kind).item() for kind in KINDS]
    assert found == pytest.approx([forward, reverse, (forward + reverse) / 2])


@settings(max_examples=40)
@given(st.integers(0, 99), st.sampled_from(KINDS), st.floats(-20, 20))
def test_divergence_is_zero_on_itself_never_negative_and_free_of_shifts(
    seed, kind, shift
):
    torch.manual_seed(seed)
    p, q = torch.randn(2, 3, 5, dtype=torch.float64) * 3
    logs = [log_routing(z, "softmax") for z in (p, q, q + shift)]
    assert divergence(logs[0], logs[0], kind).abs().max() == 0
    assert (divergence(logs[0], logs[1], kind) >= 0).all()
    torch.testing.assert_close(
        divergence(logs[0], logs[1], kind), divergence(logs[0], logs[2], kind)
    )


def test_every_score_becomes_a_distribution():
    torch.manual_seed(0)
    z = torch.randn(4, 6) * 5
    expected = {
        "softmax": z.softmax(-1),
        "sigmoid": z.sigmoid() / z.sigmoid().sum(-1, keepdim=True),
        "sqrt_softplus": torch.nn.functional.softplus(z).sqrt(),
    }
    for score, values in expected.items():
        shares = values / values.sum(-1, keepdim=True)
        torch.testing.assert_close(log_routing(z, score).exp(), shares)
    given_as_shares = log_routing(z.softmax(-1), "identity").exp()
    torch.testing.assert_close(given_as_shares, z.softmax(-1))
    torch.testing.assert_close(log_routing(z, "identity").exp(), z.softmax(-1))


@pytest.mark.parametrize("positions", ["response", "last_prompt", "prompt_mean"])
def test_the_reference_is_that_of_single_samples_without_padding(positions):
    model = tiny_moe("olmoe")
    the_task = task(model, RouterSettings(batch_size=3, positions=positions))
    reference = routing_reference(model, the_task)
    for bank in the_task.banks:
        rows = [
            read_plainly(model, bank, sample, positions)[1].softmax(-1)
            for sample in the_task.safe
        ]
        found = np.exp(reference.log_probabilities[bank.place.path])
        np.testing.assert_allclose(found, torch.cat(rows).numpy(), rtol=2e-5)
        assert np.diff(reference.start).tolist() == [len(row) for row in rows]


@pytest.mark.parametrize("family", ["olmoe", "gpt_oss", "deepseek_v3"])
def test_routers_learn_by_the_closed_form_and_nothing_else_moves(family):
    model = tiny_moe(family)
    the_task = task(model)
    before = copy.deepcopy(model)
    reference = routing_reference(model, the_task)
    kept = {path: rows.copy() for path, rows in reference.log_probabilities.items()}
    assert set(reference.scores.values()) == {score(model)}
    log_ = align_routers(model, the_task, reference, 3).log

    names = {name for bank in the_task.banks for name in bank.router.parameters}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before.state_dict()[name]) == (name not in names)
    for path, rows in kept.items():
        np.testing.assert_array_equal(rows, reference.log_probabilities[path])

    adam = PlainAdamW(SETTINGS.learning_rate, SETTINGS.weight_decay, SETTINGS.max_norm)
    expected = copy.deepcopy(before)
    nats = []
    for step in steps_of(len(the_task.unsafe), 2, 2, seed=3):
        gradients, total = closed_form(expected, before, the_task, step)
        everywhere = {
            name: gradients.get(name, torch.zeros_like(p))
            for name, p in expected.named_parameters()
        }
        adam.step(
            expected,
            everywhere,
            lambda name, g: torch.ones_like(g) * (name in names),
        )
        nats.append(total)
    for name in names:
        difference = model.state_dict()[name] - expected.state_dict()[name]
        assert difference.abs().max() < 2e-5, name
    assert [step.divergence_nats for step in log_.steps] == pytest.approx(nats, 1e-4)


@torch.no_grad()
def closed_form(model, before, the_task, step):
    """dKL(P||Q)/dz, which is Q - P for a softmax, times what entered."""
    gradients, total = {}, 0.0
    for bank in the_task.banks:
        apart, inputs = [], []
        for index in step:
            _, z = read_plainly(before, bank, the_task.safe[index])
            p = probabilities(z, score(model))
            x, z = read_plainly(model, bank, the_task.unsafe[index])
            q = probabilities(z, score(model))
            total_here = (p * (p / q).log()).sum(-1)
            slope = (
                (q - p) if score(model) == "softmax" else (q - p) * (1 - z.sigmoid())
            )
            apart.append(slope)
            inputs.append(x)
            total += total_here.sum().item() / _num_rows(the_task, step)
        slope = torch.cat(apart) / (_num_rows(the_task, step) * len(the_task.banks))
        weight = slope.T @ torch.cat(inputs)
        for name in bank.router.parameters:
            gradients[name] = slope.sum(0) if "bias" in name else weight
    return gradients, total / len(the_task.banks)


def _num_rows(the_task, step):
    return sum(int(the_task.unsafe[index].counted.sum()) for index in step)


def all_logits(model, sample):
    ids = torch.from_numpy(sample.token_ids).long()[None]
    found = model(input_ids=ids, output_router_logits=True).router_logits
    return [logits[sample.prompt_length - 1 : -1] for logits in found]


def test_the_full_gradient_is_that_of_the_whole_model():
    model = tiny_moe("olmoe")
    settings = RouterSettings(
        learning_rate=1e-2, batch_size=4, loss="full", divergence="symmetric"
    )
    the_task = task(model, settings)
    reference = routing_reference(model, the_task)
    expected = copy.deepcopy(model)
    align_routers(model, the_task, reference, 3)

    losses = []
    for layer in range(len(the_task.banks)):
        p, q = (
            torch.cat([all_logits(expected, s)[layer] for s in side]).softmax(-1)
            for side in (the_task.safe, the_task.unsafe)
        )
        p = p.detach()
        losses.append(((p - q) * (p / q).log()).sum(-1).mean() / 2)
    torch.stack(losses).mean().backward()
    gradients = {
        n: p.grad * 1 for n, p in expected.named_parameters() if p.grad is not None
    }
    names = {name for bank in the_task.banks for name in bank.router.parameters}
    adam = PlainAdamW(1e-2, 0.0, 1.0)
    everywhere = {
        n: gradients.get(n, torch.zeros_like(p)) for n, p in expected.named_parameters()
    }
    adam.step(
        expected, everywhere, lambda name, g: torch.ones_like(g) * (name in names)
    )
    for name in names:
        difference = model.state_dict()[name] - expected.state_dict()[name]
        assert difference.abs().max() < 2e-5, name


def test_local_and_full_agree_in_the_last_layer_alone():
    local, full = tiny_moe("olmoe"), tiny_moe("olmoe")
    for model, loss in ((local, "local"), (full, "full")):
        the_task = task(
            model, RouterSettings(learning_rate=1e-2, loss=loss, max_norm=99)
        )
        align_routers(model, the_task, routing_reference(model, the_task), 0)
    first, last = (bank.router.weight for bank in the_task.banks)
    apart = {
        n: (local.state_dict()[n] - full.state_dict()[n]).abs().max()
        for n in (first, last)
    }
    assert apart[last] < 1e-5 < apart[first]


def test_alignment_brings_unsafe_routing_near_and_says_what_it_does_to_safe_prompts():
    model = tiny_moe("olmoe")
    the_task = task(model, RouterSettings(learning_rate=2e-2, epochs=6))
    reference = routing_reference(model, the_task)
    at_rest = routing_divergence(model, the_task, reference, the_task.safe)
    before = routing_divergence(model, the_task, reference, the_task.unsafe)
    assert max(at_rest.values()) < 1e-6
    first = align_routers(model, the_task, reference, 0).log.steps[0]
    after = routing_divergence(model, the_task, reference, the_task.unsafe)
    drifted = routing_divergence(model, the_task, reference, the_task.safe)
    assert all(after[path] < 0.7 * nats for path, nats in before.items())
    assert all(nats > 0 for nats in drifted.values())
    assert first.divergence_nats == pytest.approx(np.mean(list(before.values())), 1e-4)


def test_bfloat16_routers_move_in_their_masters():
    model = tiny_moe("olmoe").bfloat16()
    model.set_experts_implementation("eager")  # the widths are too odd for another
    the_task = task(model, RouterSettings(learning_rate=1e-6, epochs=3))
    reference = routing_reference(model, the_task)
    before = copy.deepcopy(model.state_dict())
    kept = align_routers(model, the_task, reference, 0).masters
    assert set(kept) == {bank.router.weight for bank in the_task.banks}
    for name, master in kept.items():
        walked = (master - before[name].float()).abs()
        assert 5e-7 < walked.mean() < 4e-6
        assert torch.equal(master.bfloat16(), model.state_dict()[name])
    kept = align_routers(model, the_task, reference, 1, kept).masters
    assert (kept[name] - before[name].float()).abs().mean() > walked.mean()


def test_the_model_is_given_back_as_it_was():
    model = tiny_moe("olmoe").train()
    needs = [parameter.requires_grad for parameter in model.parameters()]
    the_task = task(model)
    reference = routing_reference(model, the_task)
    align_routers(model, the_task, reference, 0)
    assert all(module.training for module in model.modules())
    assert [parameter.requires_grad for parameter in model.parameters()] == needs
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_what_makes_no_pairs_is_refused():
    model = tiny_moe("olmoe")
    the_task = task(model)
    fields = {name: getattr(the_task, name) for name in the_task.__dataclass_fields__}
    with pytest.raises(DataError, match="4 unsafe and 3 safe samples make no pairs"):
        RouterTask(**{**fields, "safe": the_task.safe[:3]})
    reference = routing_reference(model, the_task)
    other = RouterTask(**{**fields, "unsafe": encoded(4, counted=6)})
    with pytest.raises(DataError, match=r"compared at 6 tokens, and that of its safe"):
        align_routers(model, other, reference, 0)
    model.model.embed_tokens.weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="the divergence of their routing is nan"):
        align_routers(model, the_task, reference, 0)
    with pytest.raises(UsageError, match=r"--router-lr is 0\.0: it must be above 0"):
        RouterSettings(learning_rate=0.0)


def test_a_score_that_is_given_is_taken():
    model = tiny_moe("phimoe")  # its routers follow no law that is known
    the_task = task(model)
    path = the_task.banks[0].place.path
    fields = {name: getattr(the_task, name) for name in the_task.__dataclass_fields__}
    other = RouterTask(**{**fields, "scores": {path: "sigmoid"}})
    assert routing_reference(model, the_task).scores[path] == "softmax"
    reference = routing_reference(model, other)
    assert reference.scores[path] == "sigmoid"
    _, z = read_plainly(model, the_task.banks[0], the_task.safe[0])
    found = np.exp(reference.log_probabilities[path][: len(z)])
    np.testing.assert_allclose(found, probabilities(z, "sigmoid").numpy(), rtol=2e-5)
