"""Are sets of places in a matrix joined and told apart as sets are?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftmap.results.positions import common, united, without

SETS = st.sets(st.integers(0, 299))


@pytest.mark.parametrize("num_weights", [300, 10**6])
@given(left=SETS, right=SETS)
def test_positions_behave_as_sets(left, right, num_weights):
    a, b = (np.array(sorted(s), dtype=np.int64) for s in (left, right))
    for made, wanted in (
        (united(a, b, num_weights), left | right),
        (common(a, b, num_weights), left & right),
        (without(a, b, num_weights), left - right),
    ):
        assert made.tolist() == sorted(wanted)
        assert made.dtype == np.int64
