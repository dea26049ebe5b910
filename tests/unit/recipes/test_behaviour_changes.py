import numpy as np
import pytest

from driftmap.recipes.steps.behaviour import changes as behaviour_module
from driftmap.recipes.steps.behaviour.changes import behaviour_changes
from driftmap.recipes.steps.behaviour.evaluation import PROMPTS
from driftmap.results.table import Table


def reading(seed, step, sample, refused, right=np.nan, name=PROMPTS):
    return {
        "seed": seed, "step": step, "set": name, "sample_id": sample,
        "refused": float(refused), "log_odds": np.nan, "right": right,
    }  # fmt: skip


@pytest.fixture
def readings(monkeypatch):
    held = Table.from_rows(
        [
            *(reading(-1, 0, s, True) for s in "abcd"),
            *(reading(0, 5, s, True) for s in "abcd"),
            *(reading(0, 10, s, s in "ab") for s in "dcba"),
            *(reading(1, 10, s, s == "a") for s in "bacd"),
            reading(-1, 0, "f", False, 1.0, "facts"),
            reading(0, 10, "f", False, 0.0, "facts"),
            reading(1, 10, "f", True, 1.0, "facts"),
        ]
    )
    monkeypatch.setattr(behaviour_module, "load_readings", lambda _: held)


def test_last_step_is_compared_prompt_by_prompt_whatever_the_order(readings):
    refusal, accuracy, refusal_of_facts = behaviour_changes([], seed=0)
    assert (refusal.outcome, refusal.before.estimate) == ("refusal rate", 1.0)
    assert refusal.after.estimate == pytest.approx(3 / 8)
    assert refusal.change.estimate == pytest.approx(-5 / 8)
    assert refusal.change.num == 4
    assert (accuracy.outcome, accuracy.change.estimate) == ("accuracy on facts", -0.5)
    assert refusal_of_facts.change.estimate == 0.5
