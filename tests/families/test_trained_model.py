from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from driftmap.families.discover import find_layout
from driftmap.families.probe import probe
from laws.restores import assert_restores_model

FOLDER = (Path(__file__).parents[2] / "../shared/data/model_stories260K_hf").resolve()


@pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"put the trained stories260K model into {FOLDER}"
)
def test_the_probe_passes_on_a_trained_model():
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    layout = find_layout(model)
    with assert_restores_model(model):
        probe(model, layout, torch.tensor([[1, 403, 407, 261, 378, 300, 420]]))
    assert len(layout.sites) == 7 * model.config.num_hidden_layers
    assert layout.uncovered == ()
