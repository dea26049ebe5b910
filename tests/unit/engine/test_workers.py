import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from driftmap.core.errors import DataError, EngineError
from driftmap.core.progress import Listener, listening
from driftmap.engine.run import run_shards
from driftmap.engine.shards import shards_of
from driftmap.engine.work import EngineSettings
from driftmap.engine.workers import num_cores, threads_each
from engine_work import Squares, squares_in

TWO = EngineSettings(workers=2)


class Heard(Listener):
    def __init__(self):
        self.lines, self.notes = [], []

    def said(self, message):
        self.lines.append(message)

    def advanced(self, steps, note):
        self.notes.append(note)


@pytest.fixture
def heard():
    listener = Heard()
    with listening(listener):
        yield listener


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def children():
    found = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [line for line in found.stdout.splitlines() if "engine.serving" in line]


def test_two_workers_make_what_one_process_makes(tmp_path, heard):
    work = Squares(notes=tmp_path / "notes")
    made = run_shards(work, shards_of(200), tmp_path / "two", TWO)
    assert squares_in(made).tolist() == [n**2 for n in range(200)]
    assert 1 <= work.openings() <= 2
    assert os.getpid() not in {int(p.suffix[1:]) for p in work.notes.glob("open.*")}
    run_shards(Squares(notes=tmp_path / "n"), shards_of(200), tmp_path / "one")
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
    assert heard.lines.count("the model is loaded") == 2  # once here, once from both
    assert not children()


def test_a_worker_killed_half_way_loses_nothing(tmp_path, heard):
    work = Squares(notes=tmp_path / "notes", fault="kill", at=(1,), seconds=0.05)
    made = run_shards(work, shards_of(200), tmp_path / "shards", TWO)
    assert squares_in(made).tolist() == [n**2 for n in range(200)]
    assert [work.begun(number) for number in range(4)] == [1, 2, 1, 1]
    wanted = (
        "the worker of shard 2 (samples 65 to 128) was killed by SIGKILL; another one "
        "makes it again"
    )
    assert wanted in heard.lines
    assert not list((tmp_path / "shards").glob(".*"))


def test_a_shard_that_kills_every_worker_is_named(tmp_path):
    work = Squares(notes=tmp_path / "notes", fault="kill", at=(1,), times=9)
    wanted = (
        "shard 2 (samples 65 to 100): 3 workers ended while they made it, the last one "
        "was killed by SIGKILL; give them more memory with fewer --workers, and repeat "
        "the command, which goes on from here"
    )
    with pytest.raises(EngineError, match=re.escape(wanted)):
        run_shards(work, shards_of(100), tmp_path / "shards", TWO)
    assert work.begun(1) == 3
    assert not list((tmp_path / "shards").glob(".*"))
    again = Squares(notes=tmp_path / "again")
    made = run_shards(again, shards_of(100), tmp_path / "shards", TWO)
    assert squares_in(made).tolist() == [n**2 for n in range(100)]


def test_last_words_of_a_worker_are_passed_on(tmp_path):
    work = Squares(notes=tmp_path / "notes", fault="exit", at=(0,), times=9)
    wanted = 'ended with exit code 3 and said "the library gave up"; give them more'
    one_try = EngineSettings(workers=1, tries=1)
    with pytest.raises(EngineError, match=re.escape(wanted)):
        run_shards(work, shards_of(9), tmp_path / "shards", one_try)


def test_workers_that_cannot_begin_are_given_up(tmp_path):
    work = Squares(notes=tmp_path / "notes", fault="open")
    wanted = (
        "2 workers in a row ended before they could begin: the last one was killed by "
        "SIGKILL; give them more memory"
    )
    settings = EngineSettings(workers=1, tries=2)
    with pytest.raises(EngineError, match=re.escape(wanted)):
        run_shards(work, shards_of(9), tmp_path / "shards", settings)


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        ("data", DataError, "s7: it has no answer; leave the row out"),
        ("foreign", ZeroDivisionError, "seven by nothing"),
        ("interrupt", KeyboardInterrupt, ""),
    ],
)
def test_an_error_of_the_work_is_raised_here_and_not_tried_again(
    tmp_path, fault, kind, text
):
    work = Squares(notes=tmp_path / "notes", fault=fault, at=(1,), times=9)
    with pytest.raises(kind) as caught:
        run_shards(work, shards_of(100), tmp_path / "shards", TWO)
    assert str(caught.value) == text
    assert "in make" in "".join(caught.value.__notes__)
    assert work.begun(1) == 1
    assert not children()


def test_an_interruption_ends_the_workers_and_leaves_what_is_finished(tmp_path):
    work = Squares(notes=tmp_path / "notes", seconds=0.3)
    folder = tmp_path / "shards"

    def interrupt():
        while work.begun() < 3:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    # A shell that starts tests in the background lets them ignore interruptions.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_shards(work, shards_of(640), folder, TWO)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not children()
    assert not list(folder.glob(".*"))
    left = list(folder.glob("*/done.json"))  # a shard without it is not there
    assert 1 <= len(left) < 10
    quick = Squares(notes=tmp_path / "again")
    made = run_shards(quick, shards_of(640), folder, TWO)
    assert squares_in(made).tolist() == [n**2 for n in range(640)]
    assert quick.begun() == 10 - len(left)


def test_workers_end_with_the_process_that_started_them(tmp_path):
    code = (
        "from pathlib import Path; from engine_work import Squares;"
        "from driftmap.engine.run import run_shards;"
        "from driftmap.engine.shards import shards_of;"
        "from driftmap.engine.work import EngineSettings;"
        f"work = Squares(notes=Path({str(tmp_path / 'notes')!r}), seconds=60);"
        f"run_shards(work, shards_of(128), Path({str(tmp_path / 'shards')!r}),"
        " EngineSettings(workers=2))"
    )
    where = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    leader = subprocess.Popen([sys.executable, "-c", code], env=where)
    notes = tmp_path / "notes"
    while len(list(notes.glob("shard-*"))) < 2:
        assert leader.poll() is None
        time.sleep(0.02)
    workers = [int(path.suffix[1:]) for path in notes.glob("open.*")]
    leader.kill()
    leader.wait()
    for _ in range(500):
        if not any(Path(f"/proc/{worker}").exists() for worker in workers):
            return
        time.sleep(0.02)
    pytest.fail("workers outlived the process that started them")


def test_each_worker_sees_its_gpu_and_its_share_of_the_cores(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    work = Squares(notes=tmp_path / "notes", seconds=0.2)
    settings = EngineSettings(workers=2, gpus=("3", "5"))
    made = run_shards(work, shards_of(400), tmp_path / "shards", settings)
    seen = {(path / "gpus.txt").read_text() for path in made}
    assert seen == {"3", "5"}
    threads = {(path / "threads.txt").read_text() for path in made}
    assert threads == {str(max(1, num_cores() // 2))}


@pytest.mark.parametrize(
    ("said", "wanted"), [("3", 3), ("0", 1), ("", None), ("many", None)]
)
def test_threads_that_the_environment_names_are_meant_for_each(
    monkeypatch, said, wanted
):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr("driftmap.engine.workers.num_cores", lambda: 7)
    assert threads_each(2) == (wanted or 3)
    assert threads_each(99) == (wanted or 1)
