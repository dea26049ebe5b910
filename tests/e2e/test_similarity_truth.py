"""Does gradient similarity find what is known to belong together?"""

import json
from pathlib import Path

import pytest

from driftmap.cli.main import main
from driftmap.recipes.steps import pages
from driftmap.recipes.steps.paired_world import make_pairs
from driftmap.store.tables import load_table
from similar_rows import row
from tiny_studies import write_rows

DATA = (Path(__file__).parents[2] / "../shared/data").resolve()
MODEL = DATA / "model_stories260K_hf"
FACTS = DATA / "counterfact_easyedit/counterfact_first_100_rome_shape.json"

pytestmark = pytest.mark.slow


def test_the_demo_asks_it_too(organism, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "save_pictures", lambda _figures, _folder: None)
    monkeypatch.setenv("DRIFTMAP_CACHE", str(organism.folder.parent))
    out = tmp_path / "run"
    assert main(["demo", "--question=similarity", f"--out={out}"]) == 0
    assert "64 reworded queries" in (out / "report.txt").read_text()


def study(words, out):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "save_pictures", lambda _figures, _folder: None)
        told = ["similarity", "--device=cpu", "--resamples=500", f"--out={out}"]
        assert main([*told, *words]) == 0
    return out


@pytest.fixture(scope="module")
def run(organism, tmp_path_factory):
    folder = tmp_path_factory.mktemp("organism")
    pairs = make_pairs(0, folder)
    words = [
        f"--model={organism.aligned}", f"--data={pairs['originals']}",
        f"--queries={pairs['reworded']}", f"--queries={pairs['paraphrased']}",
    ]  # fmt: skip
    return study(words, folder / "run")


def units(run, **equal):
    return load_table(run / "tables/gradients-units.parquet").where(**equal)


def test_nearly_every_tensor_finds_reworded_requests_far_above_chance(run):
    tensors = units(run, set="reworded", kind="tensor")
    above = tensors["accuracy_low"] > 10 * tensors["accuracy_chance"]
    assert len(tensors) == 57
    assert above.mean() > 0.9
    full = units(run, set="reworded", kind="full")
    assert full["accuracy"][0] > 0.7


def test_answers_in_other_words_are_found_above_chance_too(run):
    full = units(run, set="paraphrased", kind="full")
    assert full["accuracy_low"][0] > 5 * full["accuracy_chance"][0]
    random = units(run, set="paraphrased", kind="baseline", name="random order")
    assert random["accuracy_low"][0] <= random["accuracy_chance"][0]


def test_few_tensors_say_what_all_say(run):
    found = json.loads((run / "statistics.json").read_text())
    (reworded,) = [
        one
        for one in found["measures"][0]["study"]["sets"]
        if one["name"] == "reworded"
    ]
    goals = {path["goal"]: path for path in reworded["selections"]}
    agreement = [s["reported_on"]["agreement"] for s in goals["agreement"]["steps"]]
    assert agreement[9] > 0.95
    assert agreement[-1] == pytest.approx(1)


@pytest.mark.skipif(
    not (MODEL.exists() and FACTS.exists()),
    reason=f"wants the real model and facts under {DATA}; without them only built-in "
    "models are tried",
)
def test_a_real_model_finds_real_paraphrases_of_facts(tmp_path):
    facts = json.loads(FACTS.read_text())[:60]
    originals, others = [], []
    for fact in facts:
        name, asked = f"f{fact['case_id']}", fact["requested_rewrite"]
        answer = asked["target_true"]["str"]
        prompt = asked["prompt"].format(asked["subject"])
        originals.append(row(name, name, "original", prompt, answer))
        other = fact["paraphrase_prompts"][0]
        others.append(row(f"{name}p", name, "paraphrased", other, answer))
    words = [
        f"--model={MODEL}",
        f"--data={write_rows(tmp_path / 'originals.jsonl', originals)}",
        f"--queries={write_rows(tmp_path / 'paraphrased.jsonl', others)}",
    ]
    run = study(words, tmp_path / "run")
    full = units(run, kind="full")
    assert full["accuracy_low"][0] > 5 * full["accuracy_chance"][0]
    text = (run / "report.txt").read_text()
    assert "60 originals" in text
