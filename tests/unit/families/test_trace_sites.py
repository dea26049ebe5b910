"""Are the states that a trace puts back those that blocks add to the stream?"""

import pytest
import torch
from torch import nn

from driftmap.core.errors import FamilyError
from driftmap.families.trace_sites import find_trace_sites
from tiny import tiny_llama
from tiny_experts import tiny_moe
from tiny_families import FAMILY_NAMES, ROW_NAMES, tiny_family, tiny_tokens

SCALED = ("gemma2", "gemma3", "olmo2", "glm4", "granite")
"""Between module and stream stands a norm or a factor."""


def states(model, paths):
    """Inputs and outputs of modules in one pass."""
    found = {}

    def keep(path, args, named, output):
        given = args[0] if args else named["hidden_states"]
        left = output[0] if isinstance(output, tuple) else output
        found[path] = given.clone(), left.clone()  # some are added to in place

    hooks = [
        model.get_submodule(path).register_forward_hook(
            lambda _, args, named, output, path=path: keep(path, args, named, output),
            with_kwargs=True,
        )
        for path in paths
    ]
    with torch.no_grad():
        model(input_ids=tiny_tokens(), use_cache=False)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(
    "name", [one for one in FAMILY_NAMES + ROW_NAMES if one not in SCALED]
)
def test_what_both_give_is_what_the_block_adds(name):
    model = tiny_family(name)
    sites = find_trace_sites(model)
    block, attention, mlp = sites.blocks[1], sites.attention[1], sites.mlp[1]
    found = states(model, [block, attention, mlp])
    entered, left = found[block]
    added = sum(found[path][1].reshape(entered.shape) for path in (attention, mlp))
    torch.testing.assert_close(entered + added, left, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FAMILY_NAMES + ROW_NAMES)
def test_the_ends_of_a_model_are_its_own(name):
    model = tiny_family(name)
    sites = find_trace_sites(model)
    assert model.get_submodule(sites.embedding) is model.get_input_embeddings()
    assert model.get_submodule(sites.head) is model.get_output_embeddings()
    assert isinstance(model.get_submodule(sites.final_norm), nn.Module)
    last, norm = sites.blocks[-1], sites.final_norm
    found = states(model, [last, norm])
    torch.testing.assert_close(found[norm][0], found[last][1])


@pytest.mark.parametrize(
    ("family", "attention", "mlp"),
    [
        ("mixtral", ("self_attn", "self_attn"), ("mlp", "mlp")),
        ("jamba", ("mamba", "self_attn"), ("feed_forward", "feed_forward")),
        ("nemotron_h", ("mixer", None), (None, "mixer")),
        ("dbrx", ("norm_attn_norm.attn",) * 2, (None, None)),
        ("longcat_flash", (None,), (None,)),
    ],
)
def test_mixtures_name_what_single_modules_give(family, attention, mlp):
    sites = find_trace_sites(tiny_moe(family))
    for paths, expected in ((sites.attention, attention), (sites.mlp, mlp)):
        short = [
            path and path.removeprefix(f"{block}.")
            for path, block in zip(paths, sites.blocks, strict=True)
        ]
        assert tuple(short) == expected


def test_a_model_without_a_head_has_nothing_to_trace():
    with pytest.raises(FamilyError, match="has no map to the logits, so there is no"):
        find_trace_sites(tiny_llama().model)
