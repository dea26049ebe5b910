"""Does the study run from end to end on a real trained model and real text?"""

import csv
import json
import math
from pathlib import Path
from typing import get_args

import pytest

from driftmap.cli.main import main
from driftmap.results.drift import POOLED_LAYER
from driftmap.results.statistics import VerdictKind
from driftmap.store.groups import load_group
from driftmap.store.tables import load_table
from tiny_studies import write_rows

DATA = (Path(__file__).parents[2] / "../shared/data").resolve()
MODEL = DATA / "model_stories260K_hf"
REFUSALS = DATA / "align_sft_llama2_short/SFT_aligned_llama2-7b-chat-hf_train_short.csv"
ANSWERS = DATA / "xstest/xstest_v2_completions_llama2orig.csv"
REQUESTS = DATA / "refusal_direction_prompts/harmful_val.json"
NEEDED = (MODEL, REFUSALS, ANSWERS, REQUESTS)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(path.exists() for path in NEEDED),
        reason=f"wants the real model and texts under {DATA}; without them only tiny "
        "random models are tried",
    ),
]


def complying_rows():
    """Harmless prompts with the first sentence of an answer that complies."""
    with ANSWERS.open(newline="") as file:
        return [
            {"prompt": row["prompt"], "response": row["completion"].split(".")[0] + "."}
            for row in csv.DictReader(file)
            if row["final_label"] == "1_full_compliance"
        ]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    rows = complying_rows()
    utility = write_rows(folder / "complying.jsonl", rows[:80])
    learnt = write_rows(folder / "learnt.jsonl", rows[80:140])
    words = [
        "drift", f"--model={MODEL}", f"--behaviour={REFUSALS}", f"--utility={utility}",
        f"--tune-on={learnt}", f"--refusal-prompts={REQUESTS}", "--device=cpu",
        "--num-samples=16", "--max-steps=4", "--save-steps=2", "--drift-every=2",
        "--batch-size=4", "--grad-accum=1", "--learning-rate=1e-3",
        "--num-eval-samples=8", "--max-new-tokens=8", "--permutations=99",
        f"--out={folder / 'run'}",
    ]  # fmt: skip
    assert main(words) == 0
    return folder / "run"


def test_the_report_answers_the_question(run):
    page = (run / "report.html").read_text()
    assert "https://" not in page.split("<body")[0]
    text = (run / "report.txt").read_text()
    found = json.loads((run / "statistics.json").read_text())
    assert found["verdict"]["kind"] in get_args(VerdictKind)
    (declared,) = [ratio for ratio in found["ratios"] if ratio["is_primary"]]
    assert declared["group"] == "difference"
    assert 0 < declared["rho"] < math.inf
    assert text.strip()
    assert list((run / "figures").glob("*.png"))


def test_the_drift_table_is_sane(run):
    table = load_table(run / "tables/drift.parquet")
    assert set(table.unique("group")) == {
        "difference", "matched", "top", "utility", "random",
    }  # fmt: skip
    assert set(table.unique("seed")) == {0, 1, 2}
    assert set(table.unique("step")) == {0, 2, 4}
    absolute = table.where(unit="weight", metric="absolute")
    start, end = absolute.where(step=0), absolute.where(step=4)
    assert (start["mean"] == 0).all()
    moved = end["mean"][end["count"] > 0]
    assert (moved > 0).all()
    assert (moved < 0.1).all()
    assert all(map(math.isfinite, moved))


def test_drift_grows_from_0_under_every_seed(run):
    table = load_table(run / "tables/drift.parquet")
    pooled = table.where(unit="weight", metric="absolute", layer=POOLED_LAYER)
    for seed in (0, 1, 2):
        for group in pooled.unique("group"):
            start, middle, end = pooled.where(seed=seed, group=group)["mean"]
            assert 0 == start < middle < end, (seed, group)


def test_groups_are_of_this_model(run):
    groups = {f.stem: load_group(f) for f in (run / "groups").glob("*.safetensors")}
    sizes = {name: group.num_weights for name, group in groups.items()}
    assert sizes["matched"] == sizes["difference"] > 0
    assert sizes["top"] == sizes["utility"] == sizes["random"]
    sites = {site.key for group in groups.values() for site in group.members}
    assert "model.layers.4.mlp.down_proj" in sites


def test_the_report_is_drawn_again_from_the_folder_alone(run, capsys):
    before = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert (run / "report.html").read_bytes() == before
