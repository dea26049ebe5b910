import json

import pytest

from driftmap.core.errors import DataError, UsageError
from driftmap.core.lines import Lines
from driftmap.core.progress import listening
from driftmap.load.source import ModelSource
from driftmap.recipes.drift import Drift
from driftmap.recipes.options import EvaluationOptions, ScoringOptions
from driftmap.recipes.steps.rows import Sources, read_study


def sources_of(data, **changes):
    named = {
        "behaviour": str(data["behaviour"]),
        "utility": str(data["utility"]),
        "tune_on": str(data["tune"]),
    }
    return Sources(**(named | changes))


def read(data, *, num_samples=5, **evaluation):
    scoring = ScoringOptions(num_samples=num_samples)
    return read_study(
        sources_of(data), scoring, EvaluationOptions(**evaluation), seed=3
    )


def ids(rows):
    return {sample.id for sample in rows.samples}


def test_what_is_scored_is_not_asked(data):
    found = read(data)
    assert len(found.behaviour.samples) == 5
    assert len(found.learnt.samples) == 12
    assert len(found.to_refuse.samples) == 7
    assert not ids(found.behaviour) & ids(found.to_refuse)
    assert not ids(found.utility) & ids(found.held_out[0])
    assert found.to_refuse.num_shared == found.held_out[0].num_shared == 0
    assert found.held_out[0].name == "utility"


def test_where_scoring_draws_all_the_same_rows_are_asked_and_it_is_said(data):
    said = []
    with listening(Lines(said.append)):
        found = read(data, num_samples=12, num_eval_samples=4)
    assert len(found.to_refuse.samples) == found.to_refuse.num_shared == 4
    assert ids(found.to_refuse) <= ids(found.behaviour)
    assert sum("scoring draws all 12 rows" in line for line in said) == 2


def test_rows_that_the_study_uses_elsewhere_are_counted(data):
    own = read(data, refusal_prompts=str(data["behaviour"]), num_eval_samples=12)
    assert own.to_refuse.num_shared == len(own.behaviour.samples) == 5
    learnt = read(data, held_out=(str(data["tune"]),), num_eval_samples=3)
    assert learnt.held_out[0].num_shared == 3
    with data["utility"].open("a") as file:
        file.write(data["utility"].read_text())
    twice = read(data, num_samples=12)
    scored = {sample.prompt for sample in twice.utility.samples}
    (left,) = twice.held_out
    again = [sample for sample in left.samples if sample.prompt in scored]
    assert left.num_shared == len(again) > 0


def test_prompts_are_compared_without_answer_and_system_text(data):
    data["tune"].write_text(
        json.dumps(
            {
                "messages": [
                    {"role": "system", "content": "be brief"},
                    {"role": "user", "content": "what is 0 plus one"},
                    {"role": "assistant", "content": "another answer"},
                ]
            }
        )
    )
    found = read(data, held_out=(str(data["utility"]),), num_samples=1)
    scored = found.utility.samples[0].prompt
    assert found.held_out[0].num_shared == 2 - (scored == "what is 0 plus one")


def test_what_scoring_leaves_is_drawn_by_the_seed_in_file_order(data):
    drawn = {}
    for seed in range(4):
        options = EvaluationOptions(num_eval_samples=3)
        found = read_study(
            sources_of(data), ScoringOptions(num_samples=1), options, seed
        )
        rows = [int(s.id.rpartition(":")[2]) for s in found.to_refuse.samples]
        assert rows == sorted(rows)
        assert len(rows) == 3
        drawn[seed] = tuple(rows)
    assert len(set(drawn.values())) > 1
    assert max(row for rows in drawn.values() for row in rows) > 3


def test_few_rows_left_are_said(data):
    said = []
    with listening(Lines(said.append)):
        read(data)
    assert sum("scoring leaves 7 rows to evaluate" in line for line in said) == 2
    said.clear()
    with listening(Lines(said.append)):
        read(data, num_eval_samples=4)
    assert not said


def test_sources_are_named_by_their_use(data):
    found = read(data, refusal_prompts=str(data["tune"]))
    assert found.sources() == {
        "behaviour": found.behaviour.sha256,
        "utility": found.utility.sha256,
        "tune_on": found.learnt.sha256,
        "refusal_prompts": found.learnt.sha256,
        "held_out: utility": found.utility.sha256,
    }


def test_own_sources_are_drawn(data):
    found = read(
        data,
        refusal_prompts=str(data["tune"]),
        held_out=(str(data["utility"]), str(data["tune"])),
        num_eval_samples=3,
    )
    assert [rows.name for rows in found.held_out] == ["utility", "tune"]
    assert [len(rows.samples) for rows in found.held_out] == [3, 3]
    assert ids(found.to_refuse) == ids(found.held_out[1])


def test_two_sets_of_one_name_are_refused(data):
    twice = (str(data["utility"]),) * 2
    with pytest.raises(DataError, match="are called 'utility'"):
        read(data, held_out=twice)


def test_a_drift_study_refuses_an_adapter_before_anything_is_read():
    with pytest.raises(UsageError, match="tunes an adapter of its own"):
        Drift(
            source=ModelSource(model="m", adapter="a"),
            behaviour="b",
            utility="u",
            tune_on="t",
        )
