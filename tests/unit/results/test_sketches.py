import numpy as np
import pytest

from driftmap.core.errors import UsageError
from driftmap.core.places import TensorPlace
from driftmap.results.sketches import SketchedSamples, SketchSettings


def test_a_row_as_long_as_its_tensor_is_the_gradient_itself():
    samples = SketchedSamples(
        sample_ids=("a",),
        tensors=(
            TensorPlace(name="norm", part="norm", num_weights=3),
            TensorPlace(name="q", part="q", num_weights=9),
        ),
        rows=(np.ones((1, 3), np.float32), np.ones((1, 4), np.float32)),
        energies=np.ones((1, 2)),
        settings=SketchSettings(size=4),
    )
    assert [samples.is_exact(0), samples.is_exact(1)] == [True, False]
    assert samples.num_numbers == (3, 4)


def test_settings_that_make_no_sketch_are_refused():
    with pytest.raises(UsageError, match="power of two from 4 to 16384, not 1000"):
        SketchSettings(size=1000)
    with pytest.raises(UsageError, match="power of two from 4 to 16384, not 32768"):
        SketchSettings(size=2**15)
    with pytest.raises(UsageError, match="lies between 0 and 1, not at 5"):
        SketchSettings(kind="legacy", share=5)
