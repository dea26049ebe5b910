"""Does one pass show what one backward per sample would give, expert by expert?"""

from dataclasses import replace

import pytest
import torch
from transformers import OlmoeConfig, OlmoeForCausalLM

from driftmap.capture.expert_rows import show_experts
from driftmap.core.errors import MeasureError, ModelError
from driftmap.core.progress import Listener, listening
from driftmap.families.expert_forward import _Bank
from driftmap.families.experts import find_experts
from expert_oracles import assert_same_gradients, one_by_one_experts, shown_experts
from laws.restores import assert_restores_model
from tiny_batches import batched, tiny_samples
from tiny_experts import tiny_moe

SAMPLES = tiny_samples(7, 4, 9, 7, 5)
FAMILIES = [
    "olmoe", "mixtral", "gpt_oss", "aria_text", "nemotron_h", "deepseek_v3",
    "gemma4_text", "phimoe",
]  # fmt: skip


def sized_moe(num_experts=8, num_chosen=2):
    """Widths that the kernels of accelerators take in any dtype."""
    torch.manual_seed(0)
    config = OlmoeConfig(
        vocab_size=40,
        hidden_size=64,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_experts=num_experts,
        num_experts_per_tok=num_chosen,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return OlmoeForCausalLM(config).eval()


@pytest.fixture(scope="module")
def olmoe():
    return tiny_moe("olmoe")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_equals_one_backward_per_sample(name):
    model = tiny_moe(name)
    found = shown_experts(model, batched(SAMPLES, 3, side="left"))
    assert_same_gradients(found, one_by_one_experts(model, SAMPLES))


@pytest.mark.parametrize("name", FAMILIES[2:5])
def test_float64_differs_by_rounding_alone(name):
    model = tiny_moe(name).double()
    found = shown_experts(model, batched(SAMPLES, extra=3))
    # Norms, routers and the oracle's loss are float32 in any model.
    assert_same_gradients(found, one_by_one_experts(model, SAMPLES), 1e-6)


def test_a_norm_after_each_expert_is_gone_through():
    """muse_spark has one; torch's kernel, unlike the model's own loop, sees it here."""
    model = tiny_moe("olmoe")
    banks = find_experts(model)
    for layer in model.model.layers:
        layer.mlp.experts.has_post_expert_norm = True
        layer.mlp.experts.post_expert_norm = torch.nn.RMSNorm(16, eps=1e-6)
        torch.nn.init.uniform_(layer.mlp.experts.post_expert_norm.weight, 0.5, 2.0)
    found = shown_experts(model, batched(SAMPLES, 3), banks)
    plain = one_by_one_experts(tiny_moe("olmoe"), SAMPLES)
    wanted = one_by_one_experts(model, SAMPLES, "grouped_mm", banks)
    assert_same_gradients(found, wanted)
    with pytest.raises(AssertionError):
        assert_same_gradients(found, plain)


def test_batches_padding_and_order_change_nothing(olmoe):
    wanted = shown_experts(olmoe, batched(SAMPLES, 1))
    for size in (2, 3, 5):
        assert_same_gradients(shown_experts(olmoe, batched(SAMPLES, size)), wanted)
    for side in ("left", "right"):
        padded = batched(SAMPLES, 5, side=side, extra=5)
        assert_same_gradients(shown_experts(olmoe, padded), wanted)
    turned = batched(SAMPLES[::-1], 2)
    assert_same_gradients(shown_experts(olmoe, turned), wanted)


def test_segments_are_of_one_sample_and_hold_no_padding(olmoe):
    signals = []
    (batch,) = batched(SAMPLES, extra=4)
    show_experts(olmoe, find_experts(olmoe), [batch], signals.append)
    banks = [signal.bank.layer for signal in signals]
    assert banks == [1, 1, 0, 0]
    assert [s.tensor for s in signals] == ["down_proj", "gate_up_proj"] * 2
    tokens = sum(len(sample.token_ids) for sample in SAMPLES)
    for signal in signals:
        assert signal.num_counted == (3, 3, 3, 3, 3)
        assert len(signal.token) == len(signal.inputs) == 2 * tokens
        assert signal.start.tolist() == sorted(set(signal.start.tolist()))
        assert signal.start[-1] == 2 * tokens
        pairs = list(zip(signal.expert.tolist(), signal.sample.tolist(), strict=True))
        assert pairs == sorted(set(pairs))
        sizes = signal.start.diff()
        samples = signal.sample.repeat_interleave(sizes)
        assert bool(batch.real[samples, signal.token].all())
        rows = torch.bincount(samples).tolist()
        assert rows == [2 * len(sample.token_ids) for sample in SAMPLES]


def test_rows_are_what_the_tokens_are(olmoe):
    """Two equal tokens at the start of two samples enter the first bank alike."""
    samples = tiny_samples(6, 6)
    samples[1].token_ids[:3] = samples[0].token_ids[:3]
    signals = []
    show_experts(olmoe, find_experts(olmoe)[:1], batched(samples), signals.append)
    (signal,) = [s for s in signals if s.tensor == "gate_up_proj"]
    sample = signal.sample.repeat_interleave(signal.start.diff())
    first, second = (
        signal.inputs[(sample == row) & (signal.token < 3)] for row in (0, 1)
    )
    assert len(first) == 6
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("start", ["eager", "grouped_mm", "batched_mm", "sonicmoe"])
def test_nothing_is_left_on_the_model(start):
    model = tiny_moe("gpt_oss")
    model.set_experts_implementation(start)
    model.model.layers[0].train()
    model.lm_head.weight.requires_grad_(False)
    model.model.embed_tokens.weight.grad = torch.ones(40, 16)
    banks = find_experts(model)

    def fail(signal):
        raise RuntimeError(signal.tensor)

    with assert_restores_model(model):
        show_experts(model, banks, batched(SAMPLES, 2), lambda signal: None)
        with pytest.raises(RuntimeError, match="down_proj"):
            show_experts(model, banks, batched(SAMPLES, 2), fail)
    assert model.get_experts_implementation() == {"": start}


def test_the_model_runs_in_eval_mode():
    """mixtral's routers add noise to what they see while training."""
    model = tiny_moe("mixtral")
    wanted = shown_experts(model, batched(SAMPLES))
    noisy = [m for m in model.modules() if hasattr(m, "jitter_noise")]
    for module in noisy:
        module.jitter_noise = 0.5
    model.train()
    assert len(noisy) == 2
    assert_same_gradients(shown_experts(model, batched(SAMPLES)), wanted, 0.0)


def test_no_parameter_gets_a_gradient_and_nothing_runs_below_the_lowest_bank(
    olmoe, monkeypatch
):
    banks = find_experts(olmoe)
    needed, kept = [], []
    backward = _Bank.backward

    def watched(ctx, *gradients):
        needed.append(ctx.needs_input_grad)
        return backward(ctx, *gradients)

    monkeypatch.setattr(_Bank, "backward", staticmethod(watched))

    def take(signal):
        kept.append([name for name, p in olmoe.named_parameters() if p.requires_grad])

    show_experts(olmoe, banks, batched(SAMPLES), take)
    hidden = [asked[0] for asked in needed]
    weights = [asked[1] for asked in needed]
    assert (hidden, weights) == ([True, False], [True, False])
    assert kept == [[]] * 4
    needed.clear()
    show_experts(olmoe, banks[1:], batched(SAMPLES), take)
    assert [asked[0] for asked in needed] == [False]


def test_some_banks_alone_show_the_same(olmoe):
    every = shown_experts(olmoe, batched(SAMPLES))
    for bank in find_experts(olmoe):
        wanted = {k: v for k, v in every.items() if k[0] == bank.place.path}
        found = shown_experts(olmoe, batched(SAMPLES), (bank,))
        assert_same_gradients(found, wanted, 1e-6)


def test_the_model_s_own_loss_is_not_asked(olmoe):
    wanted = shown_experts(olmoe, batched(SAMPLES))
    olmoe.config.output_router_logits = True
    try:
        found = shown_experts(olmoe, batched(SAMPLES))
    finally:
        olmoe.config.output_router_logits = False
    assert_same_gradients(found, wanted, 0.0)


def test_bfloat16_is_near_float32(olmoe):
    narrow = tiny_moe("olmoe").bfloat16()
    wide = tiny_moe("olmoe").bfloat16().float()
    found, wanted = (
        sum(
            float(g.double().abs().sum()) for g in shown_experts(m, batched(s)).values()
        )
        for m, s in ((narrow, SAMPLES), (wide, SAMPLES))
    )
    assert found == pytest.approx(wanted, rel=0.05)


def test_one_sample_with_one_counted_token(olmoe):
    samples = tiny_samples(2, counted=1)
    found = shown_experts(olmoe, batched(samples, extra=2))
    assert_same_gradients(found, one_by_one_experts(olmoe, samples))


@pytest.mark.parametrize(("num_experts", "num_chosen"), [(1, 1), (3, 3)])
def test_one_expert_or_all_of_them(num_experts, num_chosen):
    model = sized_moe(num_experts, num_chosen)
    found = shown_experts(model, batched(SAMPLES, 3))
    assert_same_gradients(found, one_by_one_experts(model, SAMPLES))


def test_work_says_how_far_it_is(olmoe):
    heard = []

    class Heard(Listener):
        def started(self, what, total):
            heard.append((what, total))

        def advanced(self, steps, note):
            heard.append(steps)

        def finished(self):
            heard.append("finished")

        def said(self, message):
            heard.append(message)

    with listening(Heard()):
        show_experts(olmoe, find_experts(olmoe), batched(SAMPLES, 3), lambda s: None)
    assert heard == [("batches", 2), 1, 1, "finished"]


def test_a_weight_that_is_no_number_is_named_with_bank_and_sample():
    model = tiny_moe("olmoe")
    samples = tiny_samples(5, 6)
    with torch.no_grad():
        model.model.layers[1].mlp.experts.down_proj[:] = torch.nan
    said = r"^model\.layers\.1\.mlp\.experts: the output for sample s0 is not finite; "
    with assert_restores_model(model), pytest.raises(MeasureError, match=said):
        show_experts(model, find_experts(model), batched(samples), lambda s: None)


def test_a_gradient_that_is_no_number_is_named_with_bank_and_sample(olmoe):
    def poison(module, inputs, output):
        output.register_hook(lambda g: g.index_fill(0, torch.tensor([2]), torch.nan))

    said = r"^model\.layers\.0\.mlp\.experts: the gradient of sample s2 is not finite; "
    handle = olmoe.model.layers[0].register_forward_hook(poison)
    try:
        with pytest.raises(MeasureError, match=said):
            show_experts(olmoe, find_experts(olmoe), batched(SAMPLES), lambda s: None)
    finally:
        handle.remove()


@pytest.mark.parametrize("banks", [0, 2])
def test_nothing_to_do_is_refused(olmoe, banks):
    batches = [] if banks else batched(SAMPLES)
    with pytest.raises(MeasureError, match="there is nothing to do: give banks of"):
        show_experts(olmoe, find_experts(olmoe)[:banks], batches, lambda s: None)


def test_a_sample_without_a_loss_is_refused(olmoe):
    samples = tiny_samples(5, 1)
    with pytest.raises(MeasureError, match="sample s1: no token counts"):
        show_experts(olmoe, find_experts(olmoe), batched(samples), lambda s: None)


def test_a_bank_that_never_asks_how_to_run_is_found_out(olmoe, monkeypatch):
    """As `longcat_flash` would be, if its banks looked like those of others."""
    bank = olmoe.model.layers[0].mlp.experts
    kind = type(bank)
    monkeypatch.setattr(kind, "forward", kind.forward.__wrapped__)
    said = r"layers\.0\.mlp\.experts: the model never ran this bank in the way it was"
    with pytest.raises(MeasureError, match=said):
        show_experts(olmoe, find_experts(olmoe)[:1], batched(SAMPLES), lambda s: None)


def test_a_bank_that_runs_twice_is_refused(olmoe):
    layers = olmoe.model.layers
    kept = layers[1].mlp
    layers[1].mlp = layers[0].mlp
    try:
        said = r"layers\.0\.mlp\.experts: the model runs this bank more than once in a"
        with pytest.raises(MeasureError, match=said):
            show_experts(olmoe, find_experts(olmoe)[:1], batched(SAMPLES), lambda s: 0)
    finally:
        layers[1].mlp = kept


def test_experts_of_other_processes_are_refused():
    model = tiny_moe("olmoe")
    banks = find_experts(model)
    model.model.layers[1].mlp.experts._is_expert_parallel = True
    with pytest.raises(ModelError, match="its experts are spread over several"):
        show_experts(model, banks, batched(SAMPLES), lambda s: None)


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device; run pytest -m gpu"
)
@pytest.mark.parametrize("start", ["eager", "grouped_mm", "batched_mm", "sonicmoe"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_accelerator_shows_what_the_processor_shows(start, dtype):
    model = sized_moe().to(dtype)
    wanted = shown_experts(model.float(), batched(SAMPLES))
    model = model.to("cuda", dtype)
    model.set_experts_implementation(start)
    batches = [
        replace(
            batch,
            token_ids=batch.token_ids.cuda(),
            real=batch.real.cuda(),
            counted=batch.counted.cuda(),
            observed=batch.observed.cuda(),
        )
        for batch in batched(SAMPLES, 3, side="left", extra=2)
    ]
    with assert_restores_model(model):
        found = shown_experts(model, batches)
    assert model.get_experts_implementation() == {"": start}
    if dtype == torch.float32:
        cpu = {key: gradient.cpu() for key, gradient in found.items()}
        assert_same_gradients(cpu, wanted, 1e-3)
        return
    total, other = (
        sum(float(gradient.double().abs().sum()) for gradient in shown.values())
        for shown in (found, wanted)
    )
    assert total == pytest.approx(other, rel=0.1)
