import json

import pytest

from driftmap.core.errors import DataError, UsageError
from driftmap.core.lines import Lines
from driftmap.core.progress import listening
from driftmap.load.source import ModelSource
from driftmap.recipes.drift import Drift
from driftmap.recipes.options import EvaluationOptions, ScoringOptions
from driftmap.recipes.steps.rows import Sources, drawn, read_study


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


class TestReadingOnce:
    def test_a_function_is_called_once_whatever_it_is_for(self, tmp_path):
        file = tmp_path / "mine.py"
        file.write_text(
            "def rows():\n"
            f"    with open({str(tmp_path / 'calls')!r}, 'a') as calls:\n"
            "        calls.write('x')\n"
            "    for n in range(30):\n"
            "        yield {'prompt': f'{n}?', 'response': 'So.'}\n"
        )
        source = f"{file}:rows"
        found = read_study(
            Sources(behaviour=source, utility=source, tune_on=source),
            ScoringOptions(num_samples=5),
            EvaluationOptions(),
            0,
        )
        assert (tmp_path / "calls").read_text() == "x"
        assert found.held_out[0].name == "mine.rows"
        assert set(found.sources().values()) == {found.to_refuse.sha256}
        assert len(set(found.sources())) == 5

    def test_what_there_is_to_say_is_said_once(self, data):
        said = []
        source = str(data["behaviour"])
        with listening(Lines(said.append)):
            read_study(
                Sources(behaviour=source, utility=source, tune_on=source),
                ScoringOptions(num_samples=80),
                EvaluationOptions(refusal_prompts=source),
                0,
            )
        assert said == [
            "behaviour.jsonl: all its 12 rows are taken",
            f"{source}: scoring draws all 12 rows, so the same rows are evaluated; "
            "name others with --refusal-prompts and --held-out",
        ]


class TestColumns:
    def quiz(self, tmp_path):
        file = tmp_path / "quiz.jsonl"
        rows = ({"q": f"what is {n}", "a": "so"} for n in range(12))
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(file)

    def test_sources_of_one_study_may_differ(self, data, tmp_path):
        columns = {"prompt": "q", "response": "a"}
        sources = sources_of(data, utility=self.quiz(tmp_path), columns=columns)
        found = read_study(
            sources, ScoringOptions(num_samples=5), EvaluationOptions(), 0
        )
        assert found.utility is not None
        assert found.utility.samples[0].response == "so"
        assert found.behaviour is not None
        assert found.behaviour.samples[0].response.startswith("I cannot")

    def test_columns_that_no_source_has_are_refused(self, data):
        sources = sources_of(data, columns={"prompt": "q"})
        with pytest.raises(UsageError) as caught:
            read_study(sources, ScoringOptions(), EvaluationOptions(), 0)
        assert str(caught.value).startswith("--columns prompt=q: no column `q` is in ")
        assert all(str(data[name]) in str(caught.value) for name in data)
        with pytest.raises(UsageError, match=r"no column `q` is in .*; there are `"):
            drawn(str(data["utility"]), 3, 0, {"prompt": "q"})

    def test_a_slip_in_one_of_them_is_named(self, tmp_path):
        columns = {"prompt": "q", "response": "anwser"}
        with pytest.raises(UsageError, match="response=anwser: no column `anwser` is"):
            drawn(self.quiz(tmp_path), 3, 0, columns)

    def test_one_source_alone(self, tmp_path):
        columns = {"prompt": "q", "response": "a"}
        assert len(drawn(self.quiz(tmp_path), 3, 0, columns).samples) == 3


class TestWithoutSomeSources:
    def read(self, data, evaluation, **named):
        return read_study(
            Sources(**{name: str(data[key]) for name, key in named.items()}),
            ScoringOptions(num_samples=5),
            EvaluationOptions(**evaluation),
            0,
        )

    def test_what_is_not_named_is_none(self, data):
        asked = {
            "refusal_prompts": str(data["behaviour"]),
            "held_out": (str(data["utility"]),),
        }
        found = self.read(data, asked)
        assert (found.behaviour, found.utility, found.learnt) == (None, None, None)
        assert len(found.to_refuse.samples) == 12
        assert found.sources().keys() == {"refusal_prompts", "held_out: utility"}

    def test_no_rows_are_shared_with_what_is_not_used(self, data):
        asked = {"held_out": (str(data["tune"]),)}
        found = self.read(data, asked, behaviour="behaviour", utility="utility")
        assert found.held_out[0].num_shared == 0
        tuned = self.read(
            data, asked, behaviour="behaviour", utility="utility", tune_on="tune"
        )
        assert tuned.held_out[0].num_shared == 12

    @pytest.mark.parametrize(
        ("asked", "named"),
        [
            ({"refusal_prompts": "behaviour"}, {}),
            ({}, {"utility": "utility"}),
        ],
    )
    def test_nothing_to_ask_is_refused(self, data, asked, named):
        asked = {option: str(data[name]) for option, name in asked.items()}
        with pytest.raises(UsageError, match="nothing says what to ask the model"):
            self.read(data, asked, **named)
