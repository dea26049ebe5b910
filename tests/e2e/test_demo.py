"""Does the demo keep its promise: minutes on one core, and an answer one can read?"""

import json
import math
import time
from typing import get_args

import pytest

from driftmap.recipes.demo import Demo
from driftmap.results.statistics import VerdictKind

MOST_CPU_SECONDS = 240

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(organism, tmp_path_factory):
    """The run folder and the processor time that the study took."""
    out = tmp_path_factory.mktemp("demo") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTMAP_CACHE", str(organism.folder.parent))
        begin = time.process_time()
        report = Demo(out=out).run()
        seconds = time.process_time() - begin
    assert report == out / "report.html"
    return out, seconds


@pytest.fixture
def statistics(demo):
    return json.loads((demo[0] / "statistics.json").read_text())


def test_it_takes_minutes_of_one_core(demo):
    assert demo[1] <= MOST_CPU_SECONDS


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
    out, _ = demo
    assert "</html>" in (out / "report.html").read_text()
    assert (out / "report.txt").read_text().strip()
