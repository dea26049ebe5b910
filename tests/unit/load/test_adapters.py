import json
import math

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from driftmap.core.errors import ModelError
from driftmap.core.places import RowBlocks, Site
from driftmap.families.discover import find_layout
from driftmap.families.matrices import effective_weight, site_weight
from driftmap.load.adapters import PREFIX, read_adapter
from driftmap.measure.drift import dense_change
from driftmap.signals.changes import DoraFactors
from tiny import tiny_llama


def tiny_gpt2():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    return GPT2LMHeadModel(config).eval()


def with_bias():
    model = tiny_llama()
    for block in model.model.layers:
        for projection in (block.self_attn.q_proj, block.mlp.down_proj):
            projection.bias = torch.nn.Parameter(torch.zeros(projection.out_features))
    return model


def adapted(folder, base, **settings):
    """A saved adapter with random factors, and the model that wears it."""
    settings = {"r": 3, "target_modules": ["q_proj", "down_proj"], **settings}
    torch.manual_seed(1)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or parameter.requires_grad:
                parameter.normal_()
    model.save_pretrained(folder)
    return model.eval()


def change_config(folder, **settings):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def change_tensors(folder, change):
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


PLAIN = {}
SCALED = {"use_rslora": True, "lora_alpha": 5}
PATTERNS = {
    "rank_pattern": {"down_proj": 2, r"layers\.0\.self_attn\.q_proj": 5},
    "alpha_pattern": {r"1\.self_attn\.q_proj": 7, "q_proj": 11},
}


@pytest.mark.parametrize("settings", [PLAIN, SCALED, PATTERNS])
def test_factors_give_what_peft_adds(tmp_path, settings):
    base = tiny_llama()
    layout = find_layout(base)
    model = adapted(tmp_path, base, **settings)
    adapter = read_adapter(tmp_path, layout.sites)
    assert {site.part for site in adapter.factors} == {"q", "down"}
    assert adapter.peft_type == "LORA"
    assert adapter.other_parts == ()
    for site in layout.sites:
        added = effective_weight(model, site) - site_weight(model, site).float()
        expected = torch.zeros(site.shape, dtype=torch.float64)
        if site in adapter.factors:
            factors = adapter.factors[site]
            expected = factors.scale * factors.up @ factors.down
        torch.testing.assert_close(added.double(), expected, atol=1e-5, rtol=1e-5)


def test_fused_and_transposed_maps_are_cut_to_their_sites(tmp_path):
    base = tiny_gpt2()
    layout = find_layout(base)
    targets = ["c_attn", "mlp.c_proj"]
    model = adapted(tmp_path, base, target_modules=targets, fan_in_fan_out=True)
    adapter = read_adapter(tmp_path, layout.sites)
    assert [site.part for site in adapter.factors] == ["q", "k", "v", "down"] * 2
    for site, factors in adapter.factors.items():
        added = effective_weight(model, site) - site_weight(model, site).float()
        expected = factors.scale * factors.up @ factors.down
        torch.testing.assert_close(added.double(), expected, atol=1e-5, rtol=1e-5)


def test_scale_by_hand(tmp_path):
    layout = find_layout(tiny_llama())
    adapted(tmp_path, tiny_llama(), lora_alpha=6)
    scales = {f.scale for f in read_adapter(tmp_path, layout.sites).factors.values()}
    assert scales == {2.0}
    change_config(tmp_path, use_rslora=True)
    scales = {f.scale for f in read_adapter(tmp_path, layout.sites).factors.values()}
    assert scales == {6 / math.sqrt(3)}


def test_sites_come_in_the_order_given(tmp_path):
    sites = find_layout(tiny_llama()).sites
    adapted(tmp_path, tiny_llama())
    backwards = read_adapter(tmp_path, sites[::-1])
    assert list(backwards.factors) == [s for s in sites[::-1] if s in backwards.factors]


# peft mistakes the bias of an adapter for a factor, and says that it saves embeddings.
@pytest.mark.filterwarnings("ignore:.*invalid shape", "ignore:.*save_embedding_layers")
@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"target_modules": ["q_proj", "lm_head"]}, "lm_head.lora_A.weight"),
        (
            {"target_modules": ["q_proj", "embed_tokens"]},
            "model.embed_tokens.lora_embedding_A",
        ),
        ({"lora_bias": True}, "model.layers.0.self_attn.q_proj.lora_B.bias"),
    ],
)
def test_other_parts_are_named(tmp_path, settings, part):
    sites = find_layout(tiny_llama()).sites
    adapted(tmp_path, with_bias(), **settings)
    adapter = read_adapter(tmp_path, sites)
    assert part in adapter.other_parts
    assert "q" in {site.part for site in adapter.factors}


def test_a_whole_module_outside_the_sites_is_an_other_part(tmp_path):
    sites = find_layout(tiny_llama()).sites
    adapted(tmp_path, tiny_llama(), modules_to_save=["lm_head"])
    assert read_adapter(tmp_path, sites).other_parts == ("lm_head.weight",)


@pytest.mark.parametrize(
    ("make", "settings"),
    [(tiny_llama, PLAIN), (tiny_llama, PATTERNS), (tiny_gpt2, SCALED)],
)
def test_dora_gives_what_peft_merges(tmp_path, make, settings):
    base = make().double()
    layout = find_layout(base)
    before = {site: site_weight(base, site).clone() for site in layout.sites}
    if make is tiny_gpt2:
        settings = {**settings, "target_modules": ["c_attn"], "fan_in_fan_out": True}
    model = adapted(tmp_path, base, use_dora=True, **settings)
    adapter = read_adapter(tmp_path, layout.sites)
    assert adapter.other_parts == ()
    merged = model.merge_and_unload()
    for site, change in adapter.factors.items():
        assert isinstance(change, DoraFactors)
        assert change.start is None
        moved = site_weight(merged, site).double() - before[site]
        got = dense_change(change, weight=before[site])
        torch.testing.assert_close(got, moved, rtol=1e-4, atol=1e-5)
    assert len(adapter.factors) == (4 if make is tiny_llama else 6)


def test_dora_is_counted_from_the_lengths_it_began_with(tmp_path):
    base = tiny_llama().bfloat16()
    sites = find_layout(base).sites
    config = LoraConfig(r=3, use_dora=True, target_modules=["q_proj"])
    get_peft_model(base, config).save_pretrained(tmp_path)
    alone = read_adapter(tmp_path, sites).factors
    begun = read_adapter(tmp_path, sites, reference=tmp_path).factors
    assert len(begun) == 2
    for site in begun:
        weight = tiny_llama().bfloat16().get_submodule(site.path).weight
        assert torch.equal(begun[site].start, alone[site].magnitude)
        assert dense_change(alone[site], weight=weight).abs().max() > 0
        assert not dense_change(begun[site], weight=weight).any()


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_whole_matrices_are_cut_to_their_sites(tmp_path, make):
    base, name = make(), "o_proj" if make is tiny_llama else "c_attn"
    sites = find_layout(base).sites
    targets = ["q_proj"] if make is tiny_llama else ["c_fc"]
    options = {"target_modules": targets, "fan_in_fan_out": make is tiny_gpt2}
    model = adapted(tmp_path, base, modules_to_save=[name], **options)
    adapter = read_adapter(tmp_path, sites)
    assert {site.path.rpartition(".")[2] for site in adapter.whole} == {name}
    assert not set(adapter.whole) & set(adapter.factors)
    assert all(part.endswith("c_attn.bias") for part in adapter.other_parts)
    for site, matrix in adapter.whole.items():
        stored = model.get_base_model().get_submodule(site.path)
        weight = stored.modules_to_save["default"].weight.detach()
        weight = weight.T if site.transposed else weight
        rows = slice(None) if site.split is None else site.split.rows()
        assert torch.equal(matrix, weight[rows])


class TestRefused:
    @pytest.fixture
    def sites(self):
        return find_layout(tiny_llama()).sites

    def refused(self, folder, sites, **options):
        with pytest.raises(ModelError) as caught:
            read_adapter(folder, sites, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_dora_without_its_lengths(self, tmp_path, sites):
        adapted(tmp_path, tiny_llama(), use_dora=True)
        change_config(tmp_path, use_dora=False)
        error = self.refused(tmp_path, sites)
        assert "has a lora_magnitude_vector, but `use_dora` is False in" in error
        adapted(tmp_path, tiny_llama())
        change_config(tmp_path, use_dora=True)
        error = self.refused(tmp_path, sites)
        assert "has no lora_magnitude_vector, but `use_dora` is True in" in error

    def test_dora_with_lengths_of_another_matrix(self, tmp_path, sites):
        adapted(tmp_path, tiny_llama(), use_dora=True)
        key = f"{PREFIX}{sites[0].path}.lora_magnitude_vector"
        change_tensors(tmp_path, lambda t: t.update({key: torch.ones(3)}))
        error = self.refused(tmp_path, sites)
        assert (
            f"the lora_magnitude_vector of {sites[0].path} is [3] for 16 rows" in error
        )

    def test_dora_counted_from_a_later_step(self, tmp_path, sites):
        adapted(tmp_path / "a", tiny_llama(), use_dora=True)
        error = self.refused(tmp_path / "a", sites, reference=tmp_path / "a")
        assert "is no DoRA adapter from before training (B is not 0)" in error
        adapted(tmp_path / "b", tiny_llama())
        error = self.refused(tmp_path / "a", sites, reference=tmp_path / "b")
        assert error.startswith(
            f"{tmp_path / 'b'}: its model.layers.0.self_attn.q_proj"
        )

    def test_an_option_that_changes_the_arithmetic(self, tmp_path, sites):
        adapted(tmp_path, tiny_llama())
        change_config(tmp_path, use_qalora=True)
        assert "LoRA with `use_qalora` adds something other" in self.refused(
            tmp_path, sites
        )

    def test_another_kind(self, tmp_path, sites):
        adapted(tmp_path, tiny_llama())
        change_config(tmp_path, peft_type="LOHA")
        assert "a LOHA adapter cannot be measured" in self.refused(tmp_path, sites)

    @pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora", "loftq"])
    def test_a_start_that_rewrote_the_base(self, tmp_path, sites, start):
        adapted(tmp_path / "a", tiny_llama())
        adapted(tmp_path / "b", tiny_llama())
        change_config(tmp_path / "a", init_lora_weights=start)
        error = self.refused(tmp_path / "a", sites)
        assert f"its start `{start}` rewrote the base model" in error
        error = self.refused(tmp_path / "a", sites, reference=tmp_path / "b")
        assert error.startswith(f"{tmp_path / 'b'}: its start is `None` where")
        change_config(tmp_path / "b", init_lora_weights=start)
        read_adapter(tmp_path / "a", sites, reference=tmp_path / "b")

    def test_a_whole_matrix_of_another_model(self, tmp_path, sites):
        adapted(tmp_path, tiny_llama(), modules_to_save=["o_proj"])
        key = f"{PREFIX}model.layers.0.self_attn.o_proj.weight"
        for wrong in (torch.ones(16, 8), torch.ones(3, 16), torch.ones(16, 16).int()):
            change_tensors(tmp_path, lambda t, wrong=wrong: t.update({key: wrong}))
            error = self.refused(tmp_path, sites)
            assert "another model: its model.layers.0.self_attn.o_proj is" in error

    def test_a_whole_matrix_of_a_block_that_is_missing(self, tmp_path, sites):
        adapted(tmp_path, tiny_llama(layers=3), modules_to_save=["o_proj"])
        change_tensors(
            tmp_path,
            lambda t: [t.pop(k) for k in list(t) if "layers.2" in k and "lora" in k],
        )
        error = self.refused(tmp_path, sites)
        assert "it tunes model.layers.2.self_attn.o_proj, while this one" in error

    @pytest.mark.parametrize(
        "key", ["base_model.model.a.lora_Z.weight", "model.layers.0.bias"]
    )
    def test_an_unknown_tensor(self, tmp_path, sites, key):
        adapted(tmp_path, tiny_llama())
        change_tensors(tmp_path, lambda t: t.update({key: torch.ones(1)}))
        assert f"`{key}` is no tensor of a LoRA" in self.refused(tmp_path, sites)

    def test_half_a_pair(self, tmp_path, sites):
        adapted(tmp_path, tiny_llama())
        change_tensors(tmp_path, lambda t: t.pop(min(t)))
        assert "has only one of lora_A and lora_B" in self.refused(tmp_path, sites)

    def test_a_rank_of_another_run(self, tmp_path, sites):
        adapted(tmp_path, tiny_llama())
        change_config(tmp_path, r=4)
        error = self.refused(tmp_path, sites)
        assert "has rank 3 in the file and 4 in adapter_config.json" in error

    def test_no_rank(self, tmp_path, sites):
        adapted(tmp_path, tiny_llama())
        change_config(tmp_path, r=None)
        assert "no usable `r` (None)" in self.refused(tmp_path, sites)

    def test_factors_that_do_not_multiply(self, tmp_path, sites):
        adapted(tmp_path, tiny_llama())
        change_tensors(tmp_path, lambda t: t.update({min(t): torch.ones(1, 16)}))
        assert "which do not multiply" in self.refused(tmp_path, sites)

    def test_nan(self, tmp_path, sites):
        adapted(tmp_path, tiny_llama())
        change_tensors(tmp_path, lambda t: t[min(t)].fill_(math.nan))
        assert "hold NaN or infinity; take an earlier" in self.refused(tmp_path, sites)

    def test_another_width(self, tmp_path, sites):
        adapted(tmp_path, tiny_llama(hidden=32))
        error = self.refused(tmp_path, sites)
        assert "made for another model: its model.layers.0.self_attn.q_proj" in error

    def test_more_layers(self, tmp_path, sites):
        adapted(tmp_path, tiny_llama(layers=3))
        error = self.refused(tmp_path, sites)
        assert "another model: it tunes model.layers.2.mlp.down_proj, while" in error

    def test_another_family(self, tmp_path, sites):
        adapted(tmp_path, tiny_gpt2(), target_modules=["c_attn"], fan_in_fan_out=True)
        error = self.refused(tmp_path, sites)
        assert "another model: it tunes no weight matrix (only transformer.h" in error

    def test_a_fused_map_that_is_too_short(self, tmp_path):
        adapted(tmp_path, tiny_llama(), target_modules=["q_proj"])
        split = RowBlocks(start=16, length=16, stride=48, count=1)
        site = Site(
            path="model.layers.0.self_attn.q_proj", layer=0, part="k", num_rows=16,
            num_columns=16, split=split,
        )  # fmt: skip
        second = Site(
            path="model.layers.1.self_attn.q_proj", layer=1, part="k", num_rows=16,
            num_columns=16, split=split,
        )  # fmt: skip
        assert "made for another model" in self.refused(tmp_path, [site, second])

    def test_a_cut_file(self, tmp_path, sites):
        adapted(tmp_path, tiny_llama())
        file = tmp_path / "adapter_model.safetensors"
        file.write_bytes(file.read_bytes()[:-1])
        error = self.refused(tmp_path, sites)
        assert error.startswith(f"{file}: it is not a whole safetensors file; copy")

    def test_a_pickle(self, tmp_path, sites):
        adapted(tmp_path, tiny_llama())
        file = tmp_path / "adapter_model.safetensors"
        file.rename(tmp_path / "adapter_model.bin")
        assert "are a pickle (adapter_model.bin)" in self.refused(tmp_path, sites)

    def test_no_adapter(self, tmp_path, sites):
        error = self.refused(tmp_path, sites)
        assert "there is no adapter (adapter_config.json is missing)" in error

    def test_a_broken_configuration(self, tmp_path, sites):
        (tmp_path / "adapter_config.json").write_text("{")
        assert "it is no adapter configuration" in self.refused(tmp_path, sites)


def test_the_folder_loads_with_peft_too(tmp_path):
    adapted(tmp_path, tiny_llama())
    assert isinstance(PeftModel.from_pretrained(tiny_llama(), tmp_path), PeftModel)
