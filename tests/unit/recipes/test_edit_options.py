"""What is taught and tuned when little is said, and what is refused?"""

import pytest

from driftmap.core.errors import UsageError
from driftmap.core.places import RowBlocks, Site
from driftmap.families.spec import ModelLayout
from driftmap.recipes.edit_options import EditTuningOptions, TaughtOptions, preset
from driftmap.recipes.steps.editing.planning import planned, usual_parts

FUSED = ("q", "k", "v")


def site(layer, part, path, split=None):
    return Site(
        path=f"b.{layer}.{path}",
        layer=layer,
        part=part,
        num_rows=4,
        num_columns=4,
        split=split,
    )


def layout(sites):
    return ModelLayout(
        family="made",
        blocks=("b.0", "b.1"),
        sites=tuple(sites),
        norms=(),
        embedding="e",
        head=None,
        tied=True,
        uncovered=(),
    )


PLAIN = layout(
    site(n, part, part) for n in (0, 1) for part in ("q", "k", "v", "o", "up", "down")
)


def test_the_preset_is_the_published_run():
    taught, tuning = preset(
        "counterfact100", TaughtOptions(facts="f"), EditTuningOptions()
    )
    assert (taught.num_facts, taught.pick) == (100, "first")
    assert (taught.prompts, taught.num_prompts) == ("generation", 3)
    assert (taught.loss, taught.repeats) == ("all", "keep")
    settings = tuning.settings("lora", num_rows=300, parts=tuning.lora_parts)
    assert (settings.lora_r, settings.lora_alpha, settings.lora_dropout) == (
        8,
        32,
        0.05,
    )
    assert settings.lora_parts == ("q", "v")
    assert settings.learning_rate == 1e-4
    assert settings.max_steps == 10 * 300 / 4
    assert preset("counterfact100", taught, tuning) == (taught, tuning)


def test_what_is_said_takes_the_place_of_the_preset():
    given = TaughtOptions(facts="f", prompts="paraphrase", num_facts=7)
    steps = EditTuningOptions(max_steps=3)
    taught, tuning = preset("counterfact100", given, steps)
    assert (taught.prompts, taught.num_facts) == ("paraphrase", 7)
    assert tuning.settings("lora", num_rows=300).max_steps == 3
    assert preset("none", given, steps) == (given, steps)


@pytest.mark.parametrize(
    ("num_rows", "steps"), [(1, 60), (8, 60), (48, 60), (80, 100), (81, 110)]
)
def test_training_takes_sixty_steps_or_ten_passes(num_rows, steps):
    assert EditTuningOptions().settings("lora", num_rows).max_steps == steps


def test_every_weight_is_tuned_more_gently_than_an_adapter():
    options = EditTuningOptions(tune=("lora", "full"))
    rates = {k: options.settings(k, 8).learning_rate for k in options.kinds}
    assert rates["full"] < rates["lora"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tune": ("lora", "dora")}, "--tune: 'dora' is no kind of tuning; known are"),
        ({"layers": "1", "layer_sets": "0;1"}, "give one of them"),
        (
            {"layers": "a"},
            "--layers a: 'a' is no block; give numbers, as in 3,4 or 0-2",
        ),
        ({"layers": "3-1"}, "'3-1' is no block"),
        ({"layer_sets": " ; "}, "--layer-sets names no set"),
        ({"max_steps": 3, "num_epochs": 2}, "both say how long to train"),
        ({"num_epochs": 0}, "--num-epochs is 0; give at least 1"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"lora_dropout": 1.0}, "--lora-dropout is 1.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given, words):
    with pytest.raises(UsageError) as refused:
        EditTuningOptions(**given)
    assert words in str(refused.value)


def test_one_model_is_planned_for_each_way_and_set_of_blocks():
    options = EditTuningOptions(tune=("lora", "full"), layer_sets="all;1")
    arms = planned(options, PLAIN, num_rows=8)
    assert [arm.name for arm in arms] == [
        "lora", "lora-layers-1", "full", "full-layers-1",
    ]  # fmt: skip
    lora, narrow, full, block = arms
    assert {one.part for one in lora.sites} == {"q", "v", "down"}
    assert {one.layer for one in narrow.sites} == {1}
    assert narrow.within == full.within == ()
    assert block.within == ("b.1",)


def test_a_block_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="block 2 is to be tuned, and the model has"):
        planned(EditTuningOptions(layers="1,2"), PLAIN, num_rows=1)


def test_what_lies_in_one_matrix_is_tuned_with_it():
    blocks = [RowBlocks(start=4 * n, length=4, stride=4, count=1) for n in range(3)]
    fused = [
        site(0, part, "qkv", split) for part, split in zip(FUSED, blocks, strict=True)
    ]
    assert usual_parts([*fused, site(0, "up", "up")]) == FUSED
    assert usual_parts([site(0, "up", "up")]) == ()
