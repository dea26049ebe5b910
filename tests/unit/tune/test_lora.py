import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel, Phi3Config, Phi3ForCausalLM

from driftmap.core.errors import DataError, ModelError, StoreError, UsageError
from driftmap.tune.settings import TuningSettings
from tiny import tiny_llama
from tiny_tuning import (
    TINY_RUN,
    Watched,
    encoded,
    fused_sites,
    llama_sites,
    tiny_samples,
)


def test_adapters_and_drift_come_at_their_steps(tmp_path):
    run = Watched(tmp_path)
    losses = run.run()
    assert run.checkpoints == [0, 3, 6, 8]
    assert list(run.factors) == [0, 2, 3, 4, 6, 8]
    assert [point.step for point in losses] == list(range(1, 9))
    assert losses[0].learning_rate == 1e-2
    assert losses[-1].learning_rate == pytest.approx(1e-2 / 8)


@pytest.mark.parametrize("end", [2, 0])
def test_loss_is_that_of_counted_tokens_with_eos_and_without_padding(tmp_path, end):
    # One step over all samples: its loss is that of the untouched model, since B = 0.
    # The end token 0 is also what padding holds.
    model, samples = tiny_llama(), tiny_samples(5, end=end)
    settings = TuningSettings(batch_size=2, grad_accum=3, lora_dropout=0.0)
    losses = Watched(tmp_path).run(model=model, samples=samples, settings=settings)
    nll, count = 0.0, 0
    for sample in samples:
        ids = torch.tensor(sample.token_ids.astype(np.int64))[None]
        log_p = model(ids).logits.double().log_softmax(-1)[0]
        for t in np.flatnonzero(sample.counted):
            nll -= log_p[t - 1, ids[0, t]].item()
            count += 1
    assert sample.token_ids[-1] == end
    assert sample.counted[-1]
    assert len(losses) == 1
    assert losses[0].loss_nats == pytest.approx(nll / count, rel=1e-5)


def test_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path):
    first, again, other = (Watched(tmp_path / name) for name in "abc")
    first.run()
    torch.manual_seed(99)
    torch.rand(7)
    again.run()
    other.run(seed=1)
    for step in first.checkpoints:
        assert first.adapter_bytes(step) == again.adapter_bytes(step)
        assert first.adapter_bytes(step) != other.adapter_bytes(step)
    config = "step_8/adapter_config.json"
    assert (tmp_path / "a" / config).read_bytes() == (
        tmp_path / "b" / config
    ).read_bytes()


@pytest.mark.parametrize("die_at", [2, 3, 4, 6, 8])
def test_resumed_run_gives_the_bytes_of_an_undisturbed_one(tmp_path, die_at):
    # Steps 1-4 are the first epoch, 5-8 the second.
    whole = Watched(tmp_path / "whole")
    losses = whole.run()
    run = Watched(tmp_path / "killed", die_at=die_at)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    run.die_at = None
    assert run.run() == losses
    assert sorted(set(run.checkpoints)) == whole.checkpoints
    for step in whole.checkpoints:
        assert run.adapter_bytes(step) == whole.adapter_bytes(step)
    for step, factors in whole.factors.items():
        for site, expected in factors.items():
            assert torch.equal(run.factors[step][site].up, expected.up)
            assert torch.equal(run.factors[step][site].down, expected.down)


def test_finished_run_is_not_run_again(tmp_path):
    run = Watched(tmp_path)
    losses = run.run()
    run.checkpoints.clear()
    assert run.run() == losses
    assert run.checkpoints == []


def test_factors_are_those_of_the_saved_adapter(tmp_path):
    run = Watched(tmp_path)
    run.run()
    saved = load_file(tmp_path / "step_6" / "adapter_model.safetensors")
    for site, factors in run.factors[6].items():
        start = f"base_model.model.{site.path}"
        assert saved[f"{start}.lora_A.weight"].dtype == torch.float32
        assert torch.equal(factors.down, saved[f"{start}.lora_A.weight"].double())
        assert torch.equal(factors.up, saved[f"{start}.lora_B.weight"].double())
        assert factors.scale == 2.0


def test_model_and_random_generators_are_given_back_as_they_were(tmp_path):
    model = tiny_llama().train()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    modules, needed = [*model.modules()], [p.requires_grad for p in model.parameters()]
    config, noise = model.config.to_dict(), torch.get_rng_state()
    Watched(tmp_path).run(model=model)
    assert [*model.modules()] == modules
    assert model.training
    assert [p.requires_grad for p in model.parameters()] == needed
    assert "forward" not in model.__dict__
    assert not hasattr(model, "peft_config")
    assert model.config.to_dict() == config
    assert torch.equal(torch.get_rng_state(), noise)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    Watched(tmp_path / "again").run(model=model, seed=1)


def test_what_a_follower_does_with_the_model_does_not_disturb_the_run(tmp_path):
    class Busy(Watched):
        def _checkpoint(self, step, live):
            assert not live.model.training
            live.model.train()
            live.model(torch.tensor([[3, 4, 5]]))
            torch.manual_seed(step)
            super()._checkpoint(step, live)

    quiet, busy = Watched(tmp_path / "quiet"), Busy(tmp_path / "busy")
    quiet.run()
    busy.run()
    assert quiet.adapter_bytes(8) == busy.adapter_bytes(8)


def test_bfloat16_model_gets_a_float32_adapter(tmp_path):
    run = Watched(tmp_path)
    run.run(model=tiny_llama().to(torch.bfloat16))
    saved = load_file(tmp_path / "step_8" / "adapter_model.safetensors")
    assert {t.dtype for t in saved.values()} == {torch.float32}
    assert all(f.up.abs().max() > 0 for f in run.factors[8].values())


def test_transposed_fused_maps_of_gpt2(tmp_path, recwarn):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=40, n_positions=32, n_embd=8, n_layer=1, n_head=2)
    config.bos_token_id, config.eos_token_id = 1, 2
    model = GPT2LMHeadModel(config).eval()
    path = "transformer.h.0.attn.c_attn"
    sites = fused_sites(path, "qkv", 8, 8, transposed=True)
    run = Watched(tmp_path)
    run.run(model=model, sites=sites)
    saved = load_file(tmp_path / "step_8" / "adapter_model.safetensors")
    up = saved[f"base_model.model.{path}.lora_B.weight"].double()
    assert len(saved) == 2
    assert up.shape == (24, 8)
    for number, site in enumerate(sites):
        rows = slice(8 * number, 8 * number + 8)
        assert torch.equal(run.factors[8][site].up, up[rows])
    assert not recwarn.list


def test_fused_qkv_of_phi3_is_adapted_once_and_cut(tmp_path):
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
    sites = fused_sites("model.layers.0.self_attn.qkv_proj", "qkv", 16, 16)
    run = Watched(tmp_path)
    run.run(model=Phi3ForCausalLM(config).eval(), sites=sites)
    downs = [run.factors[8][site].down for site in sites]
    assert torch.equal(downs[0], downs[2])
    assert not torch.equal(run.factors[8][sites[0]].up, run.factors[8][sites[2]].up)


def test_only_the_named_parts_move(tmp_path):
    run = Watched(tmp_path)
    run.run(settings=TuningSettings(lora_parts=("q", "o"), max_steps=1))
    assert {site.part for site in run.factors[1]} == {"q", "o"}


def test_piece_of_a_fused_map_is_refused(tmp_path):
    sites = fused_sites("model.layers.0.self_attn.qkv_proj", "qkv", 16, 16)
    with pytest.raises(UsageError, match="add k to --lora-parts"):
        Watched(tmp_path).run(sites=sites, settings=TuningSettings(lora_parts=("q",)))


def test_part_that_the_model_lacks_is_refused(tmp_path):
    sites = fused_sites("model.layers.0.self_attn.qkv_proj", "qkv", 16, 16)
    settings = TuningSettings(lora_parts=("up",))
    with pytest.raises(UsageError, match="names up, but the maps of this model are k"):
        Watched(tmp_path).run(sites=sites, settings=settings)


def test_no_sample_is_refused(tmp_path):
    with pytest.raises(DataError, match="no sample to tune on"):
        Watched(tmp_path).run(samples=[])


def test_sample_without_counted_tokens_is_named(tmp_path):
    samples = [*tiny_samples(2), encoded("empty", [5, 6], 2)]
    with pytest.raises(DataError, match="sample 'empty': no token counts"):
        Watched(tmp_path).run(samples=samples)


def test_loss_that_is_no_number_names_the_step_and_frees_the_model(tmp_path):
    model = tiny_llama()
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    with pytest.raises(
        ModelError, match=r"step 1: the training loss is nan; lower --l"
    ):
        Watched(tmp_path).run(model=model)
    assert not hasattr(model, "peft_config")


def test_float16_is_refused(tmp_path):
    with pytest.raises(ModelError, match="--dtype float32 or --dtype bfloat16"):
        Watched(tmp_path).run(model=tiny_llama().half())


def test_state_of_another_run_is_refused(tmp_path):
    Watched(tmp_path).run()
    with pytest.raises(StoreError, match="other settings, seed or samples"):
        Watched(tmp_path).run(seed=5)


def test_corrupted_state_is_named(tmp_path):
    Watched(tmp_path).run()
    path = tmp_path / "work" / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"state\.safetensors: not a whole state"):
        Watched(tmp_path).run()


def test_full_disk_leaves_the_last_whole_state(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    killed = Watched(tmp_path, die_at=4)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    state = tmp_path / "work" / "state.safetensors"
    before = state.read_bytes()
    monkeypatch.setattr("driftmap.tune.state.os.fsync", full)
    with pytest.raises(StoreError, match=r"No space left on device.*repeat the comma"):
        Watched(tmp_path).run()
    assert state.read_bytes() == before
    assert [*state.parent.glob("*.partial")] == []


def test_no_pickle_and_no_stray_file_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    killed = Watched(tmp_path, die_at=4)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    killed.die_at = None
    killed.run()
    written = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    adapter = ("adapter_config.json", "adapter_model.safetensors", "README.md")
    assert written == {
        "work/state.safetensors",
        "work/trainer/trainer_state.json",
        *(f"step_{step}/{name}" for step in (0, 3, 6, 8) for name in adapter),
    }


def test_nothing_is_printed(tmp_path, capfd):
    Watched(tmp_path).run()
    assert capfd.readouterr() == ("", "")


def test_llama_sites_cover_the_blocks():
    assert len(llama_sites(tiny_llama())) == 14
    assert TINY_RUN.max_steps == -1
