import hashlib
import json
import re

import numpy as np
import pytest

from driftmap.core.errors import DataError
from driftmap.core.progress import Listener, listening
from driftmap.engine.folder import DONE, fault_of, read_done
from driftmap.engine.run import run_shards
from driftmap.engine.shards import shards_of
from engine_work import Squares, squares_in


class Heard(Listener):
    def __init__(self):
        self.said_lines = []
        self.steps = 0

    def said(self, message):
        self.said_lines.append(message)

    def advanced(self, steps, note):
        self.steps += steps


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


def test_every_shard_is_made_and_given_back_in_order(tmp_path):
    work = Squares(notes=tmp_path / "notes")
    made = run_shards(work, shards_of(150), tmp_path / "shards")
    assert squares_in(made).tolist() == [n**2 for n in range(150)]
    assert work.openings() == 1
    assert [path.name for path in made] == [s.name for s in shards_of(150)]


def test_a_finished_shard_tells_of_its_files(tmp_path):
    (made,) = run_shards(Squares(notes=tmp_path / "n"), shards_of(3), tmp_path / "s")
    told = json.loads((made / DONE).read_text())
    assert set(told["files"]) == {
        "first.npy", "squares.npy", "more/name.txt", "threads.txt", "gpus.txt",
    }  # fmt: skip
    assert (told["number"], told["start"], told["stop"]) == (0, 0, 3)
    assert told["files"]["more/name.txt"] == {
        "num_bytes": 23,
        "blake2b": hashlib.blake2b(
            b"shard-00000000-00000003", digest_size=32
        ).hexdigest(),
    }


def test_what_is_there_is_not_made_again(tmp_path, heard):
    work = Squares(notes=tmp_path / "notes")
    run_shards(work, shards_of(150), tmp_path / "shards")
    before = files_of(tmp_path / "shards")
    again = Squares(notes=tmp_path / "again")
    run_shards(again, shards_of(150), tmp_path / "shards")
    assert again.openings() == 0
    assert files_of(tmp_path / "shards") == before


def test_work_that_stopped_goes_on_with_the_shards_that_are_missing(tmp_path, heard):
    notes = tmp_path / "notes"
    work = Squares(notes=notes, fault="data", at=(1,))
    with pytest.raises(DataError, match="s7: it has no answer"):
        run_shards(work, shards_of(150), tmp_path / "shards")
    made = run_shards(work, shards_of(150), tmp_path / "shards")
    assert squares_in(made).tolist() == [n**2 for n in range(150)]
    assert [work.begun(number) for number in range(3)] == [1, 2, 1]
    assert "1 of 3 shards are there already" in heard.said_lines
    whole = run_shards(
        Squares(notes=tmp_path / "x"), shards_of(150), tmp_path / "other"
    )
    assert files_of(tmp_path / "shards") == files_of(tmp_path / "other")
    assert len(whole) == 3


@pytest.mark.parametrize("fault", ["data", "foreign", "interrupt"])
def test_work_that_stopped_leaves_nothing_half_written(tmp_path, fault):
    work = Squares(notes=tmp_path / "notes", fault=fault, at=(1,))
    with pytest.raises((DataError, ZeroDivisionError, KeyboardInterrupt)):
        run_shards(work, shards_of(150), tmp_path / "shards")
    assert [p.name for p in (tmp_path / "shards").iterdir()] == [shards_of(150)[0].name]


def _flip(place):
    path = place / "squares.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "flipped": (_flip, "squares.npy is not what was written"),
    "missing": (lambda p: (p / "first.npy").unlink(), "first.npy is missing"),
    "no json": (lambda p: (p / DONE).write_text("{"), f"{DONE} is damaged"),
    "another": (lambda p: (p / DONE).write_text("[]"), f"{DONE} is damaged"),
    "no sizes": (
        lambda p: (p / DONE).write_text(
            json.dumps(read_done(p) | {"files": {"first.npy": {}}})
        ),
        f"{DONE} is damaged",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_shard_is_named_and_made_again(tmp_path, heard, kind):
    damage, named = DAMAGE[kind]
    work = Squares(notes=tmp_path / "notes")
    made = run_shards(work, shards_of(150), tmp_path / "shards")
    before = files_of(tmp_path / "shards")
    damage(made[1])
    run_shards(work, shards_of(150), tmp_path / "shards")
    assert files_of(tmp_path / "shards") == before
    assert [work.begun(number) for number in range(3)] == [1, 2, 1]
    told = "\n".join(heard.said_lines)
    assert re.search(
        rf"{re.escape(str(made[1]))}/{re.escape(named)}; "
        r"shard 2 \(samples 65 to 128\) is made again",
        told,
    )


def test_a_shard_without_its_mark_is_made_again_without_ado(tmp_path, heard):
    work = Squares(notes=tmp_path / "notes")
    made = run_shards(work, shards_of(150), tmp_path / "shards")
    (made[2] / DONE).unlink()
    assert fault_of(shards_of(150)[2], tmp_path / "shards") == ""
    run_shards(work, shards_of(150), tmp_path / "shards")
    assert work.begun(2) == 2
    assert not [line for line in heard.said_lines if "made again" in line]


def test_what_a_killed_process_left_is_cleared(tmp_path):
    left = tmp_path / "shards/.shard-00000000-00000064.host.1.abc.tmp"
    left.mkdir(parents=True)
    (left / "squares.npy").write_bytes(b"half")
    run_shards(Squares(notes=tmp_path / "n"), shards_of(3), tmp_path / "shards")
    assert not left.exists()


def test_the_bar_counts_the_shards_that_are_made(tmp_path, heard):
    run_shards(Squares(notes=tmp_path / "n"), shards_of(150), tmp_path / "shards")
    assert heard.steps == 3 + 3  # a shard's own row each, and the shards


def test_arrays_survive_as_they_were(tmp_path):
    made = run_shards(Squares(notes=tmp_path / "n"), shards_of(3), tmp_path / "shards")
    assert np.load(made[0] / "first.npy").dtype == np.int64
