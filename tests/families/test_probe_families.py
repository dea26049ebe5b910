"""Is every proved family read right? The probe, and each architecture's own view."""

import pytest
import torch
from torch import nn

from driftmap.core.places import Site, canonical_order
from driftmap.families.dense import FAMILIES
from driftmap.families.discover import find_layout
from driftmap.families.matrices import set_site_weight, site_module, site_weight
from driftmap.families.modules import base_module
from driftmap.families.probe import probe
from laws.restores import assert_restores_model
from tiny_families import FAMILY_NAMES, ROW_NAMES, tiny_family, tiny_tokens

EVERY_NAME = FAMILY_NAMES + ROW_NAMES
BY_HEAD = ["gpt_neox", "bloom", "falcon_by_head", "persimmon", "gpt_bigcode_by_head"]
ONE_KEY_HEAD = ["falcon", "gpt_bigcode"]
GATED = {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "olmo"} | {
    "olmo2", "stablelm", "cohere", "granite", "glm", "glm4",
}  # fmt: skip


def part_of(layout, part, layer=0) -> Site:
    return next(s for s in layout.sites if (s.layer, s.part) == (layer, part))


@pytest.mark.parametrize("name", EVERY_NAME)
def test_probe_proves_the_layout_and_leaves_no_trace(name):
    model = tiny_family(name)
    with assert_restores_model(model):
        probe(model, find_layout(model), tiny_tokens())


@pytest.mark.parametrize("name", EVERY_NAME)
def test_every_block_has_its_parts_in_canonical_order(name):
    layout = find_layout(tiny_family(name))
    parts = "q k v o gate up down" if name in GATED else "q k v o up down"
    assert [s.part for s in layout.sites] == 2 * parts.split()
    assert list(layout.sites) == sorted(layout.sites, key=canonical_order)
    assert len({site.key for site in layout.sites}) == len(layout.sites)
    assert len(layout.blocks) == 2
    assert layout.uncovered == ()


@pytest.mark.parametrize("name", EVERY_NAME)
def test_sites_cover_every_matrix_of_the_blocks(name):
    model = tiny_family(name)
    layout = find_layout(model)
    in_blocks = sum(
        parameter.numel()
        for block in layout.blocks
        for parameter in model.get_submodule(block).parameters()
        if parameter.ndim >= 2
    )
    assert sum(site.num_weights for site in layout.sites) == in_blocks


@pytest.mark.parametrize("name", EVERY_NAME)
def test_embedding_head_and_norms_are_the_models_own(name):
    model = tiny_family(name)
    layout = find_layout(model)
    assert model.get_submodule(layout.embedding) is model.get_input_embeddings()
    assert layout.head is not None
    head = model.get_submodule(layout.head)
    assert head is model.get_output_embeddings()
    assert layout.tied is (head.weight is model.get_input_embeddings().weight)
    # Every parameter with one axis that is no bias belongs to a named norm.
    scales = {
        path.removesuffix(".weight")
        for path, parameter in model.named_parameters()
        if parameter.ndim == 1 and path.endswith(".weight")
    }
    assert scales <= set(layout.norms)


@pytest.mark.parametrize("name", EVERY_NAME)
def test_a_head_without_values_is_a_head_without_output_columns(name):
    """v rows, their grouping over query heads, and o columns mean the same head."""
    model = tiny_family(name)
    layout = find_layout(model)
    without_bias(model, part_of(layout, "v"))
    v, o = (site_weight(model, part_of(layout, part)).clone() for part in "vo")
    size = part_of(layout, "v").head_size
    assert size == part_of(layout, "o").head_size
    num_kv_heads = v.shape[0] // size
    group = o.shape[1] // v.shape[0]
    before = logits(model)
    for head in range(num_kv_heads):
        no_values, no_columns = v.clone(), o.clone()
        no_values[head * size : (head + 1) * size] = 0
        no_columns[:, head * group * size : (head + 1) * group * size] = 0
        set_site_weight(model, part_of(layout, "v"), no_values)
        one = logits(model)
        set_site_weight(model, part_of(layout, "v"), v)
        set_site_weight(model, part_of(layout, "o"), no_columns)
        other = logits(model)
        set_site_weight(model, part_of(layout, "o"), o)
        assert not torch.allclose(one, before, atol=1e-3)
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", EVERY_NAME)
def test_queries_serve_one_token_keys_and_values_all_that_follow(name):
    """What tells q, k and v apart in any architecture is which tokens they reach."""
    model = tiny_family(name)
    layout = find_layout(model)
    q, k, v = (part_of(layout, part) for part in "qkv")
    assert reached_tokens(model, layout, q, 2) == {2}
    assert reached_tokens(model, layout, k, 2) == {2, 3, 4, 5, 6}
    assert reached_tokens(model, layout, v, 2) == {2, 3, 4, 5, 6}
    # The first token has one key to choose from, so only values matter to it.
    assert reached_tokens(model, layout, q, 0) == set()
    assert reached_tokens(model, layout, k, 0) == {1, 2, 3, 4, 5, 6}
    assert reached_tokens(model, layout, v, 0) == {0, 1, 2, 3, 4, 5, 6}


# olmo2 norms the queries of all heads together, so there each head moves every other.
@pytest.mark.parametrize("name", [name for name in EVERY_NAME if name != "olmo2"])
def test_a_query_or_key_head_changes_its_own_output_columns_alone(name):
    """q rows and o columns of one head are one head; k rows reach a whole group."""
    model = tiny_family(name)
    layout = find_layout(model)
    q, k = part_of(layout, "q"), part_of(layout, "k")
    assert changed_heads(model, layout, q, 1) == {1}
    group = q.num_rows // k.num_rows
    last = k.num_rows // k.head_size - 1
    expected = set(range(last * group, (last + 1) * group))
    assert changed_heads(model, layout, k, last) == expected


@pytest.mark.parametrize("name", BY_HEAD + ONE_KEY_HEAD + ["falcon_grouped"])
def test_fused_rows_are_what_the_architecture_views_as_heads(name):
    """The golden rows: four query heads of four, counted by hand."""
    layout = find_layout(tiny_family(name))
    rows = {part: part_of(layout, part).split.rows() for part in "qkv"}
    if name in BY_HEAD:
        blocks = range(0, 48, 12)
        q = [b + r for b in blocks for r in range(4)]
        k = [b + r for b in blocks for r in range(4, 8)]
        v = [b + r for b in blocks for r in range(8, 12)]
    elif name in ONE_KEY_HEAD:
        q, k, v = list(range(16)), list(range(16, 20)), list(range(20, 24))
    else:
        q = [*range(8), *range(16, 24)]
        k = [*range(8, 12), *range(24, 28)]
        v = [*range(12, 16), *range(28, 32)]
    assert rows == {"q": q, "k": k, "v": v}


@pytest.mark.parametrize(
    "name", ["bloom", "falcon", "falcon_grouped", "falcon_by_head"]
)
def test_the_split_equals_the_modelling_codes_own_reshape(name):
    model = tiny_family(name)
    layout = find_layout(model)
    attention = model.get_submodule(layout.blocks[0]).self_attention
    num_rows = attention.query_key_value.out_features
    numbered = torch.arange(num_rows).view(1, 1, num_rows)
    if name == "bloom":
        views = [view.transpose(1, 2) for view in attention._reshape(numbered)]
    else:
        views = attention._split_heads(numbered)
    for part, view in zip("qkv", views, strict=True):
        seen = view.flatten().tolist()  # grouped heads are repeated there
        assert list(dict.fromkeys(seen)) == part_of(layout, part).split.rows()


@pytest.mark.parametrize("name", ["gpt_neox", "gpt2", "phi3"])
def test_queries_keys_and_values_are_those_the_attention_receives(name, monkeypatch):
    """At position 0, before which nothing turns, q k v are the maps' plain outputs."""
    model = tiny_family(name)
    layout = find_layout(model)
    seen = {}
    watch_attention(model, layout, seen, monkeypatch)
    inputs = {}
    module = site_module(model, part_of(layout, "q"))
    hook = module.register_forward_pre_hook(lambda _, args: inputs.update(x=args[0]))
    logits(model)
    hook.remove()
    for part in "qkv":
        site = part_of(layout, part)
        rows = site.split.rows()
        output = inputs["x"][:, 0] @ site_weight(model, site).T
        if module.bias is not None:
            output = output + module.bias[rows]
        received = seen[part][:, :, 0]
        torch.testing.assert_close(received.flatten(1), output)


@pytest.mark.parametrize("name", ["phi3", "glm", "glm4"])
def test_the_gate_is_the_half_that_is_squashed(name):
    """Scaling up by two doubles what goes into down; scaling the gate does not."""
    model = tiny_family(name)
    layout = find_layout(model)
    plain = down_input(model, layout)
    up, gate = part_of(layout, "up"), part_of(layout, "gate")
    kept = site_weight(model, up).clone()
    set_site_weight(model, up, 2 * kept)
    torch.testing.assert_close(down_input(model, layout), 2 * plain)
    set_site_weight(model, up, kept)
    set_site_weight(model, gate, 2 * site_weight(model, gate).clone())
    assert not torch.allclose(down_input(model, layout), 2 * plain, atol=1e-3)


def test_every_row_of_the_table_is_proved():
    proved = {find_layout(tiny_family(name)).family for name in EVERY_NAME}
    assert {family.name for family in FAMILIES} <= proved


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=tiny_tokens(), use_cache=False).logits


def without_bias(model, site) -> None:
    bias = base_module(site_module(model, site)).bias
    if bias is not None:
        rows = range(site.num_rows) if site.split is None else site.split.rows()
        with torch.no_grad():
            bias[list(rows)] = 0


def tapped_input(model, module: nn.Module) -> torch.Tensor:
    taken = []
    hook = module.register_forward_pre_hook(lambda _, args: taken.append(args[0]))
    logits(model)
    hook.remove()
    return taken[0]


def down_input(model, layout) -> torch.Tensor:
    return tapped_input(model, site_module(model, part_of(layout, "down")))


def changed_heads(model, layout, site, head) -> set[int]:
    """Heads whose input to `o` moves when one head of a site is scaled."""
    output = site_module(model, part_of(layout, "o"))
    size = part_of(layout, "o").head_size
    before = tapped_input(model, output)
    kept = site_weight(model, site).clone()
    other = kept.clone()
    rows = slice(head * size, (head + 1) * size)
    other[rows] = other[rows].flip(0) * 3
    set_site_weight(model, site, other)
    moved = (tapped_input(model, output) - before).abs().flatten(0, -2).amax(0)
    set_site_weight(model, site, kept)
    return {i for i, part in enumerate(moved.split(size)) if part.max() > 1e-6}


def reached_tokens(model, layout, site, token) -> set[int]:
    """Tokens whose input to `o` moves when a site's output at one token does."""
    output = site_module(model, part_of(layout, "o"))
    rows = list(range(site.num_rows) if site.split is None else site.split.rows())
    before = tapped_input(model, output)

    def reverse(_module, _args, values):
        values = values.clone()
        values[:, token, rows] = 3 * values[:, token, rows].flip(-1) + 1
        return values

    hook = site_module(model, site).register_forward_hook(reverse)
    moved = (tapped_input(model, output) - before).abs().amax((0, 2))
    hook.remove()
    return {i for i, change in enumerate(moved.tolist()) if change > 1e-5}


def watch_attention(model, layout, seen, monkeypatch) -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    attend = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def watching(module, q, k, v, *args, **kwargs):
        if not seen:
            seen.update(q=q, k=k, v=v)
        return attend(module, q, k, v, *args, **kwargs)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._local_mapping, "sdpa", watching)
    assert model.config._attn_implementation == "sdpa"
    assert layout.sites
