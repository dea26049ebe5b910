from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from driftmap.core.errors import ModelError
from driftmap.tune.settings import TuningSettings
from tiny import tiny_llama
from tiny_tuning import Watched, fused_sites, llama_sites, tiny_samples

FULL = TuningSettings(
    tune="full",
    batch_size=2,
    grad_accum=2,
    num_epochs=2,
    learning_rate=1e-2,
    weight_decay=0.1,
    save_steps=3,
    drift_every=2,
)
"""Eight steps on 13 samples; checkpoints at 0 3 6 8, drift also at 2 4."""


class Whole(Watched):
    """A full run, whose checkpoints are whole models."""

    def run(self, **given):
        return super().run(**({"settings": FULL} | given))

    def weights(self, step):
        return load_file(self.folder / f"step_{step}" / "model.safetensors")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = Whole(tmp_path_factory.mktemp("full"))
    run.losses = run.run()
    return run


def test_every_parameter_moves_and_is_saved_in_float32(finished):
    before = tiny_llama().state_dict()
    first, last = finished.weights(0), finished.weights(8)
    assert set(last) == set(before)
    assert {t.dtype for t in last.values()} == {torch.float32}
    assert all(torch.equal(first[name], before[name]) for name in before)
    assert not any(torch.equal(last[name], before[name]) for name in before)


def test_parameters_outside_of_the_named_modules_stay(tmp_path):
    run = Whole(tmp_path)
    settings = replace(FULL, max_steps=2)
    run.run(settings=settings, within=("model.layers.1",))
    before, last = tiny_llama().state_dict(), run.weights(2)
    inside = {name for name in before if name.startswith("model.layers.1.")}
    moved = {name for name in before if not torch.equal(last[name], before[name])}
    assert moved == inside
    assert len(inside) < len(before)


def test_drift_is_that_of_the_saved_weights_against_the_base(finished):
    base = tiny_llama().state_dict()
    for step in (3, 6, 8):
        saved = finished.weights(step)
        for site, change in finished.factors[step].items():
            name = f"{site.path}.weight"
            expected = saved[name].double() - base[name].double()
            assert torch.equal(change.values, expected)
    assert not any(change.values.any() for change in finished.factors[0].values())
    assert set(finished.factors[8]) == set(llama_sites(tiny_llama()))


@pytest.mark.parametrize("die_at", [2, 4, 6, 8])
def test_resumed_run_gives_the_bytes_of_an_undisturbed_one(tmp_path, finished, die_at):
    run = Whole(tmp_path, die_at=die_at)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    run.die_at = None
    assert run.run() == finished.losses
    for step in finished.checkpoints:
        name = f"step_{step}/model.safetensors"
        assert (tmp_path / name).read_bytes() == (finished.folder / name).read_bytes()
    for step, changes in finished.factors.items():
        for site, expected in changes.items():
            assert torch.equal(run.factors[step][site].values, expected.values)


def test_checkpoint_is_an_ordinary_model(finished):
    model = AutoModelForCausalLM.from_pretrained(finished.folder / "step_8")
    assert model.dtype == torch.float32
    weights = finished.weights(8)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_model_is_given_back_as_it_was(tmp_path, dtype):
    model = tiny_llama().to(dtype).train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    places = [p.data_ptr() for p in model.parameters()]
    config, noise = model.config.to_dict(), torch.get_rng_state()
    model.lm_head.weight.requires_grad_(False)
    needed = [p.requires_grad for p in model.parameters()]
    Whole(tmp_path).run(model=model)
    assert [p.data_ptr() for p in model.parameters()] == places
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == dtype
        assert torch.equal(tensor, before[name])
    assert [p.requires_grad for p in model.parameters()] == needed
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    assert model.config.to_dict() == config
    assert not {"forward", "model_tags", "_original_forward"} & set(model.__dict__)
    assert torch.equal(torch.get_rng_state(), noise)


def test_model_is_given_back_after_a_failure(tmp_path):
    model = tiny_llama().to(torch.bfloat16)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(KeyboardInterrupt):
        Whole(tmp_path, die_at=3).run(model=model)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, before[name])


def test_steps_below_half_a_spacing_of_bfloat16_count(tmp_path):
    # A step of 1e-5 is a hundredth of the spacing at a weight of .2.
    model = tiny_llama().to(torch.bfloat16)
    base = {name: t.clone() for name, t in model.state_dict().items()}
    settings = TuningSettings(tune="full", learning_rate=1e-5, max_steps=3)
    run = Whole(tmp_path)
    run.run(model=model, settings=settings)
    saved = run.weights(3)
    name = "model.layers.0.mlp.up_proj.weight"
    assert saved[name].dtype == torch.float32
    assert (saved[name] != base[name].float()).all()
    assert (saved[name].bfloat16() == base[name]).float().mean() > 0.9
    assert any(change.values.any() for change in run.factors[3].values())


def test_weights_before_tuning_are_in_place_while_drift_is_read(tmp_path):
    model = tiny_llama().to(torch.bfloat16)
    base = {name: t.clone() for name, t in model.state_dict().items()}

    class Reading(Whole):
        def _drift(self, step, changes):
            for _ in changes.values():  # also after a matrix was read
                for name, tensor in model.state_dict().items():
                    assert torch.equal(tensor, base[name])
            super()._drift(step, changes)

    Reading(tmp_path).run(model=model)


def test_tied_transposed_and_fused_weights(tmp_path):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=40, n_positions=32, n_embd=8, n_layer=1, n_head=2)
    config.bos_token_id, config.eos_token_id = 1, 2
    model = GPT2LMHeadModel(config).eval()
    path = "transformer.h.0.attn.c_attn"
    base = {name: t.clone() for name, t in model.state_dict().items()}
    sites = fused_sites(path, "qkv", 8, 8, transposed=True)
    run = Whole(tmp_path)
    run.run(model=model, sites=sites)
    saved = run.weights(8)
    change = (saved[f"{path}.weight"].double() - base[f"{path}.weight"].double()).T
    for number, site in enumerate(sites):
        rows = slice(8 * number, 8 * number + 8)
        assert torch.equal(run.factors[8][site].values, change[rows])
    assert "lm_head.weight" not in saved
    assert model.lm_head.weight is model.transformer.wte.weight


def test_weight_decay_alone_is_its_own_experiment(tmp_path):
    free, decayed = Whole(tmp_path / "free"), Whole(tmp_path / "decayed")
    settings = {"tune": "full", "learning_rate": 1e-2, "max_steps": 1}
    samples = tiny_samples(4)
    free.run(settings=TuningSettings(**settings), samples=samples)
    decayed.run(settings=TuningSettings(**settings, weight_decay=0.5), samples=samples)
    name = "model.layers.0.mlp.up_proj.weight"
    gap = free.weights(1)[name] - decayed.weights(1)[name]
    base = tiny_llama().state_dict()[name]
    assert torch.allclose(gap, base * 1e-2 * 0.5, atol=1e-7)


def test_model_with_an_adapter_is_refused(tmp_path):
    model = tiny_llama()
    model.peft_config = {}
    with pytest.raises(ModelError, match="already has an adapter: merge it"):
        Whole(tmp_path).run(model=model)


def test_weights_that_no_gradient_moves_are_refused(tmp_path):
    model = tiny_llama()
    up = model.model.layers[0].mlp.up_proj
    packed = torch.zeros(4, dtype=torch.uint8)
    up.weight = torch.nn.Parameter(packed, requires_grad=False)
    with pytest.raises(ModelError, match=r"up_proj.weight is kept as torch.uint8, whi"):
        Whole(tmp_path).run(model=model, sites=llama_sites(tiny_llama()))


def test_nothing_is_printed(tmp_path, capfd):
    Whole(tmp_path).run()
    assert capfd.readouterr() == ("", "")
