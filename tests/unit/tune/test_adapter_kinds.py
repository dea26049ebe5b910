"""Every kind of adapter: its arithmetic, its files, and going on after a kill."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from driftmap.core.errors import ModelError, UsageError
from driftmap.families.matrices import site_weight
from driftmap.families.quantised import four_bit
from driftmap.load.adapters import read_adapter
from driftmap.load.attach import attach_adapter
from driftmap.measure.drift import dense_change
from driftmap.tune.settings import TuningSettings
from four_bit import needs_bitsandbytes, wide_llama
from tiny import tiny_llama
from tiny_tuning import TINY_RUN, Watched, fused_sites, llama_sites

IDS = torch.tensor([[3, 4, 5, 6, 7]])
FOUR_STEPS = replace(TINY_RUN, max_steps=4, save_steps=4, drift_every=2)

KINDS = {
    "rslora": replace(FOUR_STEPS, rslora=True),
    "dora": replace(FOUR_STEPS, dora=True),
    "dora with all else": replace(
        FOUR_STEPS,
        dora=True,
        rslora=True,
        rank_pattern=("q_proj=2", r"layers\.1\..*=3"),
        alpha_pattern=("up_proj=5",),
        target_modules=("q_proj", r"layers\.1\.mlp\..*"),
    ),
    "qlora": replace(FOUR_STEPS, tune="qlora"),
    "qlora and dora": replace(FOUR_STEPS, tune="qlora", dora=True, rslora=True),
}
OF_KINDS = [
    pytest.param(kind, marks=[needs_bitsandbytes] if "qlora" in kind else [], id=kind)
    for kind in KINDS
]


class Asked(Watched):
    """A run that keeps what the live model says at each checkpoint."""

    def __init__(self, folder):
        super().__init__(folder)
        self.logits = {}

    def _checkpoint(self, step, live):
        super()._checkpoint(step, live)
        with torch.no_grad():
            self.logits[step] = live.model(IDS).logits.clone()


def llama_for(kind, dtype=torch.float32):
    model = wide_llama() if "qlora" in kind else tiny_llama()
    return model.to(dtype).requires_grad_(False)


def base_of(kind, model):
    return four_bit(model) if "qlora" in kind else nullcontext()


def naive_change(folder, site, weight, scale):
    """dW of a saved adapter by its paper's formula, in float64."""
    start = f"base_model.model.{site.path}.lora_"
    stored = load_file(folder / "adapter_model.safetensors")
    down, up = (stored[f"{start}{x}.weight"].double() for x in "AB")
    tuned = weight.double() + scale * (up @ down)
    magnitude = stored.get(f"{start}magnitude_vector")
    if magnitude is not None:
        tuned *= (magnitude.double() / tuned.norm(dim=1))[:, None]
    return tuned - weight.double()


def scale_of(settings, path):
    rank, alpha = settings.rank(path), settings.alpha(path)
    return alpha / rank**0.5 if settings.rslora else alpha / rank


@pytest.fixture(scope="module", params=OF_KINDS)
def finished(request, tmp_path_factory):
    """A kind, its model, its finished run and the losses of it."""
    kind = request.param
    model, run = llama_for(kind), Asked(tmp_path_factory.mktemp("run"))
    return kind, model, run, run.run(model=model, settings=KINDS[kind])


def test_a_saved_adapter_says_what_the_live_model_said(finished):
    kind, _, run, _ = finished
    assert not torch.equal(run.logits[0], run.logits[4])
    fresh = llama_for(kind)
    with base_of(kind, fresh):
        tuned = attach_adapter(
            fresh, run.folder / "step_4", base_name="", base_sha256=""
        )
        assert torch.equal(tuned(IDS).logits, run.logits[4])


def test_live_and_saved_changes_are_those_of_the_formula(finished):
    kind, model, run, _ = finished
    folder, settings = run.folder, KINDS[kind]
    sites = llama_sites(model)
    saved = read_adapter(folder / "step_4", sites, reference=folder / "step_0")
    assert set(saved.factors) == set(run.factors[4])
    with base_of(kind, model):
        for site, change in run.factors[4].items():
            weight = site_weight(model, site)
            expected = naive_change(
                folder / "step_4", site, weight, scale_of(settings, site.path)
            )
            assert expected.abs().max() > 1e-4
            found = dense_change(change, weight=weight)
            # PEFT takes the start of DoRA's lengths in float32.
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
            again = dense_change(saved.factors[site], weight=weight)
            assert torch.equal(found, again)
            still = dense_change(run.factors[0][site], weight=weight)
            assert not still.any()


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, finished):
    kind, _, whole, losses = finished
    run = Watched(tmp_path / "killed", die_at=2)
    with pytest.raises(KeyboardInterrupt):
        run.run(model=llama_for(kind), settings=KINDS[kind])
    run.die_at = None
    assert run.run(model=llama_for(kind), settings=KINDS[kind]) == losses
    assert run.adapter_bytes(4) == whole.adapter_bytes(4)
    for site, change in whole.factors[4].items():
        weight = torch.ones(site.shape)
        assert torch.equal(
            dense_change(run.factors[4][site], weight=weight),
            dense_change(change, weight=weight),
        )


@pytest.mark.parametrize("kind", OF_KINDS[-3:])
def test_adapters_are_float32_on_a_bfloat16_base(tmp_path, kind):
    run, model = Watched(tmp_path), llama_for(kind, torch.bfloat16)
    run.run(model=model, settings=KINDS[kind])
    stored = load_file(tmp_path / "step_4" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    for site, change in run.factors[4].items():
        assert dense_change(change, weight=site_weight(model, site)).any(), site.key


def test_every_module_has_the_rank_and_strength_of_its_first_pattern(tmp_path):
    run, settings = Watched(tmp_path), KINDS["dora with all else"]
    run.run(settings=settings)
    found = {
        site.path: (change.factors.down.shape[0], change.factors.scale)
        for site, change in run.factors[4].items()
    }
    layer = "model.layers.{}.{}".format
    assert found == {
        layer(0, "self_attn.q_proj"): (2, 16 / 2**0.5),
        layer(1, "self_attn.q_proj"): (2, 16 / 2**0.5),
        layer(1, "mlp.gate_proj"): (3, 16 / 3**0.5),
        layer(1, "mlp.up_proj"): (3, 5 / 3**0.5),
        layer(1, "mlp.down_proj"): (3, 16 / 3**0.5),
    }


@needs_bitsandbytes
def test_four_bit_training_learns_on_the_rounded_weights(tmp_path):
    model, settings = wide_llama(), replace(KINDS["qlora"], lora_dropout=0.0)
    plain, rounded = Watched(tmp_path / "plain"), Watched(tmp_path / "rounded")
    first = plain.run(model=model, settings=replace(settings, tune="lora"))[0]
    before = {name: p.clone() for name, p in model.state_dict().items()}
    second = rounded.run(model=model, settings=settings)[0]
    assert first.loss_nats != second.loss_nats
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    stand_in = wide_llama()
    with four_bit(stand_in), torch.no_grad():
        values = {s: site_weight(stand_in, s) for s in llama_sites(stand_in)}
    for site, value in values.items():
        stand_in.get_submodule(site.path).weight.data = value
    third = Watched(tmp_path / "stand-in").run(
        model=stand_in, settings=replace(settings, tune="lora")
    )[0]
    assert second.loss_nats == pytest.approx(third.loss_nats, rel=1e-5)


@needs_bitsandbytes
def test_four_bit_weights_are_tuned_as_such_or_not_at_all(tmp_path):
    model = wide_llama()
    with (
        four_bit(model),
        pytest.raises(ModelError, match="kept in 4 bits, and --tune is lora: use --tu"),
    ):
        Watched(tmp_path).run(model=model)


def test_dora_on_a_fused_map_cuts_its_lengths(tmp_path):
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = Phi3ForCausalLM(config).eval()
    sites = fused_sites("model.layers.0.self_attn.qkv_proj", "qkv", 16, 16)
    run = Watched(tmp_path)
    run.run(model=model, sites=sites, settings=replace(FOUR_STEPS, dora=True))
    stored = load_file(tmp_path / "step_4" / "adapter_model.safetensors")
    (lengths,) = [t for name, t in stored.items() if "magnitude" in name]
    cut = [run.factors[4][site].magnitude for site in sites]
    assert torch.equal(torch.cat(cut), lengths.double())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"target_modules": ("lm_head",)},
            "--target-modules lm_head: matches no map of the blocks; theirs end in "
            "down_proj gate_proj k_proj o_proj q_proj up_proj v_proj",
        ),
        (
            {"rank_pattern": ("w_proj=2",)},
            r"--rank-pattern w_proj=2: matches no tuned module; the first of them is "
            r"model\.layers\.0\.self_attn\.q_proj",
        ),
        (
            {"lora_parts": ("q",), "alpha_pattern": ("up_proj=2",)},
            "--alpha-pattern up_proj=2: matches no tuned module",
        ),
    ],
)
def test_patterns_that_name_nothing_are_refused(tmp_path, changes, text):
    with pytest.raises(UsageError, match=text):
        Watched(tmp_path).run(settings=TuningSettings(**changes))


def test_settings_of_adapters_belong_to_the_run(tmp_path):
    settings = KINDS["dora"]
    Watched(tmp_path).run(settings=settings)
    for changes in ({"rslora": True}, {"rank_pattern": ("q_proj=2",)}, {"dora": False}):
        with pytest.raises(Exception, match="other settings, seed or samples"):
            Watched(tmp_path).run(settings=replace(settings, **changes))
