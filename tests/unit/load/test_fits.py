import pytest
import torch

from driftmap.core.errors import ModelError
from driftmap.load import fits
from driftmap.load.fits import loaded_bytes
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from tiny_studies import save_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("fits") / "model")


def test_bytes_of_a_folder_are_those_of_the_model(folder):
    model = load_model(ModelSource(model=str(folder), device="cpu")).model
    there = sum(p.numel() * p.element_size() for p in model.parameters())
    assert loaded_bytes(folder, torch.float32) == there
    assert loaded_bytes(folder, torch.bfloat16) == there / 2


def test_a_model_that_is_too_large_is_refused_before_it_is_read(folder, monkeypatch):
    need = loaded_bytes(folder, torch.float32)
    monkeypatch.setattr(fits, "free_swap", lambda: 0)
    monkeypatch.setattr(fits, "free_memory", lambda: need - 1)
    monkeypatch.setattr("driftmap.load.model._load_base", None)
    with pytest.raises(ModelError, match=r"its weights need .* in float32 and") as e:
        load_model(ModelSource(model=str(folder), device="cpu"))
    assert "--dtype bfloat16" in str(e.value)
    assert e.value.topic == "memory"


def test_half_of_it_fits_in_half_the_memory_and_swap_counts(folder, monkeypatch):
    need = loaded_bytes(folder, torch.bfloat16)
    monkeypatch.setattr(fits, "free_memory", lambda: need - 10)
    monkeypatch.setattr(fits, "free_swap", lambda: 10)
    load_model(ModelSource(model=str(folder), device="cpu", dtype="bfloat16"))
    monkeypatch.setattr(fits, "free_swap", lambda: 9)
    with pytest.raises(ModelError, match="choose a smaller model") as e:
        load_model(ModelSource(model=str(folder), device="cpu", dtype="bfloat16"))
    assert "--dtype" not in str(e.value)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()]
)
def test_memory_that_runs_out_while_loading_is_one_sentence(folder, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(
        "driftmap.load.model.AutoModelForCausalLM.from_pretrained", fail
    )
    with pytest.raises(ModelError, match="it does not fit into memory; use --dtype"):
        load_model(ModelSource(model=str(folder), device="cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_that_is_full_refuses_a_model(folder, monkeypatch):
    monkeypatch.setattr(fits, "_free_on", lambda device: 10)
    with pytest.raises(ModelError, match="10 B of GPU memory are free"):
        load_model(ModelSource(model=str(folder), device="cuda"))
