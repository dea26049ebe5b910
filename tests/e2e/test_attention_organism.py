"""On the built-in model, do rows and cut edges tell of its facts as they should?"""

import json

import numpy as np
import pytest

from driftmap.cli.main import main
from driftmap.recipes.steps import pages
from driftmap.recipes.steps.known_world import make_knowledge
from driftmap.results.attention_study import AttentionEffects, AttentionFindings
from driftmap.store.arrays_apart import load_apart

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(organism, tmp_path_factory):
    folder = tmp_path_factory.mktemp("attention")
    facts = json.loads(make_knowledge(0, folder / "cache")["facts"].read_text())[:64:8]
    (folder / "facts.json").write_text(json.dumps(facts))
    words = [
        "attention", "--model", str(organism.aligned), "--device", "cpu",
        "--facts", str(folder / "facts.json"), "--wordings", "all",
        "--num-draws", "2", "--num-effects", "32", "--show", "2",
        "--out", str(folder / "run"),
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "save_pictures", lambda figures, folder: None)
        assert main(words) == 0
    return folder / "run"


def test_the_model_knows_the_facts_and_needs_its_look_at_the_subject(run):
    found = load_apart(run, "findings", AttentionFindings, "attention-findings")
    assert found.num_known > 0.9 * found.num_read
    query = found.queries[0]
    lost = {s.third: s.value for s in query.thirds if s.criterion == "loss"}
    assert lost["early"].estimate > 0.3
    assert abs(lost["late"].estimate) < 0.1, "its last layers read no subject any more"
    assert lost["early"].num >= 24
    mass = {s.third: s.value for s in query.thirds if s.criterion == "subject mass"}
    assert mass["early"].low > mass["late"].high
    own = {s.third: s.value for s in query.thirds if s.criterion == "agreement"}
    assert own["middle"].estimate > own["late"].estimate


def test_cutting_the_subject_everywhere_costs_more_than_in_any_window(run):
    found = load_apart(run, "effects", AttentionEffects, "attention-effects")
    by_layer = np.stack([one.by_layer for one in found.knock_outs])
    assert by_layer.shape[1] == 6
    assert np.isfinite(by_layer).all()
    early = np.array([one.by_third[0] for one in found.knock_outs])
    assert early.mean() < by_layer.mean(axis=0).max()
    strong = [one for one in found.traced if one.total_effect > 0.05]
    assert len(strong) > 0.8 * len(found.traced)
