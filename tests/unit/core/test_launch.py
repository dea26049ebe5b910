import os

import pytest

from driftmap.core.errors import UsageError
from driftmap.core.launch import ALONE, launched, read_launch, shown, this_launch

TWO = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_PORT": "1",
}


def test_one_process_is_alone_however_it_was_started():
    assert read_launch({}) is ALONE
    assert read_launch({"WORLD_SIZE": "1", "RANK": "0"}) is ALONE
    # A cluster may say how many tasks a job has without a launcher of processes.
    assert read_launch({"WORLD_SIZE": "8"}) is ALONE


def test_libraries_see_a_launch_only_where_it_is_shown(monkeypatch):
    for name, value in {**TWO, "ACCELERATE_USE_FSDP": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FSDP_VERSION", "2")
    with launched() as launch:
        assert (launch.rank, launch.size, launch.is_sharded) == (1, 2, True)
        assert not launch.is_first
        assert not {"RANK", "WORLD_SIZE", "ACCELERATE_USE_FSDP"} & os.environ.keys()
        with shown(launch):
            assert os.environ["RANK"] == "1"
            assert "ACCELERATE_USE_FSDP" not in os.environ
        assert "RANK" not in os.environ
        with launched() as again:
            assert again is launch
        assert this_launch() is launch
    assert this_launch() is ALONE
    assert os.environ["WORLD_SIZE"] == "2"
    assert os.environ["ACCELERATE_USE_FSDP"] == "true"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"RANK": "one"}, r"RANK=one in the environment is no number; start several"),
        (
            {"ACCELERATE_USE_DEEPSPEED": "true"},
            r"^DeepSpeed is asked for \(ACCELERATE_USE_DEEPSPEED\), which tuning does",
        ),
        (
            {"FSDP_OFFLOAD_PARAMS": "true"},
            r"^FSDP with weights kept on the CPU is asked for \(FSDP_OFFLOAD_PARAMS\)",
        ),
        (
            {"ACCELERATE_USE_FSDP": "true"},
            r"^FSDP version 1 is asked for, and only FSDP2 is known; give --fsdp_v",
        ),
    ],
)
def test_what_is_not_done_is_refused_by_name(said, sentence):
    with pytest.raises(UsageError, match=sentence):
        read_launch({**TWO, **said})
