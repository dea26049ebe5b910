import numpy as np
import pytest

from driftmap.core.places import TensorPlace
from driftmap.measure.pooled import pooled_products
from driftmap.results.pair_products import NONE

PLACES = (TensorPlace(name="a", part="block"), TensorPlace(name="b", part="block"))


def vectors(number, seed):
    rng = np.random.default_rng(seed)
    return {
        place: (rng.normal(size=(number, width)) + 3).astype(np.float32)
        for place, width in zip(PLACES, (4, 7), strict=True)
    }


@pytest.mark.parametrize("center", [False, True])
def test_products_are_those_of_a_loop(center):
    ours, theirs = vectors(2, 0), vectors(3, 1)
    candidates = np.array([[2, 0], [1, NONE]])
    found = pooled_products(
        (("q", "r"), ours), (tuple("xyz"), theirs), candidates, center=center
    )
    for column, place in enumerate(PLACES):
        mean = theirs[place].astype(float).mean(0) if center else 0
        for query, row in enumerate(candidates):
            for slot, original in enumerate(row):
                wanted = 0.0
                if original != NONE:
                    q = ours[place][query].astype(float) - mean
                    wanted = q @ (theirs[place][original].astype(float) - mean)
                assert found.dot[query, slot, column] == pytest.approx(wanted)
    assert found.original_energy.shape == (3, 2)


def test_a_vector_is_equal_to_itself():
    same = vectors(3, 0)
    candidates = np.tile(np.arange(3), (3, 1))
    ids = tuple("xyz")
    found = pooled_products((ids, same), (ids, same), candidates, center=True)
    np.testing.assert_allclose(np.diag(found.cosine()), 1, atol=1e-12)
    assert np.abs(found.cosine()[0, 1]) < 0.9
