"""Unsafe items keep their fields together, whatever is missing or judged out."""

import json

import pytest

from driftmap.core.errors import DataError
from driftmap.load.unsafe_items import read_unsafe_items
from driftmap.results.unsafe_items import SYSTEM, UnsafeItem, split_items


def asks(text, system=None):
    turns = [{"role": "system", "content": system}] if system else []
    return [*turns, {"role": "user", "content": text}]


def written(folder, rows, name="items.json"):
    path = folder / name
    lines = (
        json.dumps(rows)
        if name.endswith(".json")
        else "\n".join(json.dumps(row) for row in rows)
    )
    path.write_text(lines)
    return str(path)


def test_an_item_judged_out_takes_all_its_fields_with_it(tmp_path):
    rows = [
        {
            "all_prompt": asks("w1"),
            "goal": "g1",
            "output": "o1",
            "judge_success_gpt4": 1,
        },
        {"all_prompt": None, "goal": "g2", "output": "o2", "judge_success_gpt4": 0},
        {"all_prompt": asks("w3"), "goal": "g3", "output": "o3"},
        {
            "all_prompt": asks("w4"),
            "goal": "g4",
            "output": "o4",
            "judge_success_gpt4": 1,
        },
    ]
    found = read_unsafe_items(written(tmp_path, rows))
    told = [(i.messages[0].content, i.goal, i.output) for i in found.items]
    assert told == [("w1", "g1", "o1"), ("w4", "g4", "o4")]
    assert [item.id for item in found.items] == ["items:0", "items:3"]
    assert (found.num_read, found.num_judged_out) == (4, 2)


def test_without_any_judgement_all_stay_in_order(tmp_path):
    rows = [{"all_prompt": asks(text), "goal": text} for text in ("b", "a", "c")]
    found = read_unsafe_items(written(tmp_path, rows, "items.jsonl"))
    assert [item.goal for item in found.items] == ["b", "a", "c"]
    assert found.num_judged_out == 0


def test_a_plain_prompt_brings_its_refusal_as_the_response(tmp_path):
    rows = [
        {"prompt": "How to x?", "response": "No."},
        {"prompt": "How to y?", "response": "Sorry."},
    ]
    found = read_unsafe_items(written(tmp_path, rows))
    assert [(i.messages[0].content, i.response, i.goal) for i in found.items] == [
        ("How to x?", "No.", ""),
        ("How to y?", "Sorry.", ""),
    ]


def test_an_answer_at_the_end_of_messages_is_the_refusal(tmp_path):
    turns = [*asks("How to x?"), {"role": "assistant", "content": "No."}]
    (item,) = read_unsafe_items(written(tmp_path, [{"messages": turns}])).items
    assert [m.role for m in item.messages] == ["user"]
    assert item.response == "No."


def test_the_safe_prompt_has_a_system_turn_iff_the_unsafe_one_has(tmp_path):
    rows = [
        {"all_prompt": asks("w", system="be bad"), "goal": "g"},
        {"all_prompt": asks("w"), "goal": "g"},
    ]
    with_system, without = read_unsafe_items(written(tmp_path, rows)).items
    assert [(m.role, m.content) for m in with_system.safe_messages] == [
        ("system", SYSTEM),
        ("user", "g"),
    ]
    assert [m.role for m in without.safe_messages] == ["user"]
    assert without.safely_asked("No.").response == "No."
    assert without.answered("No.").prompt == "w"


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"all_prompt": None, "goal": "g"}, "`all_prompt` is missing"),
        (
            {"all_prompt": [{"role": "system", "content": "s"}]},
            "must be the user's",
        ),
        ({"all_prompt": "  "}, "is empty"),
        ({"all_prompt": asks("w"), "goal": 3}, "goal"),
        ({"all_prompt": asks("w"), "judge_success_gpt4": "maybe"}, "write 1 where"),
        ({"text": "running"}, "is a conversation; name it one of all_prompt"),
        ({"all_prompt": asks("w"), "judge_success_gpt4": 0}, "give items that did"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path, row, text):
    with pytest.raises(DataError, match=text):
        read_unsafe_items(written(tmp_path, [row]))


def test_items_with_one_goal_never_lie_on_both_sides():
    def item(name, goal):
        return UnsafeItem(id=name, messages=(), goal=goal)

    items = (item("a", "g"), item("b", "h"), item("c", "g"), item("d", "i"))
    split = split_items(items, 2)
    assert [one.id for one in split.train] == ["a", "b"]
    assert [one.id for one in split.held_out] == ["d"]
    assert split.num_same_goal == 1
