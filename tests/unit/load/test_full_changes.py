"""Is what two folders of full weights give what their tensors say, one at a time?"""

import json
import subprocess
import sys
from typing import ClassVar

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

from driftmap.core.errors import ModelError
from driftmap.core.places import RowBlocks, Site
from driftmap.families.discover import find_layout
from driftmap.families.matrices import site_weight
from driftmap.load import full_changes as full_changes_module
from driftmap.load.adapters import read_adapter
from driftmap.load.full_changes import (
    FullChanges,
    StoredMatrices,
    half_types,
    moved_sites,
)
from driftmap.load.merged import merged_tensors
from driftmap.load.other_parts import OtherPart, other_parts
from driftmap.measure.drift import dense_change, matrix_moments
from driftmap.signals.changes import DenseChange
from tiny import tiny_llama
from tiny_families import tiny_family

SITE = Site(path="a.b", layer=0, part="q", num_rows=4, num_columns=3)


def save(folder, tensors):
    folder.mkdir(parents=True, exist_ok=True)
    held = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    return StoredMatrices(folder)


def changes(before, after, sites):
    return FullChanges(before, after, moved_sites(before, after, sites))


def test_golden_by_hand(tmp_path):
    before = save(tmp_path / "a", {"a.b.weight": torch.ones(4, 3)})
    after = torch.ones(4, 3)
    after[2, 1] = 1.5
    found = changes(before, save(tmp_path / "b", {"a.b.weight": after}), [SITE])
    assert list(found) == [SITE]
    expected = torch.zeros(4, 3, dtype=torch.float64)
    expected[2, 1] = 0.5
    assert torch.equal(found[SITE].values, expected)


@pytest.mark.parametrize("block", [1, 40, 2**20])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox"])
def test_equals_the_two_models_in_memory(name, block, tmp_path, monkeypatch):
    monkeypatch.setattr(full_changes_module, "BLOCK_WEIGHTS", block)
    model, sites = tiny_family(name), find_layout(tiny_family(name)).sites
    before = {site: site_weight(model, site).clone() for site in sites}
    model.save_pretrained(tmp_path / "before")
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1e-3 * torch.randn(parameter.shape, generator=draw)
    model.save_pretrained(tmp_path / "after", max_shard_size="20KB")
    assert len(list((tmp_path / "after").glob("*.safetensors"))) > 1
    old, new = (StoredMatrices(tmp_path / side) for side in ("before", "after"))
    found = changes(old, new, sites)
    assert list(found) == list(sites)
    for site in sites:
        moved = site_weight(model, site).double() - before[site].double()
        assert moved.any()
        assert torch.equal(found[site].values, moved)
        assert torch.equal(old.matrix(site), before[site])


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}], ids=["lora", "dora"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_checkpoint_route_equals_factor_route(name, settings, tmp_path):
    model, sites = tiny_family(name), find_layout(tiny_family(name)).sites
    config = LoraConfig(
        r=3, target_modules=sorted({s.path for s in sites if s.part not in "ov"}),
        fan_in_fan_out=all(site.transposed for site in sites), **settings,
    )  # fmt: skip
    torch.manual_seed(0)
    worn = get_peft_model(tiny_family(name), config)
    with torch.no_grad():
        for key, parameter in worn.named_parameters():
            if "lora_" in key:
                parameter.normal_(0.5, 0.1)
    worn.save_pretrained(tmp_path / "adapter")
    merged = merged_tensors(model, sites, tmp_path / "adapter")
    model.save_pretrained(tmp_path / "before")
    model.save_pretrained(tmp_path / "after", state_dict=merged)
    old, new = (StoredMatrices(tmp_path / side) for side in ("before", "after"))
    factors = read_adapter(tmp_path / "adapter", sites).factors
    found = changes(old, new, sites)
    assert set(found) == set(factors)
    assert 0 < len(factors) < len(sites) or name == "gpt2"
    for site, change in factors.items():
        weight = site_weight(model, site)
        moved = dense_change(change, weight=weight)
        got = dense_change(found[site])
        # The merged weights were rounded to float32 once.
        largest = weight.abs().max().item() + moved.abs().max().item()
        assert (got - moved).abs().max() <= 2**-23 * largest
        one, two = (matrix_moments(weight, c).rows for c in (change, found[site]))
        assert one.l2 == pytest.approx(two.l2, rel=1e-5)


def test_matrices_that_did_not_move_are_left_out(tmp_path):
    still = Site(path="a.c", layer=0, part="o", num_rows=4, num_columns=3)
    held = {"a.b.weight": torch.ones(4, 3), "a.c.weight": torch.ones(4, 3)}
    before = save(tmp_path / "a", held)
    after = save(tmp_path / "b", held | {"a.b.weight": torch.zeros(4, 3)})
    found = changes(before, after, [SITE, still])
    assert list(found) == [SITE]
    assert len(found) == 1
    assert still not in found
    assert found.get(still) is None
    assert not changes(before, before, [SITE, still])


def test_names_with_and_without_what_wraps_the_blocks(tmp_path):
    before = save(tmp_path / "a", {"b.weight": torch.ones(4, 3)})
    after = save(tmp_path / "b", {"model.a.b.weight": torch.zeros(4, 3)})
    assert torch.equal(
        changes(before, after, [SITE])[SITE].values, -torch.ones(4, 3).double()
    )


def test_interleaved_parts_of_a_turned_module(tmp_path):
    split = RowBlocks(start=1, length=2, stride=4, count=2)
    site = Site(
        path="m", layer=0, part="k", num_rows=4, num_columns=3, split=split,
        transposed=True,
    )  # fmt: skip
    stored = torch.arange(24.0).reshape(3, 8)
    before = save(tmp_path / "a", {"m.weight": torch.zeros(3, 8)})
    after = save(tmp_path / "b", {"m.weight": stored})
    expected = stored.T[[1, 2, 5, 6]].double()
    assert torch.equal(changes(before, after, [site])[site].values, expected)


def test_sixteen_bits_are_named(tmp_path):
    other = Site(path="a.c", layer=0, part="o", num_rows=4, num_columns=3)
    wide, narrow = torch.ones(4, 3), torch.ones(4, 3).bfloat16()
    stored = save(tmp_path / "a", {"a.b.weight": narrow, "a.c.weight": wide})
    assert half_types(stored, [SITE, other]) == ("bfloat16",)
    assert half_types(stored, [other]) == ()
    halves = save(tmp_path / "b", {"a.b.weight": narrow, "a.c.weight": wide.half()})
    assert half_types(halves, [SITE, other]) == ("bfloat16", "float16")
    # The sum of both is exact all the same.
    moved = changes(stored, halves, [SITE, other])
    assert not moved


def message(call):
    with pytest.raises(ModelError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_cannot_be_compared_is_refused(tmp_path):
    good = save(tmp_path / "a", {"a.b.weight": torch.ones(4, 3)})
    other = save(tmp_path / "b", {"c.d.weight": torch.ones(4, 3)})
    assert message(lambda: changes(good, other, [SITE])) == (
        f"{tmp_path / 'b'}: it has no tensor a.b.weight, which the model has; give a "
        "checkpoint of this model, saved with `save_pretrained`"
    )
    wide = save(tmp_path / "c", {"a.b.weight": torch.ones(4, 5)})
    assert message(lambda: changes(good, wide, [SITE])) == (
        f"{tmp_path / 'c'}: its a.b.weight is [4, 5], while the model's a.b is [4, 3] "
        "[out in]; give a checkpoint of this model"
    )
    rounded = save(tmp_path / "d", {"a.b.weight": torch.ones(4, 3).byte()})
    assert message(lambda: changes(good, rounded, [SITE])) == (
        f"{tmp_path / 'd'}: a.b.weight is stored as U8; quantised or merged again into "
        "quantised weights, drift is rounding: give the adapter, or weights in float32"
    )
    (tmp_path / "e").mkdir()
    (tmp_path / "e/pytorch_model.bin").write_bytes(b"")
    assert (
        "its weights are a pickle (pytorch_model.bin), which can run code"
        in message(lambda: StoredMatrices(tmp_path / "e"))
    )


def test_a_missing_shard_is_refused(tmp_path):
    tiny_llama().save_pretrained(tmp_path, max_shard_size="20KB")
    lost = sorted(tmp_path.glob("*.safetensors"))[1]
    lost.unlink()
    assert f"{lost.name} is missing (1 of" in message(lambda: StoredMatrices(tmp_path))


class TestOtherParts:
    """Embeddings, norms, head: compared and named, never measured."""

    BASE: ClassVar = {
        "a.b.weight": torch.ones(4, 3),
        "model.embed_tokens.weight": torch.ones(5, 3),
        "model.norm.weight": torch.ones(3),
        "model.layers.0.rotary_emb.inv_freq": torch.ones(2),
    }

    def compared(self, folder, **changed):
        names = {name.replace("__", "."): value for name, value in changed.items()}
        tensors = {k: v for k, v in (self.BASE | names).items() if v is not None}
        before = save(folder / "a", self.BASE)
        return other_parts(before, save(folder / "b", tensors), [SITE])

    def test_nothing_else_changed(self, tmp_path):
        buffer = {
            "model.layers.0.rotary_emb.inv_freq": None,
            "a.b.weight": -torch.ones(4, 3),
        }
        assert self.compared(tmp_path, **buffer) == ()

    def test_a_changed_norm_is_named(self, tmp_path):
        (part,) = self.compared(tmp_path, model__norm__weight=torch.zeros(3))
        assert part == OtherPart(
            name="model.norm.weight",
            found="changed",
            num_rows=(3, 3),
            common_differ=True,
        )
        assert str(part) == "model.norm.weight"

    @pytest.mark.parametrize(
        ("value", "words"), [(1.0, "are the same"), (2.0, "differ")]
    )
    def test_a_resized_vocabulary_is_compared_in_common_rows(
        self, tmp_path, value, words
    ):
        larger = torch.full((7, 3), value)
        (part,) = self.compared(tmp_path, model__embed_tokens__weight=larger)
        assert str(part) == (
            "model.embed_tokens.weight (5 rows before, 7 after; the 5 common ones "
            f"{words})"
        )

    def test_a_tied_head_may_be_missing_in_one_file(self, tmp_path):
        assert self.compared(tmp_path, lm_head__weight=torch.ones(5, 3)) == ()
        (part,) = self.compared(tmp_path, lm_head__weight=torch.zeros(5, 3))
        assert (part.name, part.found) == ("lm_head.weight", "changed")

    def test_what_one_folder_lacks_is_named(self, tmp_path):
        (part,) = self.compared(tmp_path, model__norm__weight=None)
        assert str(part) == "model.norm.weight (in one of the folders alone)"


MANY = """
import resource, sys
from pathlib import Path
from driftmap.core.places import Site
from driftmap.load.full_changes import FullChanges, StoredMatrices, moved_sites
sites = [
    Site(path=f"m.{n}", layer=n, part="q", num_rows=512, num_columns=512)
    for n in range(int(sys.argv[2]))
]
old, new = (StoredMatrices(Path(sys.argv[1]) / side) for side in ("a", "b"))
found = FullChanges(old, new, moved_sites(old, new, sites))
def held():
    text = Path("/proc/self/status").read_text()
    return int(next(x for x in text.splitlines() if x.startswith("RssAnon")).split()[1])
before = held()
peak = 0
total = 0.0
for site in found:
    moved = found[site].values
    total += moved.square().sum().item()
    peak = max(peak, held() - before)
print(peak * 1024, total)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_that_of_one_matrix(tmp_path):
    count, size = 48, 512 * 512 * 8
    held = {f"m.{n}.weight": torch.full((512, 512), float(n)) for n in range(count)}
    save(tmp_path / "a", held)
    save(tmp_path / "b", {name: value + 1 for name, value in held.items()})
    ran = subprocess.run(
        [sys.executable, "-c", MANY, str(tmp_path), str(count)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    peak, total = ran.stdout.split()
    assert float(total) == count * 512 * 512
    # All matrices in float64 are 96 MiB; this one, the one before, blocks and squares.
    assert int(peak) < 12 * size < count * size / 3


def test_a_change_is_made_anew_and_not_kept(tmp_path):
    before = save(tmp_path / "a", {"a.b.weight": torch.ones(4, 3)})
    after = save(tmp_path / "b", {"a.b.weight": torch.zeros(4, 3)})
    found = changes(before, after, [SITE])
    one, two = found[SITE], found[SITE]
    assert isinstance(one, DenseChange)
    assert one.values is not two.values
    with pytest.raises(KeyError):
        found[Site(path="x", layer=0, part="q", num_rows=1, num_columns=1)]


def test_an_index_that_is_broken_is_refused(tmp_path):
    tiny_llama().save_pretrained(tmp_path, max_shard_size="20KB")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weights": {}}))
    assert "it is no index of safetensors files" in message(
        lambda: StoredMatrices(tmp_path)
    )
