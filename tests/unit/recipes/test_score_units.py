"""Does `driftmap score --grain` score rows, heads and layers as what they are?"""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import GPT2Config, GPT2LMHeadModel, Phi3Config, Phi3ForCausalLM

from driftmap.cli.main import main
from driftmap.recipes.steps.scoring import halves
from driftmap.store.groups import load_group
from driftmap.store.tables import load_table
from tokenizers_made import CHATML, byte_level

HEAD_SIZE = 4


def score(model, data, out, *words):
    return main(
        ["score", f"--model={model}", f"--data={data['utility']}", "--device=cpu",
         "--num-samples=4", f"--out={out}", *words]
    )  # fmt: skip


def kept(out):
    scores = {}
    for part in (out / "scores").iterdir():
        scores |= load_file(part)
    return scores


def by_part(scores, layer, names):
    """The scores of one block by what each matrix does."""
    return {
        part: score
        for part, ending in names.items()
        for key, score in scores.items()
        if f".{layer}." in key and key.endswith(ending)
    }


LLAMA = {
    "q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj",
    "gate": "gate_proj", "up": "up_proj", "down": "down_proj",
}  # fmt: skip
GPT2 = {
    "q": "c_attn#q", "k": "c_attn#k", "v": "c_attn#v", "o": "attn.c_proj",
    "up": "c_fc", "down": "mlp.c_proj",
}  # fmt: skip
PHI3 = {
    "q": "qkv_proj#q", "k": "qkv_proj#k", "v": "qkv_proj#v", "o": "o_proj",
    "gate": "gate_up_proj#gate", "up": "gate_up_proj#up", "down": "down_proj",
}  # fmt: skip


@pytest.fixture(scope="module")
def families(model, tmp_path_factory):
    """Grouped heads; fused q, k, v stored on their side; the same stored upright."""
    folder = tmp_path_factory.mktemp("families")
    tokenizer = byte_level(template=CHATML)
    ids = {
        "vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.2,
    }  # fmt: skip
    torch.manual_seed(0)
    fused = GPT2Config(n_embd=16, n_layer=2, n_head=4, n_positions=128, **ids)
    grouped = Phi3Config(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        **ids,
    )  # fmt: skip
    for name, made in (
        ("gpt2", GPT2LMHeadModel(fused)),
        ("phi3", Phi3ForCausalLM(grouped)),
    ):
        made.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return {
        "llama": (model, LLAMA),
        "gpt2": (folder / "gpt2", GPT2),
        "phi3": (folder / "phi3", PHI3),
    }


def heads_by_hand(of):
    spans = [slice(s, s + HEAD_SIZE) for s in range(0, len(of["q"]), HEAD_SIZE)]
    return [of["q"][s].sum() + of["o"][:, s].sum() for s in spans]


def shared_by_hand(of):
    spans = [slice(s, s + HEAD_SIZE) for s in range(0, len(of["k"]), HEAD_SIZE)]
    return [of["k"][s].sum() + of["v"][s].sum() for s in spans]


def neurons_by_hand(of):
    parts = [of[part].sum(axis=1) for part in ("gate", "up") if part in of]
    return sum(parts) + of["down"].sum(axis=0)


BY_HAND = {
    "head": heads_by_hand,
    "kv_head": shared_by_hand,
    "neuron": neurons_by_hand,
    "layer": lambda of: [sum(score.sum() for score in of.values())],
    "row": lambda of: np.concatenate([score.sum(axis=1) for score in of.values()]),
}


CASES = [
    ("llama", "head"), ("llama", "row"), ("llama", "layer"), ("gpt2", "head"),
    ("phi3", "kv_head"), ("phi3", "neuron"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "grain"), CASES)
def test_units_add_up_the_scores_of_their_weights(
    families, data, tmp_path, name, grain
):
    (model, names), out = families[name], tmp_path / "out"
    assert score(model, data, out, "--keep", f"--grain={grain}") == 0
    scores = {key: s.astype(np.float64) for key, s in kept(out).items()}
    table = load_table(out / "tables/units.parquet")
    wanted = [BY_HAND[grain](by_part(scores, layer, names)) for layer in (0, 1)]
    assert table["mass"] == pytest.approx(np.concatenate(wanted), rel=1e-9)
    assert table["density"] * table["num_weights"] == pytest.approx(table["mass"])


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_densest_head_is_a_group(families, data, tmp_path, name):
    out = tmp_path / "out"
    assert score(families[name][0], data, out, "--grain=head") == 0
    table = load_table(out / "tables/units.parquet")
    first = int(np.argmax(table["density"]))
    group = load_group(out / "groups/top-head.safetensors")
    assert group.num_weights == table["num_weights"][first] == 2 * 16 * HEAD_SIZE
    held = {site: index for site, index in group.members.items() if index.size}
    assert [site.part for site in held] == ["q", "o"]
    for site, index in held.items():
        assert site.layer == table["layer"][first]
        lines = np.unravel_index(index, site.shape)[site.part == "o"]
        assert set(lines // HEAD_SIZE) == {table["unit"][first]}
    assert (group.origin.grain, group.origin.per) == ("head", "global")


def test_effects_are_measured_in_the_pass_of_snip_alone(
    model, data, tmp_path, monkeypatch, capsys
):
    passes = []
    run_folds = halves.run_folds

    def counting(*given, **named):
        passes.append(len(given[3]))
        return run_folds(*given, **named)

    monkeypatch.setattr(halves, "run_folds", counting)
    assert score(model, data, tmp_path / "out", "--grain=head") == 0
    assert passes == [2]
    said = capsys.readouterr().err
    assert "units of kind head: 8 in tables/units.parquet; highest mean score: " in said
    table = load_table(tmp_path / "out/tables/units.parquet")
    assert list(table.columns) == [
        "grain", "layer", "part", "path", "unit", "num_weights", "mass", "density",
        "first_order",
    ]  # fmt: skip
    assert (table["first_order"] > 0).all()
    assert (table["first_order"] <= table["mass"]).all()
    assert score(model, data, tmp_path / "w", "--grain=row", "--score=wanda") == 0
    rows = load_table(tmp_path / "w/tables/units.parquet")
    assert np.isnan(rows["first_order"]).all()
    assert (rows["mass"] > 0).all()
    assert score(model, data, tmp_path / "m", "--grain=row", "--score=magnitude") == 0
    assert passes == [2, 1]


def test_kept_scores_are_read_again_for_other_units(model, data, tmp_path):
    kept_before, alone = tmp_path / "kept", tmp_path / "alone"
    assert score(model, data, kept_before, "--keep") == 0
    assert score(model, data, kept_before, "--keep", "--grain=neuron") == 0
    assert score(model, data, alone, "--grain=neuron") == 0
    groups = [file.name for file in sorted((kept_before / "groups").iterdir())]
    assert groups == ["top-neuron.safetensors", "top.safetensors"]
    for name in (*(f"groups/{group}" for group in groups), "tables/units.parquet"):
        assert (kept_before / name).read_bytes() == (alone / name).read_bytes()
    assert score(model, data, kept_before, "--keep") == 0
    assert not (kept_before / "tables/units.parquet").exists()


def test_the_lowest_units_make_a_group(model, data, tmp_path):
    out = tmp_path / "out"
    assert score(model, data, out, "--grain=column", "--lowest", "--share=.25") == 0
    table = load_table(out / "tables/units.parquet")
    group = load_group(out / "groups/lowest-column.safetensors")
    for site in group.members:
        density = table.where(path=site.path)["density"]
        lowest = set(np.argsort(density, kind="stable")[: density.size // 4])
        assert set(group.at(site) % site.num_columns) == lowest
        assert group.at(site).size == len(lowest) * site.num_rows


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--grain=head", "--n-m=2:4"], "so --grain head means nothing; give one"),
        (["--grain=heads"], "--grain"),
    ],
)
def test_units_that_mean_nothing_are_refused(
    model, data, tmp_path, capsys, words, said
):
    assert score(model, data, tmp_path / "out", *words) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
