"""Two processes tune as one does: the same data, losses, checkpoints and states."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import rank_work

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]

# The loss of a step is a sum over its batches. Two processes with one batch each add
# the same two numbers as one process does, and addition of two has one result.
EQUAL_BITS = [case for case in rank_work.CASES if case != "accumulated"]

# With four batches a step, one process adds ((a + b) + c) + d and two add
# (a + c) + (b + d): gradients differ by a few units in the last place of float32, which
# AdamW's division by their root mean square carries on where they are small.
ROUNDED = 1e-4


def in_two_processes(folder, *cases, **environment):
    """Run cases in two processes on the CPU, started as users start them."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2",
        "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0",
        str(REPOSITORY / "tests" / "rank_work.py"), str(folder), *cases,
    ]  # fmt: skip
    paths = [str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")]
    told = subprocess.run(
        command,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert told.returncode == 0, told.stderr[-4000:]


def tensors_of(folder):
    """All that a run has left, by file and name."""
    return {
        (path.relative_to(folder).as_posix(), name): tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def relative_difference(one, two):
    """Largest difference of any tensor, in units of its largest entry."""
    assert one.keys() == two.keys()
    assert len(one) > 10
    differences = [
        (one[key].double() - two[key].double()).abs().max()
        / one[key].double().abs().max().clamp(min=1e-30)
        for key in one
    ]
    return max(float(difference) for difference in differences)


@pytest.fixture(scope="module")
def data_parallel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    in_two_processes(folder, *rank_work.CASES)
    return folder


@pytest.mark.parametrize("case", EQUAL_BITS)
def test_two_processes_give_the_bits_of_one(data_parallel, tmp_path, case):
    if case == "qlora":
        pytest.importorskip("bitsandbytes")
    rank_work.tuned(tmp_path, case)
    one, two = tensors_of(tmp_path / case), tensors_of(data_parallel / case)
    assert one.keys() == two.keys()
    assert len(one) > 10
    assert [key for key in one if not torch.equal(one[key], two[key])] == []


def test_more_batches_a_step_differ_by_rounding_alone(data_parallel, tmp_path):
    rank_work.tuned(tmp_path, "accumulated")
    one = tensors_of(tmp_path / "accumulated")
    two = tensors_of(data_parallel / "accumulated")
    assert relative_difference(one, two) < ROUNDED
