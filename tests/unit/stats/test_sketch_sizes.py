import numpy as np
import pytest

from driftmap.core.errors import MeasureError
from driftmap.core.places import TensorPlace
from driftmap.results.sketches import SketchSettings
from driftmap.stats.sketch_sizes import (
    legacy_weights,
    num_numbers,
    projection_weights,
)

# The tensors of the 1.18 B model that the sizes were published for.
MODEL = {
    "embed": 50304 * 2048,
    "q": 2048 * 2048,
    "up": 8192 * 2048,
}


def places(**weights):
    return [
        TensorPlace(name=name, part="q", num_weights=num)
        for name, num in weights.items()
    ]


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_legacy_sizes_are_the_published_formula(share):
    tensors = places(**MODEL, tiny=10)
    everything = sum(MODEL.values()) + 10
    total = 512 * int(np.round(share * everything / 512))
    expected = [
        max(512, 512 * int(np.round(total * weights / everything / 512)))
        for weights in [*MODEL.values(), 10]
    ]
    assert legacy_weights(tensors, share).tolist() == expected


def test_half_a_block_goes_to_the_even_number():
    # Of 10 blocks one tensor is due half of one, the next two and a half.
    tensors = places(a=25_600, b=128_000, c=358_400)
    assert legacy_weights(tensors, 0.01).tolist() == [512, 2 * 512, 7 * 512]


def test_slices_of_a_fused_tensor_share_its_size():
    whole = legacy_weights(places(qkv=300_000, up=700_000), 0.05)
    slices = legacy_weights(
        [
            TensorPlace(name="qkv#q", part="q", num_weights=100_000),
            TensorPlace(name="qkv#k", part="k", num_weights=200_000),
            *places(up=700_000),
        ],
        0.05,
    )
    assert slices.tolist() == [whole[0], whole[0], whole[1]]


def test_only_legacy_weighs_tensors():
    tensors = places(**MODEL)
    assert projection_weights(tensors, SketchSettings()).tolist() == [1, 1, 1]
    legacy = SketchSettings(kind="legacy", share=0.05)
    weights = projection_weights(tensors, legacy)
    assert weights.tolist() == legacy_weights(tensors, 0.05).tolist()
    assert num_numbers(tensors, legacy) == tuple(weights.astype(int))


def test_no_tensor_keeps_more_numbers_than_it_has_weights():
    tensors = places(a=63, b=64, c=65)
    assert num_numbers(tensors, SketchSettings(size=64)) == (63, 64, 64)


def test_a_tensor_of_unknown_size_is_refused():
    with pytest.raises(MeasureError, match=r"h\.0: its number of weights is not known"):
        legacy_weights([TensorPlace(name="h.0", part="q")], 0.01)
