import os
import re
import sys

import pytest

from driftmap.core.errors import DataError, EngineError, UsageError
from driftmap.core.progress import Listener, listening
from driftmap.engine.ray import QUIET, Room, room_for
from driftmap.engine.run import run_shards
from driftmap.engine.shards import shards_of
from driftmap.engine.work import EngineSettings
from engine_work import Squares, squares_in

CLUSTER = EngineSettings(engine="ray", workers=2)


class Heard(Listener):
    def __init__(self):
        self.lines = []

    def said(self, message):
        self.lines.append(message)


@pytest.fixture
def heard():
    listener = Heard()
    with listening(listener):
        yield listener


@pytest.mark.parametrize(
    ("resources", "nodes", "workers", "room"),
    [
        ({"CPU": 2.0}, 1, None, Room(count=1, cpus=2, gpus=0)),
        ({"CPU": 64.0}, 4, None, Room(count=4, cpus=16, gpus=0)),
        ({"CPU": 64.0}, 2, 5, Room(count=5, cpus=10, gpus=0)),
        ({"CPU": 2.0}, 1, 9, Room(count=9, cpus=1, gpus=0)),
        ({"CPU": 96.0, "GPU": 8.0}, 2, None, Room(count=8, cpus=12, gpus=1)),
        ({"CPU": 96.0, "GPU": 8.0}, 2, 3, Room(count=3, cpus=24, gpus=1)),
        ({}, 1, None, Room(count=1, cpus=1, gpus=0)),
    ],
)
def test_a_cluster_is_divided_among_its_workers(resources, nodes, workers, room):
    settings = EngineSettings(engine="ray", workers=workers)
    assert room_for(resources, nodes, settings) == room


def test_more_workers_than_gpus_are_refused():
    wanted = "--workers 9: the cluster has 8 GPUs, one for each worker; give at most 8"
    settings = EngineSettings(engine="ray", workers=9)
    with pytest.raises(UsageError, match=re.escape(wanted)):
        room_for({"GPU": 8.0, "CPU": 8.0}, 1, settings)


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    wanted = "--engine ray needs Ray; install driftmap with the extra `ray`, as in `pip"
    with pytest.raises(UsageError, match=re.escape(wanted)):
        run_shards(Squares(notes=tmp_path), shards_of(9), tmp_path / "s", CLUSTER)


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "local")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # others fill the memory
        for name, value in QUIET.items():
            patch.setenv(name, value)
        ray = pytest.importorskip("ray", reason="needs Ray: pip install -e '.[ray]'")
        yield ray
        ray.shutdown()


@pytest.mark.slow
def test_an_actor_killed_half_way_loses_nothing(tmp_path, heard, cluster):
    work = Squares(notes=tmp_path / "notes", fault="kill", at=(1,), seconds=0.05)
    made = run_shards(work, shards_of(300), tmp_path / "shards", CLUSTER)
    assert squares_in(made).tolist() == [n**2 for n in range(300)]
    assert [work.begun(number) for number in range(5)] == [1, 2, 1, 1, 1]
    assert os.getpid() not in {int(p.suffix[1:]) for p in work.notes.glob("open.*")}
    wanted = (
        "the worker of shard 2 (samples 65 to 128) was lost (The actor died "
        "unexpectedly before finishing this task); another one makes it again"
    )
    assert wanted in heard.lines
    assert heard.lines.count("the model is loaded") == 1
    assert not cluster.is_initialized()


@pytest.mark.slow
def test_a_cluster_that_runs_is_used_and_left(tmp_path, cluster, monkeypatch):
    cluster.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    addresses = {node["NodeManagerAddress"] for node in cluster.nodes()}
    assert addresses == {"127.0.0.1"}, "a cluster of one is no business of the network"

    faulty = Squares(notes=tmp_path / "a", fault="data", at=(0,), times=9)
    with pytest.raises(DataError, match="s7: it has no answer") as caught:
        run_shards(faulty, shards_of(100), tmp_path / "shards", CLUSTER)
    assert "in make" in "".join(caught.value.__notes__)
    assert faulty.begun(0) == 1

    deadly = Squares(notes=tmp_path / "b", fault="kill", at=(0,), times=9)
    twice = EngineSettings(engine="ray", workers=1, tries=2)
    wanted = (
        "shard 1 (samples 1 to 64): 2 workers ended while they made it, the last one "
        "was lost (The actor died unexpectedly before finishing this task); look at the"
    )
    with pytest.raises(EngineError, match=re.escape(wanted)):
        run_shards(deadly, shards_of(100), tmp_path / "shards", twice)
    assert deadly.begun(0) == 2

    with monkeypatch.context() as patch:
        patch.setattr("driftmap.engine.ray.DONE", "elsewhere.json")
        patch.setattr("driftmap.engine.ray._SECONDS_FOR_STORAGE", 0.0)
        fine = Squares(notes=tmp_path / "c")
        with pytest.raises(EngineError, match=r"elsewhere.json was written on .* is"):
            run_shards(fine, shards_of(100), tmp_path / "other", CLUSTER)
    assert cluster.is_initialized()
    assert not list((tmp_path / "shards").glob(".*"))
