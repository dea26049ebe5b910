"""A planted change is found where it is: by drift, by exchange and by cross trace."""

import json

import pytest

from driftmap.cli.main import main
from driftmap.load.facts import read_facts
from driftmap.recipes.steps import pages
from driftmap.recipes.steps.comparing.reporting import read_study
from driftmap.recipes.steps.known_world import make_knowledge
from driftmap.store.run_dir import RunDir
from planted_edit import plant_edit

pytestmark = pytest.mark.slow

LAYER = 2
STEPS = (4, 12, 24)


@pytest.fixture(scope="module")
def study(organism, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    known = json.loads(make_knowledge(0)["facts"].read_text())
    by_subject = {f["subject"]: f for f in known if f["relation"] == "city"}
    (folder / "facts.json").write_text(json.dumps(list(by_subject.values())[:6]))
    facts = read_facts(str(folder / "facts.json")).facts
    plant_edit(
        organism.aligned, facts, LAYER, folder / "tuned", steps=24, save_at=STEPS
    )
    parts = ("weights", "behaviour", "where", "training")
    words = [
        "compare", str(organism.aligned), str(folder / "tuned"), "--device=cpu",
        f"--facts={folder / 'facts.json'}", f"--out={folder / 'run'}",
        "--num-traced=6", "--num-draws=1", "--num-requests=4", "--num-texts=6",
        "--max-new-tokens=4", *(f"--only={part}" for part in parts),
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "save_pictures", lambda figures, folder: None)
        assert main(words) == 0
    with RunDir.reopen(folder / "run") as run:
        return read_study(run)


def claims_of(study, topic):
    return [one for one in study.claims if one.topic == topic]


def test_drift_is_in_the_planted_layer_alone(study):
    moved = {(c.layer, c.part) for c in study.weights.cells if c.num_moved}
    assert moved == {(LAYER, part) for part in ("gate", "up", "down")}
    assert any(claim.layers == (LAYER,) for claim in claims_of(study, "weights"))


def test_the_planted_layer_is_needed_and_enough(study):
    layers = {s.layers: s for s in study.where.swaps if s.kind == "layer"}
    for (layer,), swap in layers.items():
        expected = 1.0 if layer == LAYER else 0.0
        assert swap.needed.estimate == pytest.approx(expected, abs=1e-3)
        assert swap.enough.estimate == pytest.approx(expected, abs=1e-3)


def test_the_cross_trace_enters_at_the_planted_layer(study):
    entering = [c for c in claims_of(study, "where") if "'s run" in c.says]
    assert entering
    assert all(claim.layers[0] == LAYER for claim in entering)
    assert f"from layer {LAYER} on" in entering[0].says


def test_all_of_it_meets_in_the_answer(study):
    says = " ".join(s for part in study.verdict.parts for s in part.says)
    assert f"What moved and what acts meet: layer {LAYER} is named by both." in says
    assert study.verdict.headline.startswith("The tuned model does otherwise")


def test_what_was_taught_is_followed_over_training(study):
    courses = {one.quantity: one for one in study.training.courses}
    taught = courses["foil nll"]
    assert taught.is_settled
    assert taught.change.high < -3
    assert 0 < taught.half.estimate < STEPS[-1]
    efficacy = courses["foil first"].levels
    assert [efficacy[0].value.estimate, efficacy[-1].value.estimate] == [0, 1]
    drift = study.training.readings.drift
    assert (drift[:, [n for n in range(6) if n != LAYER]] == 0).all()
    assert (drift[1:, LAYER] > 0).all()
