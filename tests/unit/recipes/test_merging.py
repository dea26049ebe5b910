import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from driftmap.core.errors import ModelError
from driftmap.families.discover import find_layout
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.tuning import merging
from driftmap.recipes.steps.tuning.merging import merge_step
from driftmap.store.run_dir import RunDir
from laws.restores import assert_restores_model
from tiny_families import tiny_family, tiny_tokens
from tokenizers_made import CHATML, byte_level

NAMES = ("llama", "gpt2", "gpt_neox", "phi3", "qwen2", "gemma2", "falcon_by_head")
"""Plain, turned, fused by head, fused in blocks, with biases, tied, fused and tied."""


def adapter_at(folder, model, sites, *, seed=1):
    torch.manual_seed(seed)
    worn = get_peft_model(
        model,
        LoraConfig(
            r=2,
            task_type="CAUSAL_LM",
            target_modules=sorted({site.path for site in sites}),
            fan_in_fan_out=all(site.transposed for site in sites),
        ),
    )
    with torch.no_grad():
        for name, parameter in worn.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    worn.save_pretrained(folder, save_embedding_layers=False)


@pytest.fixture
def begin(tmp_path):
    """A study of a tiny family with one training run of two checkpoints."""
    runs = []

    def of(name, dtype="float32"):
        model = tiny_family(name)
        if name == "gemma2":
            model.lm_head.weight = model.model.embed_tokens.weight
        model.save_pretrained(tmp_path / "base")
        byte_level(template=CHATML).save_pretrained(tmp_path / "base")
        sites = find_layout(model).sites
        for step in (2, 10):
            adapter_at(
                tmp_path / f"a/checkpoints/seed-0/step-{step:06d}",
                tiny_family(name),
                sites,
                seed=step,
            )
        source = ModelSource(model=str(tmp_path / "base"), device="cpu", dtype=dtype)
        run = RunDir.open(tmp_path / "run", {"seed": 0}, "drift")
        runs.append(run)
        tuned = run.step(
            "tune-seed-0",
            {},
            lambda folder: shutil.copytree(tmp_path / "a", folder, dirs_exist_ok=True),
        )
        return Study(run=run, loaded=load_model(source), seed=0), tuned

    yield of
    for run in runs:
        run.close()


def logits(model):
    with torch.no_grad():
        return model.eval()(tiny_tokens()).logits


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_says_what_base_and_adapter_say(begin, name, tmp_path):
    study, tuned = begin(name)
    with assert_restores_model(study.loaded.model):
        merged = merge_step(study, tuned, 0)
    home = tmp_path / "run/merged/seed-0"
    again, told = AutoModelForCausalLM.from_pretrained(home, output_loading_info=True)
    assert not any(told.values()), told
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    before = logits(base)
    last = tmp_path / "a/checkpoints/seed-0/step-000010"
    worn = logits(PeftModel.from_pretrained(base, last))
    assert torch.allclose(logits(again), worn, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits(again), before, atol=1e-2)
    assert all(f.startswith("merged/seed-0/") for f in merged.files)


def test_it_is_a_model_of_its_own(begin, tmp_path):
    study, tuned = begin("gemma2", "bfloat16")
    merge_step(study, tuned, 0)
    home = tmp_path / "run/merged/seed-0"
    loaded = load_model(ModelSource(model=str(home), device="cpu", dtype="bfloat16"))
    assert loaded.layout.tied
    assert loaded.layout.sites == study.loaded.layout.sites
    assert json.loads((home / "config.json").read_text())["dtype"] == "bfloat16"
    tokenizer = AutoTokenizer.from_pretrained(home)
    said = [{"role": "user", "content": "why?"}]
    assert tokenizer.apply_chat_template(
        said, tokenize=False
    ) == study.loaded.tokenizer.apply_chat_template(said, tokenize=False)


def test_it_is_written_once_and_the_same_each_time(begin, tmp_path):
    study, tuned = begin("llama")
    first = merge_step(study, tuned, 0)
    assert not merge_step(study, tuned, 0).redone
    shutil.rmtree(tmp_path / "run/merged")
    second = merge_step(study, tuned, 0)
    assert second.redone
    assert first.files == second.files


def test_a_large_model_goes_into_several_files(begin, tmp_path, monkeypatch):
    study, tuned = begin("llama")
    whole = merge_step(study, tuned, 0)
    expected = logits(
        AutoModelForCausalLM.from_pretrained(whole.root / "merged/seed-0")
    )
    shutil.rmtree(tmp_path / "run/merged")
    monkeypatch.setattr(merging, "LARGEST_FILE", "10KB")
    parts = merge_step(study, tuned, 0)
    assert sum(name.endswith(".safetensors") for name in parts.files) > 2
    again = AutoModelForCausalLM.from_pretrained(parts.root / "merged/seed-0")
    assert torch.equal(logits(again), expected)


def test_settings_of_generation_that_contradict_each_other_are_kept(begin, tmp_path):
    study, tuned = begin("llama")
    odd = GenerationConfig(do_sample=False, max_new_tokens=3)
    odd.temperature = 0.7
    study.loaded.model.generation_config = odd
    before = study.loaded.model.config.to_dict()
    merge_step(study, tuned, 0)
    assert study.loaded.model.config.to_dict() == before
    assert study.loaded.model.generation_config is odd
    written = tmp_path / "run/merged/seed-0/generation_config.json"
    assert json.loads(written.read_text())["temperature"] == 0.7


def test_what_cannot_be_merged_leaves_nothing(begin, tmp_path):
    study, _ = begin("llama")
    last = tmp_path / "a/checkpoints/seed-0/step-000010/adapter_config.json"
    last.write_text(json.dumps({**json.loads(last.read_text()), "use_dora": True}))
    tuned = study.run.step(
        "tune-seed-0",
        {"other": True},
        lambda folder: shutil.copytree(tmp_path / "a", folder, dirs_exist_ok=True),
    )
    with pytest.raises(ModelError, match="has no lora_magnitude_vector"):
        merge_step(study, tuned, 0)
    assert not (tmp_path / "run/merged").exists()
