"""Two processes tune as one does: the same data, losses, checkpoints and states."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import rank_work
from driftmap.cli.main import main
from frozen_groups import mask_of, scattered
from study_process import contents
from tiny_studies import save_tiny_data, save_tiny_model, study_words
from tiny_tuning import llama_sites

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]
HAS_FOUR_BITS = find_spec("bitsandbytes") is not None
ENDS = ("error: ", "interrupted")

# The gradient of a step is a sum over its batches. Two processes with one batch each
# add the same two numbers as one process does, and addition of two has one result.
EQUAL_BITS = [case for case in rank_work.CASES if case != "accumulated"]

# With four batches a step, one process adds ((a + b) + c) + d and two add
# (a + c) + (b + d): gradients differ by a few units in the last place of float32, which
# AdamW's division by their root mean square carries on where they are small. So does
# the norm for clipping, where each process holds a part of every gradient (FSDP2).
ROUNDED = 1e-4


def in_two_processes(*words, **environment):
    """Run a module or a script in two processes on the CPU, as users start them."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2",
        "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", *map(str, words),
    ]  # fmt: skip
    paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
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


def worked(folder, cases, **environment):
    """Tune cases in two processes."""
    told = in_two_processes(TESTS / "rank_work.py", folder, *cases, **environment)
    assert told.returncode == 0, told.stderr[-4000:]
    return folder


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
    cases = [c for c in rank_work.CASES if c != "qlora" or HAS_FOUR_BITS]
    return worked(tmp_path_factory.mktemp("two"), cases)


@pytest.fixture(scope="module")
def spread(tmp_path_factory):
    cases = [case for case in rank_work.CASES if case != "qlora"]
    asked = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    return worked(tmp_path_factory.mktemp("spread"), cases, **asked)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same in one fresh process: what tests leave in theirs decides no last bit."""
    folder = tmp_path_factory.mktemp("one")
    cases = [c for c in rank_work.CASES if c != "qlora" or HAS_FOUR_BITS]
    told = subprocess.run(
        [sys.executable, str(TESTS / "rank_work.py"), str(folder), *cases],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-4000:]
    return lambda case: tensors_of(folder / case)


@pytest.mark.parametrize("case", EQUAL_BITS)
def test_two_processes_give_the_bits_of_one(data_parallel, alone, case):
    if case == "qlora" and not HAS_FOUR_BITS:
        pytest.skip("bitsandbytes is not installed")
    one, two = alone(case), tensors_of(data_parallel / case)
    assert one.keys() == two.keys()
    assert len(one) > 10
    assert [key for key in one if not torch.equal(one[key], two[key])] == []


def test_more_batches_a_step_differ_by_rounding_alone(data_parallel, alone):
    two = tensors_of(data_parallel / "accumulated")
    assert relative_difference(alone("accumulated"), two) < ROUNDED


@pytest.mark.parametrize("case", [c for c in rank_work.CASES if c != "qlora"])
def test_weights_spread_over_two_processes_move_as_in_one(spread, alone, case):
    assert relative_difference(alone(case), tensors_of(spread / case)) < ROUNDED


def test_frozen_weights_stay_the_same_bits_where_they_are_spread(spread):
    before = rank_work.model_of("full-element")
    sites = llama_sites(before)
    last = load_file(spread / "full-element" / "step_6" / "model.safetensors")
    moved = 0
    for site, index in scattered(sites).items():
        mask = mask_of(site, index)
        then = before.get_submodule(site.path).weight.detach()
        now = last[f"{site.path}.weight"]
        assert torch.equal(now[mask], then[mask])
        moved += int((now != then).sum())
    assert moved > 1000


def study(tmp_path, out):
    model = save_tiny_model(tmp_path / "model")
    words = study_words(model, save_tiny_data(tmp_path), tmp_path / out)
    others = [w for w in words if not w.startswith(("--grad-accum", "--seeds"))]
    return [*others, "--grad-accum=2", "--seeds=1", "--until=tune"]


def test_a_study_in_two_processes_is_the_study_of_one(tmp_path):
    told = in_two_processes("-m", "driftmap", *study(tmp_path, "two"))
    assert told.returncode == 0, told.stderr[-4000:]
    assert told.stdout.splitlines() == [str(tmp_path / "two")]
    assert told.stderr.count("load the model took") == 1
    assert "cpu, 2 processes" in (tmp_path / "two" / "provenance.json").read_text()
    assert main(study(tmp_path, "one")) == 0
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    kept = [name for name in one if name.startswith(("checkpoints", "tables"))]
    assert len(kept) > 5
    assert [name for name in kept if one[name] != two[name]] == []
    # One process takes what two have made, and has nothing left to do.
    assert main(study(tmp_path, "two")) == 0


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("load", "error: process 1 of 2: {model}: it is not on this machine; copy it"),
        ("step", "error: process 1 of 2: OSError: the bus fell off"),
        ("interrupt", "interrupted; the same command goes on from here"),
    ],
)
def test_what_ends_one_process_ends_all_with_one_sentence(tmp_path, fault, sentence):
    words = study(tmp_path, "two")
    told = in_two_processes(TESTS / "rank_faults.py", fault, *words)
    assert told.returncode != 0
    said = [line for line in told.stderr.splitlines() if line.startswith(ENDS)]
    assert said == [sentence.format(model=tmp_path / "model")]
