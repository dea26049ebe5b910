"""Does each way of `driftmap ablate` do to the weights what its name says?"""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from driftmap.cli.main import main
from driftmap.families.discover import find_layout
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.steps import pages
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.store.groups import save_group
from driftmap.store.tables import load_table
from study_process import contents, finish, kill_when, start
from tiny_studies import save_tiny_data, save_tiny_model

EVERY = 6
NUM_SAMPLES = 8


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """They take longer than all the rest, and say nothing here."""
    monkeypatch.setattr(pages, "save_pictures", lambda figures, folder: None)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A model and a group of it, another model, and data."""
    home = tmp_path_factory.mktemp("ways")
    save_tiny_model(home / "model")
    save_tiny_model(home / "other", seed=3)
    save_tiny_data(home)
    loaded = load_model(ModelSource(model=str(home / "model"), device="cpu"))
    group = WeightGroup(
        name="mine",
        members={s: np.arange(0, s.num_weights, EVERY) for s in loaded.layout.sites},
        origin=GroupOrigin(
            model_sha256=loaded.identity.sha256,
            base_sha256=loaded.identity.base_sha256,
            rule="top",
            shares={"share": 1 / EVERY},
        ),
    )
    save_group(home / "mine.safetensors", group)
    return home


def words(home, out, **options):
    options = {
        "model": home / "model",
        "device": "cpu",
        "refusal_prompts": home / "behaviour.jsonl",
        "held_out": home / "utility.jsonl",
        "num_samples": NUM_SAMPLES,
        "num_eval_samples": 3,
        "max_new_tokens": 2,
        "controls": 1,
        "doses": 1.0,
        "save": out / "saved",
        "out": out / "run",
    } | options
    return [
        "ablate",
        *(
            f"--{name.replace('_', '-')}={value}"
            for name, value in options.items()
            if value is not None
        ),
    ]


def matrices(folder):
    """Every matrix of the blocks of a saved model, by path, float64."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    return {
        site.path: model.get_submodule(site.path).weight.detach().double()
        for site in find_layout(model).sites
    }


def in_group(matrix):
    """Every sixth entry, counted row by row."""
    inside = torch.zeros(matrix.numel(), dtype=torch.bool)
    for flat in range(0, matrix.numel(), EVERY):
        inside[flat] = True
    return inside.reshape(matrix.shape)


def of_group(expected):
    """Holds a saved model to what becomes of the group's entries; others stay."""

    def check(before, after, other):
        for path, matrix in before.items():
            inside = in_group(matrix)
            wanted = expected(matrix[inside], other[path][inside])
            assert torch.equal(after[path][~inside], matrix[~inside]), path
            assert torch.equal(after[path][inside], wanted), path

    return check


def keeps_only_the_group(before, after, other):
    for path, matrix in before.items():
        inside = in_group(matrix)
        assert torch.equal(after[path][inside], matrix[inside]), path
        assert not after[path][~inside].any(), path


def is_shuffled(before, after, other):
    for path, matrix in before.items():
        inside = in_group(matrix)
        assert torch.equal(after[path][~inside], matrix[~inside]), path
        was, now = matrix[inside], after[path][inside]
        assert not torch.equal(was, now), path
        assert torch.equal(was.sort().values, now.sort().values), path


def is_noisy(before, after, other):
    changes = []
    for path, matrix in before.items():
        inside = in_group(matrix)
        assert torch.equal(after[path][~inside], matrix[~inside]), path
        spread = matrix[inside].std(correction=0)
        changes.append((after[path][inside] - matrix[inside]) / spread)
    noise = torch.cat(changes)
    assert noise.mean().abs() < 0.2
    assert 0.85 < noise.std() < 1.15


WAYS = {
    "zero": ({}, of_group(lambda own, other: torch.zeros_like(own))),
    "restore": ({"restore_from": "other"}, of_group(lambda own, other: other)),
    "keep_only": ({}, keeps_only_the_group),
    "scale": ({"scale_by": 0.25}, of_group(lambda own, other: own / 4)),
    "noise": ({}, is_noisy),
    "noise shuffle": ({"noise_kind": "shuffle"}, is_shuffled),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_group_becomes_what_the_way_says_and_all_else_stays(home, tmp_path, way):
    changes, check = WAYS[way]
    if "restore_from" in changes:
        changes = {"restore_from": home / changes["restore_from"]}
    by, group = way.split()[0], home / "mine.safetensors"
    assert main(words(home, tmp_path, by=by, group=group, **changes)) == 0
    before, after, other = map(
        matrices, (home / "model", tmp_path / "saved", home / "other")
    )
    check(before, after, other)
    note = json.loads((tmp_path / "saved/driftmap.json").read_text())["change"]
    assert (note["by"], note["dose"]) == (by, 1.0)


def test_the_heads_of_a_file_go_by_their_columns_of_o(home, tmp_path):
    ranks = tmp_path / "ranks.json"
    ranks.write_text('{"layer-1-head-2": 0.9, "layer-0-head-1": 0.8}')
    assert main(words(home, tmp_path, by="heads", heads=ranks, num_heads=1)) == 0
    before, after = matrices(home / "model"), matrices(tmp_path / "saved")
    size = 4
    for path, matrix in before.items():
        wanted = matrix.clone()
        if path == "model.layers.1.self_attn.o_proj":
            wanted[:, 2 * size : 3 * size] = 0
        assert torch.equal(after[path], wanted), path


def stacked_outputs(home, name):
    """Y of every matrix: one row per token that predicts a token of a response."""
    model = AutoModelForCausalLM.from_pretrained(home / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(home / "model")
    rows = list(map(json.loads, (home / f"{name}.jsonl").read_text().splitlines()))
    seen = {}
    for row in rows:
        asked = [{"role": "user", "content": row["prompt"]}]
        start = tokenizer.apply_chat_template(
            asked, add_generation_prompt=True, tokenize=False
        )
        whole = tokenizer.apply_chat_template(
            [*asked, {"role": "assistant", "content": row["response"]}], tokenize=False
        )
        end = whole.index(row["response"], len(start)) + len(row["response"])
        first = len(tokenizer(start, add_special_tokens=False).input_ids)
        ids = tokenizer(whole[:end], add_special_tokens=False).input_ids
        for site in find_layout(model).sites:
            look = recorder(seen.setdefault(site.path, []), first, len(ids))
            model.get_submodule(site.path).register_forward_hook(look)
        with torch.no_grad():
            model(input_ids=torch.tensor([ids]))
        for module in model.modules():
            module._forward_hooks.clear()
    return {path: torch.cat(outputs).double() for path, outputs in seen.items()}


def recorder(outputs, first, end):
    return lambda module, args, output: outputs.append(output[0, first - 1 : end - 1])


@pytest.mark.parametrize("by", ["actsvd", "projection"])
def test_directions_go_as_the_svd_of_stacked_outputs_says(home, tmp_path, by):
    share, spared = 0.15, 0.3
    done = words(
        home, tmp_path, by=by, behaviour=home / "behaviour.jsonl",
        utility=home / "utility.jsonl", num_samples=12,
        behaviour_directions=share, utility_directions=spared,
    )  # fmt: skip
    assert main(done) == 0
    before, after = matrices(home / "model"), matrices(tmp_path / "saved")
    table = load_table(tmp_path / "run/tables/directions.parquet")
    energies = dict(zip(table["path"], table["energy_share"], strict=True))
    behaviour, utility = (stacked_outputs(home, n) for n in ("behaviour", "utility"))
    for path, matrix in before.items():
        most = min(matrix.shape)
        _, sizes, right = torch.linalg.svd(behaviour[path], full_matrices=False)
        top = right[: round(share * most)].T
        change = top @ top.T @ matrix
        if by == "projection":
            _, _, right_u = torch.linalg.svd(utility[path], full_matrices=False)
            kept = right_u[: round(spared * most)].T
            change = change - kept @ kept.T @ change
        torch.testing.assert_close(after[path], matrix - change, rtol=0, atol=2e-5)
        assert change.abs().max() > 1e-2
        energy = (sizes**2)[: round(share * most)].sum() / (sizes**2).sum()
        assert energies[path] == pytest.approx(energy.item(), rel=1e-4)
    page = " ".join((tmp_path / "run/report.txt").read_text().split())
    assert "What the directions hold" in page


def test_more_directions_than_the_tokens_tell_apart_are_refused(home, tmp_path, capsys):
    done = words(
        home, tmp_path, by="actsvd", behaviour=home / "behaviour.jsonl",
        num_samples=1, behaviour_directions=1.0,
    )  # fmt: skip
    assert main(done) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "tell" in said
    assert "take more samples or fewer directions" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_killed_ablation_ends_in_the_same_bytes(home, tmp_path):
    folder = tmp_path / "killed"
    done = words(home, tmp_path, group=home / "mine.safetensors", save=None)
    told = tmp_path / "told.txt"
    assert finish(start(done, told)) == 0, told.read_text()
    run = tmp_path / "run"
    whole = contents(run)
    run.rename(folder)
    ends = [
        kill_when(start(done, told), run, pattern, 0.0)
        for pattern in ("steps/arm-0.json", "steps/.contrasts.partial")
    ]
    assert -9 in ends
    assert finish(start(done, told)) == 0, told.read_text()
    found = contents(run)
    assert found.keys() == whole.keys()
    assert [name for name in found if found[name] != whole[name]] == []
