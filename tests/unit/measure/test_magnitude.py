"""Are scores without samples what they say, and the same in any order?"""

import numpy as np
import torch

from driftmap.core.places import Site
from driftmap.measure.magnitude import chance, difference, magnitude

Q = Site(path="q", layer=0, part="q", num_rows=2, num_columns=2)
K = Site(path="k", layer=0, part="k", num_rows=300, num_columns=40)
W = torch.tensor([[1.0, -2.0], [0.0, 0.5]])


def test_golden_magnitude_and_difference():
    assert magnitude(Q, lambda _: W).tolist() == [[1.0, 2.0], [0.0, 0.5]]
    base = torch.tensor([[0.0, -2.0], [1.0, 1.0]])
    found = difference(Q, lambda _: W, lambda _: base)
    assert found.tolist() == [[1.0, 0.0], [1.0, 0.5]]


def test_the_weights_stay_as_they_are():
    kept = W.clone()
    magnitude(Q, lambda _: W).zero_()
    difference(Q, lambda _: W, lambda _: W).fill_(7)
    assert torch.equal(W, kept)


def test_narrow_weights_are_subtracted_in_float32():
    wide = torch.tensor([[1.0, 1.0078125]], dtype=torch.bfloat16)
    one_row = Site(path="r", layer=0, part="q", num_rows=1, num_columns=2)
    base = torch.full((1, 2), 0.00390625)
    found = difference(one_row, lambda _: wide, lambda _: base)
    assert found.tolist() == [[0.99609375, 1.00390625]]


def test_chance_depends_on_seed_and_path_and_not_on_visits():
    first = chance(K, 3)
    chance(Q, 3)
    assert torch.equal(chance(K, 3), first)
    assert not torch.equal(chance(K, 4), first)
    other = Site(path="other", layer=0, part="k", num_rows=300, num_columns=40)
    assert not torch.equal(chance(other, 3), first)


def test_chance_is_uniform():
    values = np.sort(chance(K, 0).numpy().reshape(-1))
    expected = (np.arange(values.size) + 0.5) / values.size
    assert values.min() >= 0
    assert values.max() < 1
    # 1.63 is the 1 % point of the Kolmogorov-Smirnov statistic.
    assert np.abs(values - expected).max() * values.size**0.5 < 1.63
