import pytest

from driftmap.core.errors import DataError, UsageError
from driftmap.core.lines import Lines
from driftmap.core.progress import listening
from driftmap.load.source import ModelSource
from driftmap.recipes.drift import Drift
from driftmap.recipes.options import EvaluationOptions, ScoringOptions
from driftmap.recipes.steps.rows import read_study


def read(data, *, num_samples=5, **evaluation):
    sources = tuple(str(data[name]) for name in ("behaviour", "utility", "tune"))
    scoring = ScoringOptions(num_samples=num_samples)
    return read_study(sources, scoring, EvaluationOptions(**evaluation), seed=3)


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
