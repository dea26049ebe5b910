import threading

import pytest

from driftmap.core.progress import Silence, listening
from driftmap.store.cache import MANIFEST, cache_folder, cached


def make(folder):
    (folder / "inner").mkdir()
    (folder / "inner" / "a.txt").write_text("one")


def test_the_folder_is_made_once(tmp_path):
    calls = []

    def count(folder):
        calls.append(folder)
        make(folder)

    first = cached(tmp_path / "new", "thing", count)
    assert cached(tmp_path / "new", "thing", count) == first
    assert len(calls) == 1
    assert (first / "inner" / "a.txt").read_text() == "one"
    assert sorted(p.name for p in first.iterdir()) == [MANIFEST, "inner"]


def test_a_failed_making_leaves_nothing(tmp_path):
    def fail(folder):
        make(folder)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        cached(tmp_path, "thing", fail)
    assert [p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")] == []


@pytest.mark.parametrize("damage", ["change", "remove", "add", "manifest"])
def test_a_damaged_folder_is_made_again(tmp_path, damage):
    folder = cached(tmp_path, "thing", make)
    victim = folder / "inner" / "a.txt"
    if damage == "change":
        victim.write_text("two")
    elif damage == "remove":
        victim.unlink()
    elif damage == "add":
        (folder / "more").write_text("x")
    else:
        (folder / MANIFEST).write_text("no json")
    said = []

    class Ear(Silence):
        def said(self, message):
            said.append(message)

    with listening(Ear()):
        cached(tmp_path, "thing", make)
    assert victim.read_text() == "one"
    assert not (folder / "more").exists()
    assert said == [f"{folder}: a file is missing or changed; it is made again"]


def test_what_a_killed_worker_left_is_cleared(tmp_path):
    (tmp_path / ".thing.99.tmp").mkdir()
    cached(tmp_path, "thing", make)
    assert not (tmp_path / ".thing.99.tmp").exists()


def test_parallel_workers_share_one_making(tmp_path):
    calls = []
    gate = threading.Barrier(4)

    def count(folder):
        calls.append(1)
        make(folder)

    def work():
        gate.wait()
        cached(tmp_path, "thing", count)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_the_cache_is_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    monkeypatch.delenv("DRIFTMAP_CACHE", raising=False)
    assert cache_folder() == tmp_path / "x" / "driftmap"
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("DRIFTMAP_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().parts[-2:] == (".cache", "driftmap")
