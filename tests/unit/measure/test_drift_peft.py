import numpy as np
import pytest
import torch

from driftmap.core.places import RowBlocks, Site
from driftmap.measure.drift import dense_change, matrix_moments, weight_change
from driftmap.signals.factors import cut_to_site
from laws.drift import every_index
from tiny import tiny_llama

pytestmark = [
    pytest.mark.slow,
    # peft still asks transformers by the old name
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),
]


def tiny_gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=40, n_positions=32, n_embd=8, n_layer=1, n_head=2,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def site(path, part, shape, split=None):
    return Site(
        path=path, layer=0, part=part, num_rows=shape[0], num_columns=shape[1],
        split=split,
    )  # fmt: skip


def gpt2_cut(number):
    return RowBlocks(start=8 * number, length=8, stride=8, count=1)


LLAMA = [
    site("model.layers.0.self_attn.q_proj", "q", (16, 16)),
    site("model.layers.1.mlp.down_proj", "down", (16, 32)),
]
GPT2 = [
    site("transformer.h.0.attn.c_attn", part, (8, 8), gpt2_cut(n))
    for n, part in enumerate("qkv")
] + [site("transformer.h.0.mlp.c_fc", "up", (32, 8))]


def stored_weight(model, where):
    module = model.get_submodule(where.path)
    weight = module.weight.detach().clone()
    if type(module).__name__ == "Conv1D":
        weight = weight.T
    return weight if where.split is None else weight[where.split.rows()]


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize(
    ("make", "sites"), [(tiny_llama, LLAMA), (tiny_gpt2, GPT2)], ids=["llama", "gpt2"]
)
def test_equals_what_peft_merges(make, sites, rslora):
    from peft import LoraConfig, get_peft_model

    model = make().double()
    before = {s: stored_weight(model, s) for s in sites}
    config = LoraConfig(
        r=4, lora_alpha=6, use_rslora=rslora,
        target_modules=sorted({s.path.rsplit(".", 1)[1] for s in sites}),
        rank_pattern={sites[0].path: 2},
        fan_in_fan_out=make is tiny_gpt2,
    )  # fmt: skip
    adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    factors = {}
    for where in sites:
        layer = adapted.base_model.model.get_submodule(where.path)
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        factors[where] = cut_to_site(down, up, layer.scaling["default"], where)
    merged = adapted.merge_and_unload()
    for where, lora in factors.items():
        moved = stored_weight(merged, where) - before[where]
        one_by_one = weight_change(lora, None, every_index(lora))
        largest = moved.abs().max().item()
        for got in (dense_change(lora), one_by_one.reshape(where.shape)):
            np.testing.assert_allclose(got, moved, rtol=1e-9, atol=1e-12 * largest)
        rows = matrix_moments(before[where], lora).rows
        np.testing.assert_allclose(rows.l2, moved.norm(dim=1), rtol=1e-9)
        cosine = torch.cosine_similarity(before[where], before[where] + moved)
        np.testing.assert_allclose(rows.cosine, cosine, rtol=1e-9)
