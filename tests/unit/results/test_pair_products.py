import numpy as np
import pytest

from driftmap.core.places import TensorPlace
from driftmap.results.pair_products import NONE, PairProducts


def test_a_cosine_of_several_tensors_is_that_of_their_joined_gradients():
    rng = np.random.default_rng(0)
    asked, found = rng.normal(size=(2, 3, 5)), rng.normal(size=(4, 3, 5))
    candidates = np.array([[3, 0], [1, NONE]])
    dot = np.einsum("qti,qcti->qct", asked, found[candidates])
    dot[1, 1] = 0
    products = PairProducts(
        queries=("a", "b"),
        originals=tuple("wxyz"),
        candidates=candidates,
        tensors=tuple(TensorPlace(name=n, part="q") for n in "rst"),
        dot=dot,
        query_energy=np.square(asked).sum(-1),
        original_energy=np.square(found).sum(-1),
    )

    def cosine(one, other):
        one, other = one.ravel(), other.ravel()
        return one @ other / np.linalg.norm(one) / np.linalg.norm(other)

    joined = products.cosine([0, 2])
    assert joined[0, 1] == pytest.approx(cosine(asked[0, [0, 2]], found[0, [0, 2]]))
    root = np.sqrt([1.0, 4.0, 9.0])[:, None]
    weighted = products.cosine(weights=np.array([1.0, 4.0, 9.0]))
    assert weighted[0, 0] == pytest.approx(cosine(asked[0] * root, found[3] * root))
    assert np.isnan(joined[1, 1])


def test_what_has_no_direction_has_no_cosine():
    products = PairProducts(
        queries=("a",),
        originals=("x",),
        candidates=np.array([[0]]),
        tensors=(TensorPlace(name="t", part="k"),),
        dot=np.zeros((1, 1, 1)),
        query_energy=np.zeros((1, 1)),
        original_energy=np.ones((1, 1)),
    )
    assert np.isnan(products.cosine()).all()
