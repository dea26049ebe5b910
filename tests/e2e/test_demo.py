"""Does the demo end in an answer one can read?"""

import json
import math
from typing import get_args

import pytest

from driftmap.cli.main import main
from driftmap.results.statistics import VerdictKind

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(organism, tmp_path_factory):
    """The run folder of one question, as the command leaves it."""
    out = tmp_path_factory.mktemp("demo") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTMAP_CACHE", str(organism.folder.parent))
        assert main(["demo", "--question", "drift", "--out", str(out)]) == 0
    assert "There is no report yet of" in (out / "report.txt").read_text()
    return out / "drift"


@pytest.fixture
def statistics(demo):
    return json.loads((demo / "statistics.json").read_text())


def test_refusal_wears_off_and_ability_stays(statistics):
    refusal, *others = statistics["behaviours"]
    assert refusal["outcome"] == "refusal rate"
    assert refusal["before"]["estimate"] >= 0.9
    assert refusal["change"]["estimate"] <= -0.2
    kept = [b for b in others if b["outcome"].startswith("accuracy")]
    assert len(kept) == 2
    for behaviour in kept:
        assert behaviour["before"]["estimate"] >= 0.95
        assert behaviour["after"]["estimate"] >= 0.95


def test_it_ends_in_a_verdict_and_a_ratio(statistics):
    assert statistics["verdict"]["kind"] in get_args(VerdictKind)
    (declared,) = [r for r in statistics["ratios"] if r["is_primary"]]
    assert len(declared["thetas"]) == 3
    assert all(map(math.isfinite, declared["thetas"]))
    assert math.isfinite(math.log(declared["rho"]))


def test_the_report_stands_beside_it(demo):
    assert "</html>" in (demo / "report.html").read_text()
    assert (demo / "report.txt").read_text().strip()
