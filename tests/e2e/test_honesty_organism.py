"""What honesty readings say of a model that was taught honest and dishonest lines."""

import json

import pytest

from driftmap.cli.main import main
from driftmap.recipes.steps.known_world import make_knowledge

QUICK = (
    "--num-statements=240",
    "--num-controls=4",
    "--num-units=4",
    "--random-directions=1",
    "--num-facts=32",
)
STRENGTHS = (-4.0, -2.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def result(organism, tmp_path_factory):
    folder = tmp_path_factory.mktemp("honesty")
    files = make_knowledge(0, folder / "cache")
    said = json.loads(files["instructions"].read_text())
    words = [
        "read", "--honesty", f"--model={organism.base}", "--device=cpu",
        f"--statements={files['statements']}", f"--facts={files['facts']}",
        f"--honest={said['honest']}", f"--dishonest={said['dishonest']}",
        "--template=plain", "--left-over=2", "--cuts=last", f"--out={folder / 'run'}",
        *QUICK, *(f"--strengths={one}" for one in STRENGTHS),
    ]  # fmt: skip
    assert main(words) == 0
    return json.loads((folder / "run" / "honesty.json").read_text())


@pytest.mark.slow
def test_the_instruction_is_read_on_statements_that_took_no_part(result):
    band = result["result"]["band"]
    assert band["pair_accuracy"]["low"] > 0.95
    assert band["selectivity"]["low"] > 0.3
    assert band["control_accuracy"]["low"] < 0.5 < band["control_accuracy"]["high"]
    assert band["accuracy"]["estimate"] > 0.95
    assert result["verdict"]["kind"] == "read"


@pytest.mark.slow
def test_truth_is_not(result):
    transfers = {one["name"]: one for one in result["result"]["transfers"]}
    truth = transfers["true_against_false"]["auroc"]
    assert truth["low"] < 0.5 < truth["high"] or truth["high"] < 0.7
    assert transfers["false_statements"]["pair_accuracy"]["estimate"] > 0.95


@pytest.mark.slow
def test_p_true_follows_the_steering(result):
    points = {(p["along"], p["strength"]): p for p in result["result"]["steering"]}

    def read(along, strength, what):
        return points[along, strength][what]["estimate"]

    odds = [read("reading", c, "log_odds") for c in STRENGTHS]
    assert odds == sorted(odds)
    lost = read("reading", 0, "p_true") - read("reading", -4, "p_true")
    blind = read("random", 0, "p_true") - read("random", -4, "p_true")
    assert lost > 0.2
    assert lost > 1.5 * blind


@pytest.mark.slow
def test_some_units_answer_to_the_instruction(result):
    units = result["result"]["units"]
    assert len(units) == 8
    assert all(one["p_adjusted"] < 0.001 for one in units)
    assert all(one["train_effect"] * one["held_out_effect"] > 0 for one in units)
