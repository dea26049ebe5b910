"""Facts that the built-in model was taught, traced by the command."""

import pytest

from driftmap.cli.main import main
from driftmap.recipes.steps.known_world import make_knowledge
from driftmap.store.tables import load_table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def traced(organism, tmp_path_factory):
    home = tmp_path_factory.mktemp("traced")
    facts = make_knowledge(0, home)["facts"]
    words = [
        *("--model", organism.aligned, "--facts", facts, "--out", home / "run"),
        *("--window", "1", "--device", "cpu", "--num-facts", "6"),
    ]
    assert main(["trace", *map(str, words)]) == 0
    return home / "run"


def effect(run, role, kind="hidden"):
    """Mean effect by layer."""
    table = load_table(run / "tables/roles.parquet").where(kind=kind, role=role)
    return table["effect"].tolist()


def test_a_fact_is_read_early_at_the_subject_and_late_at_the_end(traced):
    early, late = effect(traced, "last subject"), effect(traced, "last")
    others = [*effect(traced, "first subject"), *effect(traced, "middle subject")]

    # The published pattern, which this corpus was built to produce: order and margins.
    assert max(early[:2]) > 0.2
    assert max(early[:2]) > 2 * max(others)
    assert max(early[-2:]) < 0.1 < min(late[-2:])
    assert late[-1] > late[0] + 0.2
    assert early.index(max(early)) < late.index(max(late))


def test_the_model_knows_what_it_was_taught(traced):
    facts = load_table(traced / "tables/facts.parquet")

    known = facts["known"] == "yes"
    assert known.mean() > 0.8
    assert (facts["answer"] == facts["choice"])[known].all()
    report = (traced / "report.txt").read_text()
    assert "last subject" in report
