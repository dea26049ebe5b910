import subprocess
import sys

import pytest

from driftmap.core.errors import DataError
from driftmap.families.tensor_names import place_of_name

LLAMA = "model.layers.7."


@pytest.mark.parametrize(
    ("name", "part", "layer", "half"),
    [
        ("model.embed_tokens.weight", "embed", None, None),
        ("transformer.wpe.weight", "embed", None, None),
        ("model.decoder.embed_positions.weight", "embed", None, None),
        ("transformer.word_embeddings_layernorm.weight", "norm", None, None),
        ("model.norm.weight", "norm", None, None),
        ("transformer.ln_f.bias", "bias", None, None),
        ("lm_head.weight", "head", None, None),
        ("embed_out.weight", "head", None, None),
        (LLAMA + "self_attn.q_proj.weight", "q", 7, "attention"),
        (LLAMA + "self_attn.q_proj.bias", "bias", 7, "attention"),
        (LLAMA + "self_attn.q_norm.weight", "norm", 7, "attention"),
        (LLAMA + "self_attn.o_proj.weight", "o", 7, "attention"),
        (LLAMA + "mlp.gate_proj.weight", "gate", 7, "mlp"),
        (LLAMA + "mlp.down_proj.weight", "down", 7, "mlp"),
        (LLAMA + "mlp.gate.weight", "router", 7, "mlp"),
        (LLAMA + "block_sparse_moe.gate.weight", "router", 7, "mlp"),
        (LLAMA + "mlp.experts.gate_up_proj", "expert", 7, "mlp"),
        (LLAMA + "mlp.experts.3.up_proj.weight", "expert", 7, "mlp"),
        (LLAMA + "mlp.experts.down_proj_bias", "bias", 7, "mlp"),
        (LLAMA + "mlp.shared_expert.up_proj.weight", "up", 7, "mlp"),
        ("model.decoder.layers.1.fc1.weight", "up", 1, "mlp"),
        ("model.decoder.layers.1.fc2.bias", "bias", 1, "mlp"),
        ("transformer.h.0.attn.c_proj.weight", "o", 0, "attention"),
        ("transformer.h.0.mlp.c_proj.weight", "down", 0, "mlp"),
        ("transformer.h.0.attn.c_attn.weight#v", "v", 0, "attention"),
        ("transformer.h.0.attn.c_attn.weight", "block", 0, "attention"),
        ("model.layers.0.mlp.gate_up_proj.weight", "block", 0, "mlp"),
        (LLAMA + "post_attention_layernorm.weight", "norm", 7, None),
        ("transformer.h.0.ln_mlp.bias", "bias", 0, None),
        ("model.layers.0.self_attn.sinks", "block", 0, "attention"),
    ],
)
def test_a_name_tells_part_layer_and_half(name, part, layer, half):
    found = place_of_name(name)
    assert (found.part, found.layer, found.half) == (part, layer, half)
    assert found.name == name
    assert found.num_weights is None


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.layers.2.self_attn.v_proj.base_layer.weight",
        "base_model.model.model.layers.2.self_attn.v_proj.lora_A.default.weight",
    ],
)
def test_wrappers_of_adapters_change_nothing(name):
    found = place_of_name(name)
    assert (found.part, found.layer, found.half) == ("v", 2, "attention")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("loss", "loss: is no name of a decoder's parameter; names are like"),
        ("h.0.attn.c_attn.weight#x", "'x' is no part; parts are q, k, v"),
    ],
)
def test_other_names_are_refused(name, message):
    with pytest.raises(DataError, match=message):
        place_of_name(name)


def test_names_are_read_without_torch():
    code = (
        "import sys; from driftmap.families.tensor_names import place_of_name; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
