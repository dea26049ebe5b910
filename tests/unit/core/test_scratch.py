import os
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from driftmap.core import scratch
from driftmap.core.errors import StoreError, UsageError
from driftmap.core.scratch import (
    clear_leftovers,
    disk_for_scratch,
    leftovers,
    place_with_room,
    require_scratch,
    room_in,
    scratch_folder,
)

RUN = Path("runs/one")


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Stand-ins for `/dev/shm` and the system's temporary folder, on one disk."""
    shared, system = tmp_path / "shared", tmp_path / "system"
    shared.mkdir()
    system.mkdir()
    monkeypatch.setattr(scratch, "_SHARED_MEMORY", shared)
    monkeypatch.setattr(tempfile, "tempdir", str(system))
    monkeypatch.setattr(scratch, "is_in_memory", lambda place: place == shared)
    monkeypatch.setattr(scratch, "free_disk", lambda place: 1000)
    monkeypatch.setattr(scratch, "free_memory", lambda: 600)
    return shared, system


PROCESS = """
import signal, sys
from pathlib import Path
from driftmap.core.scratch import scratch_folder

with scratch_folder(Path(sys.argv[1]), 10, Path(sys.argv[2])) as folder:
    (folder / "deep").mkdir()
    (folder / "deep" / "large").write_bytes(b"x" * 10)
    print(folder, flush=True)
    signal.pause()
"""


def killed(run: Path, place: Path) -> Path:
    """A folder whose process died with SIGKILL, full as it was."""
    words = [sys.executable, "-c", PROCESS, str(run), str(place)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        folder = Path(process.stdout.readline().strip())
        process.kill()
    return folder


def test_shared_memory_is_taken_where_it_has_room_else_the_system_s_folder(places):
    shared, system = places
    assert place_with_room(300) == shared
    assert place_with_room(301) == system  # half of the free memory is left alone
    assert place_with_room(900) == system
    assert room_in(shared) == 300
    assert room_in(system) == 900


def test_a_chosen_place_is_the_only_one(places, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    with scratch_folder(RUN, 10, own) as folder:
        assert folder.parent == own


def test_too_little_room_names_the_option_and_the_topic(places, tmp_path):
    shared, system = places
    with pytest.raises(StoreError) as caught:
        place_with_room(2048)
    assert str(caught.value) == (
        f"temporary files need 2.0 KiB and there is room for 300 B in {shared}, "
        f"900 B in {system}; free some space, or choose a place with more room with "
        "--scratch"
    )
    assert caught.value.topic == "disk"
    with pytest.raises(StoreError, match=r"room for 900 B in .*; free some space"):
        place_with_room(2048, tmp_path)


def test_a_machine_without_shared_memory_has_the_system_s_folder(
    places, monkeypatch, tmp_path
):
    monkeypatch.setattr(scratch, "_SHARED_MEMORY", tmp_path / "absent")
    assert place_with_room(1) == places[1]


def test_a_chosen_place_must_be_a_folder_to_write_to(tmp_path, monkeypatch):
    require_scratch(None)
    require_scratch(tmp_path)
    file = tmp_path / "file"
    file.touch()
    for wrong in (tmp_path / "absent", file):
        with pytest.raises(UsageError) as caught:
            require_scratch(wrong)
        assert str(caught.value) == (
            f"--scratch {wrong}: there is no such folder; make it or choose another"
        )
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="may not be written to; change its perm"):
        require_scratch(tmp_path)


def test_only_a_disk_takes_what_shall_leave_the_memory(places, monkeypatch):
    shared, system = places
    assert disk_for_scratch(None) == system
    assert disk_for_scratch(shared) is None
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    assert disk_for_scratch(None) is None


def test_the_folder_is_private_and_goes_also_after_an_error(places):
    seen = []
    for error in (None, RuntimeError("in the middle"), KeyboardInterrupt()):
        with suppress(RuntimeError, KeyboardInterrupt), scratch_folder(RUN, 10) as own:
            assert stat.S_IMODE(own.stat().st_mode) == 0o700
            (own / "deep").mkdir()
            (own / "deep" / "file").touch()
            seen.append(own)
            assert leftovers(RUN) == []  # it is in use
            if error:
                raise error
        assert not seen[-1].exists()
    assert [list(place.iterdir()) for place in places] == [[], []]


def test_what_a_killed_process_leaves_is_found_by_its_run_alone(places, tmp_path):
    left = killed(RUN, places[0])
    assert (left / "deep" / "large").stat().st_size == 10
    assert leftovers(RUN) == leftovers(RUN.absolute()) == [left]
    assert leftovers(Path("runs/two")) == []
    own = tmp_path / "own"
    own.mkdir()
    also = killed(RUN, own)
    assert leftovers(RUN, own) == sorted([left, also])
    assert leftovers(RUN) == [left]


def test_leftovers_are_cleared_and_what_is_in_use_stays(places):
    left = killed(RUN, places[0])
    with scratch_folder(RUN, 10) as folder:
        clear_leftovers(RUN)
        assert folder.exists()
        assert not left.exists()
    clear_leftovers(RUN)


def test_a_folder_whose_process_died_before_the_marker_is_cleared(places):
    empty = Path(tempfile.mkdtemp(prefix=scratch._prefix(RUN), dir=places[0]))
    clear_leftovers(RUN)
    assert not empty.exists()


def test_nothing_that_is_not_ours_is_found(places, tmp_path):
    shared, _ = places
    left = killed(RUN, places[0])
    prefix = scratch._prefix(RUN)
    (shared / f"{prefix}file").write_text("a file")
    (shared / f"{prefix}link").symlink_to(left)
    (shared / f"{prefix}unmarked").mkdir(mode=0o700)
    (shared / f"{prefix}unmarked" / "thesis.tex").touch()
    (shared / f"{prefix}open").mkdir(mode=0o755)
    (shared / f"{prefix}other").mkdir(mode=0o700)
    (shared / f"{prefix}other" / scratch._MARKER).write_text("/another/run")
    (shared / f"{prefix}linked").mkdir(mode=0o700)
    (shared / f"{prefix}linked" / scratch._MARKER).symlink_to(left / scratch._MARKER)
    assert leftovers(RUN) == [left]
    before = {p.name for p in shared.iterdir()} - {left.name}
    clear_leftovers(RUN)
    assert {p.name for p in shared.iterdir()} == before


def test_another_user_s_folder_is_not_ours(places, monkeypatch):
    left = killed(RUN, places[0])
    monkeypatch.setattr(os, "getuid", lambda: left.stat().st_uid + 1)
    assert leftovers(RUN) == []


def test_links_inside_are_removed_and_not_followed(places, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "thesis.tex").touch()
    with scratch_folder(RUN, 10) as folder:
        (folder / "link").symlink_to(outside)
    assert not folder.exists()
    assert (outside / "thesis.tex").exists()
