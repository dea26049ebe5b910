import errno

import numpy as np
import pytest
import torch

from driftmap.core.errors import DataError, ModelError
from driftmap.core.shortage import explained, is_shortage, smaller_batch


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_every_library_s_lack_of_memory_becomes_one_sentence(error):
    sentence = r"^scoring ran out of memory; do this$"
    with (
        pytest.raises(ModelError, match=sentence) as e,
        explained("scoring", "do this"),
    ):
        raise error
    assert e.value.topic == "memory"


@pytest.mark.parametrize(
    "error", [DataError("out of memory"), RuntimeError("sizes differ"), KeyError("x")]
)
def test_other_errors_pass_through(error):
    assert not is_shortage(error)
    with pytest.raises(type(error)), explained("scoring", "do this"):
        raise error


def test_real_allocations_that_cannot_be_met_are_known():
    for work in (
        lambda: torch.empty(1 << 60),
        lambda: np.zeros(1 << 58),
        lambda: bytearray(1 << 60),
    ):
        with pytest.raises((RuntimeError, MemoryError)) as found:
            work()
        assert is_shortage(found.value), found.value


@pytest.mark.parametrize("batch", range(1, 13))
@pytest.mark.parametrize("accum", [1, 2, 3, 4, 6])
def test_a_smaller_batch_keeps_the_samples_of_a_step(batch, accum):
    found = smaller_batch(batch, accum)
    if batch == 1:
        assert found is None
    else:
        size, times = found
        assert size < batch
        assert size * times == batch * accum


def test_the_batch_of_the_settings_page():
    assert smaller_batch(8, 4) == (4, 8)
