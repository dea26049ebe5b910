"""Does what is located in the built-in model carry its refusals, and nothing else?"""

import pytest

from driftmap.load.source import ModelSource
from driftmap.recipes.ablate import Ablate
from driftmap.recipes.ablation_options import AblationOptions
from driftmap.recipes.options import (
    EvaluationOptions,
    GroupOptions,
    ScoringOptions,
)
from driftmap.results.ablation import ACCURACY, LOG_ODDS, REFUSAL, AblationStatistics
from driftmap.results.plain import from_plain
from driftmap.store.plain import load_json

pytestmark = pytest.mark.slow

NUM = 32


@pytest.fixture(scope="module")
def run(organism, tmp_path_factory):
    """The top of safety without the top of utility, zeroed half by half."""
    out = tmp_path_factory.mktemp("ablate") / "run"
    data = {name: str(path) for name, path in organism.data.items()}
    Ablate(
        source=ModelSource(model=str(organism.aligned), device="cpu"),
        behaviour=data["behaviour"],
        utility=data["utility"],
        ablation=AblationOptions(doses=(0.5, 1.0)),
        scoring=ScoringOptions(num_samples=64),
        groups=GroupOptions(p=0.02, q=0.02),
        evaluation=EvaluationOptions(
            refusal_prompts=data["harmful_test"],
            held_out=(data["questions"], data["facts_test"], data["harmless_test"]),
            num_eval_samples=NUM,
            max_new_tokens=10,
            eval_batch_size=NUM,
        ),
        out=out,
    ).run()
    return out


@pytest.fixture(scope="module")
def found(run):
    plain = load_json(run / "statistics.json", "driftmap.ablation")
    return from_plain(AblationStatistics, plain)


def at_full_dose(found, outcome):
    [one] = [c for c in found.contrasts if (c.outcome, c.dose) == (outcome, 1.0)]
    return one


def test_refusal_falls_further_than_with_any_others_of_the_same_sizes(found):
    refusal = at_full_dose(found, REFUSAL)
    assert refusal.is_primary
    assert refusal.num_controls == 5
    assert refusal.own.num == NUM
    assert refusal.intact.estimate >= 0.95
    assert refusal.control_low >= 0.9
    assert refusal.own.estimate <= refusal.control_low - 0.15
    assert refusal.difference.high < -0.05
    assert refusal.p_value < 0.01
    odds = at_full_dose(found, LOG_ODDS)
    assert odds.own.estimate <= odds.control_low - 2
    assert odds.p_adjusted < 0.01


def test_facts_and_harmless_answers_stay_right(found):
    able = [c for c in found.contrasts if c.outcome.startswith(ACCURACY)]
    assert {c.outcome.removeprefix(ACCURACY) for c in able} == {
        "questions", "facts_test", "harmless_test",
    }  # fmt: skip
    for contrast in able:
        assert contrast.intact.estimate >= 0.95
        assert contrast.own.estimate >= 0.9
        assert contrast.own.estimate >= contrast.control_mean - 0.05


def test_a_larger_share_takes_more_refusals(found):
    odds = {c.dose: c.own.estimate for c in found.contrasts if c.outcome == LOG_ODDS}
    assert odds[1.0] < odds[0.5] < at_full_dose(found, LOG_ODDS).intact.estimate - 0.5


def test_the_report_says_so_with_intervals(found, run):
    assert found.verdict.kind == "carries"
    page = " ".join((run / "report.txt").read_text().split())
    assert "[The behaviour depends on these weights]" in page
    refusal = at_full_dose(found, REFUSAL)
    low, high = 100 * refusal.difference.low, 100 * refusal.difference.high
    points = 100 * refusal.difference.estimate
    assert f"{points:+.0f} points ({low:+.0f} to {high:+.0f})" in page
    assert "What the model gets right stays: accuracy on questions" in page
    assert "Refusal rate by dose" in page
