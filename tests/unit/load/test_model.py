import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from driftmap.core.errors import FamilyError, ModelError
from driftmap.core.lines import Lines
from driftmap.core.progress import Silence, listening
from driftmap.families.discover import find_layout
from driftmap.load.identity import weights_sha256
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from tiny import tiny_llama
from tokenizers_made import byte_level

DATA = (Path(__file__).parents[3] / "../shared/data").resolve()


@pytest.fixture
def folder(tmp_path):
    return saved(tmp_path / "tiny", tiny_llama(vocab=400))


def saved(folder, model):
    model.save_pretrained(folder)
    byte_level().save_pretrained(folder)
    return folder


def tuned(folder, base, base_name, **settings):
    settings = {"r": 2, "target_modules": ["q_proj"], **settings}
    torch.manual_seed(3)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    model.save_pretrained(folder)
    file = folder / "adapter_config.json"
    config = {**json.loads(file.read_text()), "base_model_name_or_path": base_name}
    file.write_text(json.dumps(config))
    return folder


def load(model, **settings):
    return load_model(ModelSource(model=str(model), device="cpu", **settings))


def refused(model, **settings):
    with pytest.raises(ModelError) as caught:
        load(model, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestLoaded:
    def test_ready_to_be_measured(self, folder):
        loaded = load(folder)
        assert not loaded.model.training
        assert not any(p.requires_grad for p in loaded.model.parameters())
        assert len(loaded.layout.sites) == 14
        assert loaded.context_length == 64
        assert loaded.device.type == "cpu"
        assert loaded.tokenizer.is_fast

    def test_identity(self, folder):
        identity = load(folder).identity
        assert identity.source == str(folder)
        assert identity.base_sha256 == weights_sha256(folder)
        assert identity.sha256 == load(folder).identity.sha256
        assert identity.family == "llama"
        assert (identity.dtype, identity.device) == ("float32", "cpu")
        assert identity.num_weights == 2 * (16 * 16 * 2 + 16 * 8 * 2 + 16 * 32 * 3)

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
    def test_the_type_is_what_was_asked(self, folder, dtype):
        loaded = load(folder, dtype=dtype)
        kinds = {p.dtype for p in loaded.model.parameters()}
        assert kinds == {getattr(torch, dtype)}
        assert loaded.identity.sha256 == load(folder).identity.sha256

    def test_what_the_config_computes_is_part_of_the_identity(self, folder):
        file = folder / "config.json"
        written = json.loads(file.read_text())
        before = load(folder).identity
        file.write_text(json.dumps({**written, "transformers_version": "0.1"}))
        assert load(folder).identity == before
        file.write_text(json.dumps({**written, "rms_norm_eps": 0.5}))
        after = load(folder).identity
        assert after.sha256 != before.sha256
        assert after.base_sha256 == before.base_sha256

    def test_what_no_site_covers_is_said_once(self, folder, monkeypatch):
        said = []
        names = tuple(f"model.layers.{n}.router.weight" for n in range(5))

        def partly(model):
            return replace(find_layout(model), uncovered=names)

        monkeypatch.setattr("driftmap.load.model.find_layout", partly)
        with listening(Lines(said.append)):
            load(folder)
        (line,) = [line for line in said if "router" in line]
        assert line.count("router") == 3
        assert "model.layers.2.router.weight and 2 more belong to no matrix" in line

    def test_spread_over_devices(self, folder):
        loaded = load_model(ModelSource(model=str(folder), device_map="auto"))
        assert loaded.identity.device == "auto"

    @pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real data is absent")
    def test_a_real_model(self):
        loaded = load(DATA / "model_stories260K_hf")
        assert loaded.identity.num_weights == 5 * (
            64 * 64 * 2 + 64 * 32 * 2 + 64 * 172 * 3
        )
        assert loaded.context_length == 512
        memory = weights_sha256(loaded.model)
        assert loaded.identity.base_sha256 == memory


class TestAdapter:
    def test_on_top(self, folder, tmp_path):
        adapter = tuned(tmp_path / "a", tiny_llama(vocab=400), str(folder))
        loaded = load(folder, adapter=str(adapter))
        assert isinstance(loaded.model, PeftModel)
        assert not loaded.model.training
        assert not any(p.requires_grad for p in loaded.model.parameters())
        assert loaded.context_length == 64
        ids = torch.tensor([[5, 6, 7]])
        expected = PeftModel.from_pretrained(tiny_llama(vocab=400), adapter)(ids)
        assert torch.equal(loaded.model(ids).logits, expected.logits)
        base = load(folder)
        assert not torch.equal(base.model(ids).logits, expected.logits)
        assert loaded.identity.base_sha256 == base.identity.base_sha256
        assert loaded.identity.sha256 != base.identity.sha256
        assert loaded.layout == base.layout

    def test_its_scale_is_part_of_the_identity(self, folder, tmp_path):
        one, two = (
            tuned(tmp_path / str(a), tiny_llama(vocab=400), str(folder), lora_alpha=a)
            for a in (8, 16)
        )
        assert weights_sha256(one) == weights_sha256(two)
        hashes = {load(folder, adapter=str(a)).identity.sha256 for a in (one, two)}
        assert len(hashes) == 2

    def test_another_width(self, folder, tmp_path):
        adapter = tuned(tmp_path / "a", tiny_llama(hidden=32), str(folder))
        error = refused(folder, adapter=str(adapter))
        assert "adapter was made for another model: its model.layers.0.self" in error
        assert "is 32 wide, this one's is [16, 16]" in error

    def test_more_layers(self, folder, tmp_path):
        adapter = tuned(tmp_path / "a", tiny_llama(layers=3), str(folder))
        error = refused(folder, adapter=str(adapter))
        assert "it tunes model.layers.2.self_attn.q_proj, which this one" in error

    def test_other_weights_under_another_name(self, folder, tmp_path):
        other = saved(tmp_path / "other", tiny_llama(vocab=400, seed=5))
        adapter = tuned(tmp_path / "a", tiny_llama(vocab=400), str(other))
        error = refused(folder, adapter=str(adapter))
        assert f"the adapter was made for {other}, not for {folder}; give that" in error

    def test_the_same_weights_under_another_name(self, folder, tmp_path):
        copy = saved(tmp_path / "copy", tiny_llama(vocab=400))
        adapter = tuned(tmp_path / "a", tiny_llama(vocab=400), str(copy))
        assert load(folder, adapter=str(adapter)).layout.family == "llama"

    def test_a_name_that_cannot_be_checked_is_said(self, folder, tmp_path):
        class Said(Silence):
            lines = ()

            def said(self, message):
                self.lines = (*self.lines, message)

        adapter = tuned(tmp_path / "a", tiny_llama(vocab=400), "/gone/base")
        said = Said()
        with listening(said):
            load(folder, adapter=str(adapter))
        assert f"made for /gone/base; taken to be the same as {folder}" in said.lines[0]

    def test_two_hub_names_differ(self, folder, tmp_path, monkeypatch):
        from driftmap.load import model as model_file

        adapter = tuned(tmp_path / "a", tiny_llama(vocab=400), "some/base")
        found = model_file.find_folder
        monkeypatch.setattr(
            model_file,
            "find_folder",
            lambda name, **more: folder if name == "some/chat" else found(name, **more),
        )
        error = refused("some/chat", adapter=str(adapter))
        assert "the adapter was made for some/base, not for some/chat" in error

    def test_a_missing_tensor(self, folder, tmp_path):
        adapter = tuned(tmp_path / "a", tiny_llama(vocab=400), str(folder))
        file = adapter / "adapter_model.safetensors"
        tensors = load_file(file)
        tensors.pop(min(tensors))
        save_file(tensors, file)
        error = refused(folder, adapter=str(adapter))
        assert "the adapter cannot be put on" in error
        assert "missing adapter keys" in error

    def test_a_folder_without_one(self, folder, tmp_path):
        error = refused(folder, adapter=str(tmp_path))
        assert "there is no adapter (adapter_config.json is missing)" in error

    def test_one_given_as_a_model(self, folder, tmp_path):
        adapter = tuned(tmp_path / "a", tiny_llama(vocab=400), str(folder))
        error = refused(adapter)
        assert f"it is an adapter (made for {folder}), not a model; give it as" in error


class TestRefused:
    def test_a_missing_folder(self):
        error = refused("/nowhere/model")
        assert error == "/nowhere/model: there is no such folder; check the path"

    def test_a_file(self, folder):
        assert "it is a file; give the folder" in refused(folder / "config.json")

    def test_the_hub_out_of_reach(self):
        error = refused("nobody/nothing")
        assert error.startswith("nobody/nothing: there is no such folder, and the hub")

    def test_no_model(self, tmp_path):
        assert "it is no model (config.json is missing)" in refused(tmp_path)

    def test_an_unknown_kind(self, folder):
        (folder / "config.json").write_text('{"model_type": "abacus"}')
        error = refused(folder)
        assert "abacus" in error
        assert error.startswith(f"{folder}: ")

    def test_pickles(self, folder):
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        assert "are a pickle (pytorch_model.bin), which can run" in refused(folder)

    def test_a_missing_weight(self, folder):
        file = folder / "model.safetensors"
        tensors = load_file(file)
        tensors.pop("model.layers.1.mlp.up_proj.weight")
        save_file(tensors, file, {"format": "pt"})
        error = refused(folder)
        assert "1 weights are not in its files, such as model.layers.1.mlp.up" in error

    def test_another_shape(self, folder):
        file = folder / "model.safetensors"
        tensors = load_file(file)
        tensors["model.norm.weight"] = torch.ones(3)
        save_file(tensors, file, {"format": "pt"})
        assert "it cannot be loaded as a causal language model (" in refused(folder)

    def test_a_cut_file(self, folder):
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-1])
        assert refused(folder).startswith(f"{file}: it is not a whole safetensors")

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_nan_and_infinity_are_named(self, folder, value):
        file = folder / "model.safetensors"
        tensors = load_file(file)
        tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = value
        save_file(tensors, file, {"format": "pt"})
        error = refused(folder)
        assert "model.layers.1.mlp.up_proj.weight holds NaN or infinity" in error

    def test_no_tokenizer(self, folder):
        (folder / "tokenizer.json").unlink()
        assert "it holds no tokenizer; copy tokenizer.json and" in refused(folder)

    def test_a_broken_tokenizer(self, folder):
        (folder / "tokenizer.json").write_text("{}")
        assert "its tokenizer cannot be read (" in refused(folder)

    @pytest.mark.parametrize("device", ["tpu", "cuda:", "cpu:1", "Cuda"])
    def test_an_unknown_device(self, folder, device):
        with pytest.raises(ModelError, match=f"device '{device}' is unknown; known"):
            load_model(ModelSource(model=str(folder), device=device))

    @pytest.mark.parametrize("device", ["cuda:99", "mps"])
    def test_a_device_that_is_not_there(self, folder, device):
        if device == "mps" and torch.backends.mps.is_available():
            pytest.skip("this machine has the device")
        with pytest.raises(ModelError, match=f"device {device} is not there"):
            load_model(ModelSource(model=str(folder), device=device))

    def test_two_ways_to_say_where(self, folder):
        error = refused(folder, device_map="auto")
        assert "--device cpu and --device-map auto both say where" in error

    def test_an_unknown_type(self, folder):
        source = ModelSource(model=str(folder))
        object.__setattr__(source, "dtype", "int8")
        with pytest.raises(ModelError, match="number type 'int8' is unknown; known"):
            load_model(source)

    def test_no_decoder(self, folder):
        from transformers import BertConfig, BertLMHeadModel

        config = BertConfig(
            vocab_size=400, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, is_decoder=True,
        )  # fmt: skip
        BertLMHeadModel(config).save_pretrained(folder)
        with pytest.raises(FamilyError):
            load(folder)


def test_a_source_needs_no_torch():
    import subprocess
    import sys

    code = "import sys, driftmap.load.source; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
