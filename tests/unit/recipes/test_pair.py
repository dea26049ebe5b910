"""A tuned model stands beside its base and leaves it as it was, bit for bit."""

import pytest
import torch
from peft import PeftModel

from driftmap.core.errors import ModelError
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.steps.comparing.pair import load_beside
from tiny import tiny_llama
from trained_elsewhere import LEARNT, train


@pytest.fixture(scope="module")
def base(model):
    return load_model(ModelSource(model=str(model), device="cpu"))


def test_an_adapter_stands_beside_its_base(base, model, tmp_path):
    wrapped = train(model, tmp_path, save_at=(0, 2)).eval()
    before = base.model(LEARNT).logits
    weights = {n: w.clone() for n, w in base.model.state_dict().items()}
    beside = load_beside(base, tmp_path / "checkpoint-2")
    with torch.no_grad():
        said = beside.model(input_ids=LEARNT).logits
        torch.testing.assert_close(said, wrapped(input_ids=LEARNT).logits)
    assert torch.equal(base.model(LEARNT).logits, before)
    assert not torch.equal(said, before)
    after = base.model.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], weights[name]) for name in weights)


def test_an_adapter_that_adds_nothing_gives_equal_logits(base, model, tmp_path):
    train(model, tmp_path, save_at=(0,))
    beside = load_beside(base, tmp_path / "checkpoint-0")
    said = beside.model(input_ids=LEARNT).logits
    assert torch.equal(said, base.model(LEARNT).logits)
    assert beside.identity.sha256 != base.identity.sha256


def test_what_is_spread_over_devices_stays_spread(base, model, tmp_path, monkeypatch):
    train(model, tmp_path, save_at=(0,))
    monkeypatch.setattr(base.model, "hf_device_map", {"": 0}, raising=False)
    monkeypatch.setattr(PeftModel, "to", lambda *given: pytest.fail("it was moved"))
    load_beside(base, tmp_path / "checkpoint-0")


def test_a_whole_model_is_known_by_its_weights(base, model, tmp_path):
    other = load_model(ModelSource(model=str(model), device="cpu"))
    with torch.no_grad():
        next(other.model.parameters()).mul_(2)
    other.model.save_pretrained(tmp_path / "doubled")
    beside = load_beside(base, tmp_path / "doubled")
    said = beside.model(LEARNT).logits
    assert torch.equal(said, other.model(LEARNT).logits)
    assert beside.identity.sha256 != base.identity.sha256


def test_an_adapter_of_another_shape_is_refused(base, tmp_path):
    tiny_llama(hidden=32).save_pretrained(tmp_path / "wide")
    train(tmp_path / "wide", tmp_path / "run", save_at=(0,))
    with pytest.raises(ModelError, match="made for"):
        load_beside(base, tmp_path / "run" / "checkpoint-0")
