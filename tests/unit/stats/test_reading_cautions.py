"""Each caution has an input that triggers it and one that does not."""

import pytest

from driftmap.stats.reading_cautions import (
    ChangeSizes,
    dora,
    quantised_base,
    rounded_weights,
    whole_matrices,
)

SIZES = ChangeSizes(zero_share=0.812, mean_change=2e-4, mean_weight=0.02)


def test_weights_saved_in_16_bits_block_the_verdict():
    assert rounded_weights((), SIZES) is None
    found = rounded_weights(("bfloat16",), SIZES)
    assert found.is_blocking
    assert found.value == 0.812
    assert found.name == "rounded-weights"
    assert found.sentence == (
        "Drift is read from weights saved in bfloat16, where a change below half a "
        "spacing vanishes: 3.9e-05 at the mean |W0| of 0.02. Of the changes 81.2% are "
        "exactly zero, and the others are 0.0002 in the mean. Large weights lose "
        "most, so ratios compare sizes of weights. Read drift from the adapter, or "
        "from checkpoints saved in float32."
    )
    both = rounded_weights(("bfloat16", "float16"), SIZES)
    assert "saved in bfloat16 and float16" in both.sentence
    assert "4.9e-06 at the mean" in rounded_weights(("float16",), SIZES).sentence


@pytest.mark.parametrize(
    ("num_whole", "name"), [(14, "whole-models"), (2, "whole-matrices")]
)
def test_saved_matrices_are_told_apart_from_factors(num_whole, name):
    assert whole_matrices(0, 14) is None
    found = whole_matrices(num_whole, 14)
    assert found.name == name
    assert not found.is_blocking
    assert found.sentence.startswith(
        f"{num_whole} of 14 tuned matrices were saved whole"
    )


@pytest.mark.parametrize(
    ("num_open", "dtype", "is_blocking", "words"),
    [
        (0, "bfloat16", False, ""),
        (3, "float32", False, "up to 6e-08 of each weight"),
        (3, "bfloat16", True, "up to 0.002 of each weight, counts as drift"),
    ],
)
def test_dora_says_what_its_change_is_taken_from(num_open, dtype, is_blocking, words):
    assert dora(0, 14, 0, dtype) is None
    found = dora(7, 14, num_open, dtype)
    assert found.sentence.startswith("7 of 14 tuned matrices have DoRA")
    assert f"as it is loaded ({dtype})" in found.sentence
    assert words in found.sentence
    assert ("checkpoint-0" in found.sentence) == bool(num_open)
    assert found.is_blocking == is_blocking


def test_a_quantised_base_is_named():
    assert quantised_base("") is None
    found = quantised_base("nf4")
    assert "rounded to 4 bits (nf4). Absolute change comes from the adapter's" in (
        found.sentence
    )
    assert not found.is_blocking
