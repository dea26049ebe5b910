"""Does a study of similar samples run from words to report, and go on where it was?"""

import json
import shutil

import numpy as np
import pytest

from driftmap.cli.main import main
from driftmap.recipes.steps import pages
from driftmap.store.pair_products import load_pairs
from driftmap.store.tables import load_table
from similar_rows import save_similar_rows
from tiny_studies import save_tiny_model, write_rows

pytestmark = pytest.mark.slow

ALL_PICTURES = True
ALIKE = 1e-5


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """Pictures of the first run are enough; each takes a while."""
    monkeypatch.setattr(pages, "save_pictures", lambda _figures, _folder: None)


def words(model, rows, out, *more):
    return [
        "similarity", f"--model={model}", f"--data={rows['originals']}",
        f"--queries={rows['paraphrased']}", f"--queries={rows['generated']}",
        "--device=cpu", "--resamples=200", f"--out={out}", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("similar")
    model = save_tiny_model(folder / "model")
    return model, save_similar_rows(folder)


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(words(*made, out, "--export-json")) == 0
    return out


def products(run, name="gradients"):
    return load_pairs(run / f"products/{name}.safetensors").products


def cosines(run, name="gradients"):
    return products(run, name).cosine()


def test_every_chart_is_a_picture_too(run):
    names = {path.name for path in (run / "figures").iterdir()}
    assert {"answer_paraphrased.png", "depth_generated.svg"} <= names


def test_the_report_names_both_sets_and_chance(run):
    text = (run / "report.txt").read_text()
    for said in ("8 originals", "8 paraphrased queries", "8 generated queries", "BM25"):
        assert said in text
    assert "12.5 %" in text or "12 %" in text
    found = json.loads((run / "statistics.json").read_text())
    names = [measure["name"] for measure in found["measures"]]
    assert names == ["gradients", "activations", "centred-activations"]
    sets = [one["name"] for one in found["measures"][0]["study"]["sets"]]
    assert sets == ["paraphrased", "generated"]


def test_every_tensor_is_in_the_tables(run):
    units = load_table(run / "tables/gradients-units.parquet")
    tensors = units.where(kind="tensor", set="paraphrased")
    names = [place.name for place in products(run).tensors]
    assert tensors["name"].tolist() == names
    assert len(names) == 2 * 9 + 3
    assert (run / "tables/gradients-odd-paraphrased.csv").is_file()


def test_a_second_run_computes_nothing(made, run, monkeypatch):
    from driftmap.recipes.steps.similarity import activations, sharing

    def never(*_args, **_more):
        raise AssertionError("computed again")

    monkeypatch.setattr(sharing, "shard_products", never)
    monkeypatch.setattr(activations, "pooled_hidden", never)
    assert main(words(*made, run, "--export-json")) == 0


def test_the_report_is_drawn_again_from_the_folder_alone(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "report.txt").unlink()
    assert main(["report", str(copy)]) == 0
    assert (copy / "report.txt").read_text() == (run / "report.txt").read_text()


def test_what_goes_out_as_json_comes_back_the_same(run, tmp_path):
    back = tmp_path / "back"
    from_json = ["similarity", f"--from-json={run / 'json'}", "--resamples=200"]
    assert main([*from_json, f"--beside={run}", f"--out={back}"]) == 0
    ours = cosines(run)
    of_generated = products(back, "gradients-generated")
    np.testing.assert_allclose(of_generated.cosine(), ours[8:], rtol=0, atol=1e-12)
    text = (back / "report.txt").read_text()
    assert "measured elsewhere" in text
    assert "run" in text


@pytest.mark.parametrize(
    "way",
    [
        ("--products=ghost", "--batch-tokens=64"),
        ("--schedule=layer_major",),
    ],
)
def test_every_way_gives_the_same_numbers(made, run, tmp_path, way):
    out = tmp_path / "other"
    assert main(words(*made, out, "--of=gradients", *way)) == 0
    np.testing.assert_allclose(cosines(out), cosines(run), rtol=0, atol=ALIKE)


def test_a_projection_is_near_and_says_how_near(made, run, tmp_path):
    out = tmp_path / "fold"
    told = ("--of=gradients", "--projection=fold", "--projection-size=256")
    assert main(words(*made, out, *told)) == 0
    away = cosines(out) - cosines(run)
    assert 0 < np.abs(away).max() < 0.2
    errors = np.load(out / "products/gradient-errors.npy")
    assert errors.shape == products(out).dot.shape
    assert "fold" in (out / "report.txt").read_text()


def test_candidates_may_be_chosen_by_words_and_the_truth_forced_in(made, tmp_path):
    out = tmp_path / "few"
    told = ("--candidates=bm25", "--top-k=2", "--force-truth", "--only=down")
    assert main(words(*made, out, *told)) == 0
    found = products(out)
    assert found.candidates.shape == (16, 2)
    assert {place.part for place in found.tensors} == {"down"}
    assert "truth always present" in (out / "report.txt").read_text()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--only=nothing",), "--only nothing names no tensor"),
        (("--candidates=missing.json",), "missing.json: there is no such file"),
        (("--projection-size=100",), "give a power of 2"),
        (("--top-k=1", "--force-truth"), "leaves the true original alone"),
        (("--beside=nowhere",), "nowhere"),
        (("--num-samples=1",), "--num-samples is 1; give at least 2"),
        (("--holdout=1",), "--holdout is 1"),
    ],
)
def test_what_cannot_work_is_one_sentence(made, tmp_path, capsys, more, told):
    assert main(words(*made, tmp_path / "no", *more)) in (1, 2)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert told in error
    assert "Traceback" not in error


def test_a_query_without_its_original_is_refused(made, tmp_path, capsys):
    model, rows = made
    few = rows["originals"].read_text().splitlines()[:-1]
    short = write_rows(tmp_path / "short.jsonl", [json.loads(line) for line in few])
    assert main(words(model, {**rows, "originals": short}, tmp_path / "run")) == 1
    assert "1 of 8 queries have no original" in capsys.readouterr().err
