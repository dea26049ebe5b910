import pytest

from driftmap.cli.main import main
from driftmap.core.errors import UsageError
from driftmap.load.source import ModelSource
from driftmap.recipes.steps.together import require_processes
from driftmap.tune.settings import TuningSettings
from driftmap.tune.sharded import require_shardable


@pytest.fixture
def started(monkeypatch):
    def start(rank, **said):
        places = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, **said}
        for name, value in places.items():
            monkeypatch.setenv(name, str(value))

    return start


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        (
            {"device_map": "auto"},
            r"^--device-map auto spreads one model over several GPUs, and 2 processes "
            r"need one each; leave it out, or start one process$",
        ),
        (
            {"device": "cuda:1"},
            r"^--device cuda:1 is one device, and 2 processes need one each; give "
            r"--device auto or cpu, or start one process$",
        ),
        ({"device": "mps"}, r"^--device mps is one device, and 2 processes"),
    ],
)
def test_one_device_for_all_is_refused(where, sentence):
    with pytest.raises(UsageError, match=sentence):
        require_processes(ModelSource(model="m", **where), TuningSettings(), 2)


def test_what_processes_can_share_is_not_refused():
    for device in ("auto", "cpu", "cuda"):
        require_processes(ModelSource(model="m", device=device), TuningSettings(), 2)


def test_4_bit_weights_are_not_spread():
    with pytest.raises(
        UsageError, match=r"^--tune qlora does not go with FSDP2, which cannot take 4-"
    ):
        require_shardable(TuningSettings(tune="qlora"))
    for kind in ("lora", "full"):
        require_shardable(TuningSettings(tune=kind))


DRIFT = ["drift", "--model=m", "--behaviour=b", "--utility=u", "--tune-on=t"]


@pytest.mark.parametrize(
    ("words", "said", "sentence"),
    [
        (
            ["data", "list"],
            {},
            "2 processes were started, and only `driftmap drift` an",
        ),
        ([*DRIFT, "--grad-accum=3"], {}, "--grad-accum 3: 2 processes cannot share"),
        ([*DRIFT, "--device-map=auto"], {}, "--device-map auto spreads one model"),
        (
            [*DRIFT, "--tune=qlora"],
            {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"},
            "--tune qlora does not go with FSDP2",
        ),
        (DRIFT, {"ACCELERATE_USE_FSDP": "true"}, "FSDP version 1 is asked for"),
    ],
)
def test_the_first_process_says_what_is_refused_and_the_others_are_silent(
    started, capsys, words, said, sentence
):
    for rank in (0, 1):
        started(rank, **said)
        assert main(words) == 2
        told = capsys.readouterr()
        assert told.out == ""
        lines = told.err.splitlines()
        assert len(lines) == (1 if rank == 0 else 0), told.err
        if rank == 0:
            assert lines[0].startswith(f"error: {sentence}")
