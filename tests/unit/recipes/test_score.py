import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from driftmap.capture.stream import run_folds
from driftmap.cli.main import main
from driftmap.core.errors import MeasureError
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.picking_options import PickingOptions
from driftmap.recipes.score import Score
from driftmap.recipes.steps import data as steps_data
from driftmap.recipes.steps import rows
from driftmap.recipes.steps.scoring import halves as scoring
from driftmap.recipes.steps.scoring.kinds import bare_measure
from driftmap.recipes.steps.scoring.passes import GIB
from driftmap.store.groups import load_group
from driftmap.store.provenance import read_provenance
from tiny_studies import save_tiny_model


def whole_scores(loaded, encoded, options):
    measure = bare_measure(loaded, options, 0)
    return scoring.whole_scores(loaded, encoded, options, measure)


def score_halves(loaded, data, options):
    measure = bare_measure(loaded, options, 0)
    return scoring.score_halves(loaded, data, options, measure)


def recipe(model: Path, data: dict[str, Path], out: Path, **changes) -> Score:
    return Score(
        source=ModelSource(model=str(model), device="cpu"),
        data=str(data["utility"]),
        scoring=ScoringOptions(num_samples=6, **changes),
        keep=True,
        out=out,
    )


def kept(out: Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for file in sorted((out / "scores").glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def test_kept_scores_are_those_of_the_library(model, data, tmp_path):
    out = recipe(model, data, tmp_path / "out").run()
    loaded = load_model(ModelSource(model=str(model), device="cpu"))
    read = rows.drawn(str(data["utility"]), 6, 0)
    options = ScoringOptions(num_samples=6)
    encoded = steps_data.scored_samples(loaded, read, options)
    scores = next(whole_scores(loaded, encoded, options))
    found = kept(out)
    assert found.keys() == {site.path for site in loaded.layout.sites}
    for site, of_site in scores.items():
        assert found[site.path].dtype == torch.float32
        assert torch.equal(found[site.path], of_site)


def test_the_command_gives_the_same_bytes_as_the_library(model, data, tmp_path):
    out = recipe(model, data, tmp_path / "library").run()
    words = [
        "score", f"--model={model}", f"--data={data['utility']}", "--device=cpu",
        "--num-samples=6", "--keep", f"--out={tmp_path / 'command'}",
    ]  # fmt: skip
    assert main(words) == 0
    for name in ("groups/top.safetensors", "scores/snip-000.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "command" / name).read_bytes()


def test_several_passes_give_the_same_group_and_scores(model, data, tmp_path, capsys):
    whole = recipe(model, data, tmp_path / "whole").run()
    words = [
        "score", f"--model={model}", f"--data={data['utility']}", "--device=cpu",
        "--num-samples=6", "--keep", "--memory=0.00001", f"--out={tmp_path / 'parts'}",
    ]  # fmt: skip
    assert main(words) == 0
    assert "do not fit into memory" in capsys.readouterr().err
    parts = tmp_path / "parts"
    assert len(list((parts / "scores").iterdir())) > 1
    group = "groups/top.safetensors"
    assert (whole / group).read_bytes() == (parts / group).read_bytes()
    expected, found = kept(whole), kept(parts)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_group_holds_the_highest_scores(model, data, tmp_path):
    out = recipe(model, data, tmp_path / "out").run()
    group = load_group(out / "groups/top.safetensors")
    for site, members in group.members.items():
        scores = kept(out)[site.path].flatten()
        assert len(members) == pytest.approx(0.01 * site.num_weights, abs=1)
        others = torch.ones(len(scores), dtype=torch.bool)
        others[torch.from_numpy(members)] = False
        assert scores[~others].min() >= scores[others].max()


def test_halves_add_up_and_each_part_is_emptied(model, data):
    loaded = load_model(ModelSource(model=str(model), device="cpu"))
    options = ScoringOptions(num_samples=6, memory=0.00001)
    encoded = steps_data.scored_samples(
        loaded, rows.drawn(str(data["utility"]), 6, 0), options
    )
    whole, parts = dict[object, torch.Tensor](), []
    for part in whole_scores(loaded, encoded, options):
        assert not any(parts)
        parts.append(part)
        whole |= part
    assert len(parts) > 1
    for site, (halves,) in score_halves(loaded, [encoded], options):
        assert torch.allclose(halves.score, whole.pop(site))
    assert not whole


def test_memory_for_one_matrix_at_a_time_is_set_aside(model, data):
    loaded = load_model(ModelSource(model=str(model), device="cpu"))
    largest = max(site.num_weights for site in loaded.layout.sites)
    encoded = steps_data.scored_samples(
        loaded, rows.drawn(str(data["utility"]), 6, 0), ScoringOptions()
    )
    tight = ScoringOptions(memory=11 * largest / GIB)
    assert next(whole_scores(loaded, encoded, tight))
    with pytest.raises(MeasureError, match="give more memory"):
        next(score_halves(loaded, [encoded], tight))
    enough = ScoringOptions(memory=12 * largest / GIB)
    assert next(score_halves(loaded, [encoded], enough))


def test_another_chat_template_scores_anew(data, tmp_path):
    folder, out = save_tiny_model(tmp_path / "model"), tmp_path / "out"
    recipe(folder, data, out).run()
    group = out / "groups/top.safetensors"
    before = group.read_bytes()
    recipe(folder, data, out).run()
    assert group.read_bytes() == before
    template = folder / "chat_template.jinja"
    template.write_text("answer: " + template.read_text())
    recipe(folder, data, out).run()
    assert group.read_bytes() != before


def test_the_source_is_noted(model, data, tmp_path):
    out = recipe(model, data, tmp_path / "out").run()
    noted = read_provenance(out / "provenance.json")["inputs_sha256"]
    content = data["utility"].read_bytes()
    assert noted.keys() == {"model", "data"}
    assert noted["data"] == hashlib.sha256(content).hexdigest()


def count_passes(monkeypatch) -> list[int]:
    """One entry per pass over the data from here on."""
    passes = []

    def counting(model, sites, *rest, **named):
        passes.append(len(sites))
        return run_folds(model, sites, *rest, **named)

    monkeypatch.setattr(scoring, "run_folds", counting)
    return passes


@pytest.mark.parametrize("memory", [None, 0.00001])
def test_kept_scores_give_another_share_without_a_pass(
    model, data, tmp_path, monkeypatch, memory
):
    first = recipe(model, data, tmp_path / "out", memory=memory)
    out = first.run()
    before = (out / "groups/top.safetensors").read_bytes()
    passes = count_passes(monkeypatch)
    more = PickingOptions(share=0.1)
    replace(first, picking=more).run()
    replace(first, picking=more, keep=False, out=tmp_path / "anew").run()
    assert len(passes) == (1 if memory is None else 3)  # all of them of the new run
    group = "groups/top.safetensors"
    assert (out / group).read_bytes() == (tmp_path / "anew" / group).read_bytes()
    assert (out / group).read_bytes() != before
    assert not (tmp_path / "anew" / "scores").exists()
