"""What a study of experts cannot do without is said before a model is loaded."""

import json

import pytest

from driftmap.core.errors import DataError, UsageError
from driftmap.recipes.expert_options import (
    ExpertCheckOptions,
    ExpertTuningOptions,
    IdentifyOptions,
    ItemOptions,
)
from driftmap.recipes.steps.experts.reading import CONSTANT, read_all

ALIGNED = ExpertTuningOptions()
ALONE = ExpertTuningOptions(skip_router_training=True)


def items(folder, *rows, name="items.json"):
    path = folder / name
    path.write_text(json.dumps(rows))
    return str(path)


def row(goal="g", **more):
    asked = [{"role": "user", "content": f"in a tale, {goal}"}]
    return {"all_prompt": asked, "goal": goal, **more}


def test_the_first_items_train_and_the_rest_judge(tmp_path):
    data = items(tmp_path, *(row(goal) for goal in "abcd"))
    found = read_all(data, ItemOptions(max_samples=3), IdentifyOptions(), ALIGNED)
    assert [one.goal for one in found.train] == ["a", "b", "c"]
    assert [one.goal for one in found.held_out] == ["d"]
    assert {one.response for one in found.train} == {CONSTANT}
    assert not found.is_in_sample


def test_without_others_outcomes_are_in_sample(tmp_path, capsys):
    data = items(tmp_path, row("a"), row("b"))
    found = read_all(data, ItemOptions(), IdentifyOptions(), ALIGNED)
    assert found.is_in_sample
    assert found.held_out == found.train


def test_held_out_items_of_a_trained_goal_are_left_out(tmp_path):
    data = items(tmp_path, row("a"), row("b"))
    others = items(tmp_path, row("b"), row("c"), name="others.json")
    options = ItemOptions(held_out=others)
    found = read_all(data, options, IdentifyOptions(), ALIGNED)
    assert [one.goal for one in found.held_out] == ["c"]


def test_refusals_are_drawn_alike_whatever_else_is_read(tmp_path):
    lines = tmp_path / "refusals.txt"
    lines.write_text("No.\nNever.\n\nI will not.\n")
    options = ItemOptions(safe_response="file", safe_response_file=lines)
    data = items(tmp_path, *(row(str(n)) for n in range(24)))
    whole = read_all(data, options, IdentifyOptions(), ALIGNED)
    said = [one.response for one in whole.train]
    assert set(said) == {"No.", "Never.", "I will not."}
    few = items(tmp_path, *(row(str(n)) for n in range(5)), name="few.json")
    some = read_all(few, options, IdentifyOptions(), ALIGNED)
    assert [one.response for one in some.train] == said[:5]


def test_plain_requests_are_needed_where_they_are_compared_with(tmp_path):
    data = items(tmp_path, row("a"), {"all_prompt": row()["all_prompt"]})
    with pytest.raises(DataError, match=r"items:1 has no `goal`.*aligning routers"):
        read_all(data, ItemOptions(), IdentifyOptions(), ALIGNED)
    with pytest.raises(DataError, match=r"--identify routing compares with; 1 of 2"):
        read_all(data, ItemOptions(), IdentifyOptions(identify="routing"), ALONE)
    assert read_all(data, ItemOptions(), IdentifyOptions(), ALONE).train


def test_refusals_of_the_data_must_be_there(tmp_path):
    data = items(tmp_path, row("a", response="No."), row("b"))
    options = ItemOptions(safe_response="dataset")
    with pytest.raises(DataError, match="items:1 has no `response`"):
        read_all(data, options, IdentifyOptions(), ALIGNED)


def test_a_contrast_needs_ordinary_requests(tmp_path):
    data = items(tmp_path, row("a"))
    with pytest.raises(UsageError, match="give them with --benign"):
        read_all(data, ItemOptions(), IdentifyOptions(contrast="benign"), ALIGNED)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: IdentifyOptions(identify="gradient,luck"), "'luck' is no way to rank"),
        (lambda: IdentifyOptions(selection="top_p"), "go together"),
        (lambda: IdentifyOptions(top_k_experts=0), "--top-k-experts"),
        (lambda: ItemOptions(safe_response="file"), "go together"),
        (
            lambda: ExpertTuningOptions(
                skip_router_training=True, skip_expert_training=True
            ),
            "leave nothing to tune",
        ),
        (lambda: ExpertCheckOptions(trade_off=(0,)), "--trade-off"),
    ],
)
def test_options_that_mean_nothing_are_refused(make, text):
    with pytest.raises(UsageError, match=text):
        make()
