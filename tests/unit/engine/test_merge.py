import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftmap.core.errors import EngineError
from driftmap.core.progress import Listener, listening
from driftmap.engine.folder import DONE
from driftmap.engine.merge import missing_ranges, require_whole, take_over
from driftmap.engine.parts import FOLDER, PART, Part, clear, make_part
from driftmap.engine.shards import parse_partition
from driftmap.engine.work import EngineSettings, Shard
from engine_work import Squares, squares_in

NUM = 300
INPUTS = {"model": "a" * 8, "scoring": {"positions": "response"}}


def part(partition=None, inputs=INPUTS, num_samples=NUM):
    words = partition or ""
    start, _, stop = words.partition(":")
    asked = (
        parse_partition(None, int(start), int(stop))
        if stop
        else parse_partition(partition, None, None)
    )
    return Part(kind="score", inputs=inputs, num_samples=num_samples, partition=asked)


def merge_parts(parts, out):
    take_over(require_whole(parts), out)


def make(tmp_path, *partitions, **changes):
    made = []
    for words in partitions:
        folder = tmp_path / words.replace("/", "of").replace(":", "to")
        make_part(Squares(notes=tmp_path / "notes"), part(words, **changes), folder)
        made.append(folder)
    return made


def files_of(run):
    folder = run / FOLDER
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_merged_parts_are_the_whole_bit_for_bit(tmp_path):
    parts = make(tmp_path, "2/3", "1/3", "3/3")
    merge_parts(parts, tmp_path / "merged")
    make_part(Squares(notes=tmp_path / "n"), part(), tmp_path / "whole")
    assert files_of(tmp_path / "merged") == files_of(tmp_path / "whole")
    before = [files_of(one) for one in parts]
    again = Squares(notes=tmp_path / "again")
    made = make_part(again, part(), tmp_path / "merged")
    assert squares_in(made).tolist() == [n**2 for n in range(NUM)]
    assert again.openings() == 0
    assert [files_of(one) for one in parts] == before


def test_ranges_that_cut_chunks_are_merged_as_they_are(tmp_path):
    parts = make(tmp_path, "100:300", "0:100")
    merge_parts(parts, tmp_path / "merged")
    again = Squares(notes=tmp_path / "again")
    made = make_part(again, part(), tmp_path / "merged")
    assert [path.name[6:] for path in made] == [
        "00000000-00000064", "00000064-00000100", "00000100-00000128",
        "00000128-00000192", "00000192-00000256", "00000256-00000300",
    ]  # fmt: skip
    assert squares_in(made).tolist() == [n**2 for n in range(NUM)]
    assert again.openings() == 0


def test_parts_may_follow_each_other_in_one_folder(tmp_path):
    work = Squares(notes=tmp_path / "notes")
    for words in ("1/2", "2/2", None):
        made = make_part(work, part(words), tmp_path / "run")
    assert squares_in(made).tolist() == [n**2 for n in range(NUM)]
    assert work.begun() == 5
    clear(tmp_path / "run")
    assert not (tmp_path / "run" / FOLDER).exists()


def test_a_missing_part_is_named(tmp_path):
    first, _, third = make(tmp_path, "1/3", "2/3", "3/3")
    wanted = (
        "samples 65 to 192 (2/3) of 300 are in no part; make them, or repeat the "
        "command of a part that was cut off, and merge again"
    )
    with pytest.raises(EngineError, match=re.escape(wanted)):
        merge_parts([first, third], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_every_missing_range_is_named(tmp_path):
    parts = make(tmp_path, "10:20", "200:290")
    with pytest.raises(EngineError, match="samples 1 to 10, 21 to 200, 291 to 300 of"):
        merge_parts(parts, tmp_path / "merged")


def test_a_part_that_was_cut_off_is_named(tmp_path):
    parts = make(tmp_path, "1/2", "2/2")
    gone = parts[1] / FOLDER / "shard-00000192-00000256"
    (gone / DONE).unlink()
    with pytest.raises(EngineError, match=re.escape("samples 193 to 256 (2/2) of")):
        merge_parts(parts, tmp_path / "merged")


def test_a_damaged_shard_of_a_part_is_named(tmp_path):
    parts = make(tmp_path, "1/2", "2/2")
    file = parts[1] / FOLDER / "shard-00000192-00000256/squares.npy"
    file.write_bytes(file.read_bytes()[:-1])
    wanted = (
        f"{file} is not what was written; repeat the command that made {parts[1]}, "
        "which makes it again"
    )
    with pytest.raises(EngineError, match=re.escape(wanted)):
        merge_parts(parts, tmp_path / "merged")


def test_a_damaged_mark_of_a_part_is_named(tmp_path):
    parts = make(tmp_path, "1/2", "2/2")
    mark = parts[0] / FOLDER / "shard-00000000-00000064" / DONE
    mark.write_text("{")
    with pytest.raises(EngineError, match=re.escape(f"{mark} is damaged; repeat")):
        merge_parts(parts, tmp_path / "merged")


def test_parts_of_other_settings_are_refused(tmp_path):
    (first,) = make(tmp_path, "1/2")
    other = INPUTS | {"scoring": {"positions": "all"}}
    (second,) = make(tmp_path, "2/2", inputs=other)
    wanted = (
        f"{second}: was made with other settings than {first}: "
        "inputs.scoring.positions is 'all', not 'response'; make all parts with the"
    )
    with pytest.raises(EngineError, match=re.escape(wanted)):
        merge_parts([first, second], tmp_path / "merged")


def test_samples_in_two_parts_are_refused(tmp_path):
    parts = make(tmp_path, "0:100", "90:300")
    wanted = (
        f"samples 91 to 100 are in {parts[0]} and in {parts[1]}; leave one of them out"
    )
    with pytest.raises(EngineError, match=re.escape(wanted)):
        merge_parts(parts, tmp_path / "merged")


def test_a_part_that_is_named_twice_is_refused(tmp_path):
    first, second = make(tmp_path, "1/2", "2/2")
    with pytest.raises(EngineError, match="is named twice; name each part once"):
        merge_parts([first, second, first], tmp_path / "merged")


def test_folders_that_hold_no_part_are_refused(tmp_path):
    wanted = f"{tmp_path}: holds no part of a run; make one with --partition, and name"
    with pytest.raises(EngineError, match=re.escape(wanted)):
        merge_parts([tmp_path], tmp_path / "merged")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{", "is damaged; remove it"),
        ("[]", "is damaged; remove it"),
        (None, "is of version 99, this driftmap reads up to 1; use a newer driftmap"),
    ],
)
def test_damaged_or_newer_parts_are_refused(tmp_path, text, wanted):
    (folder,) = make(tmp_path, "1/2")
    path = folder / FOLDER / PART
    newer = json.dumps(json.loads(path.read_text()) | {"version": 99})
    path.write_text(newer if text is None else text)
    with pytest.raises(EngineError, match=re.escape(f"{path}: {wanted}")):
        merge_parts([folder], tmp_path / "merged")


def test_shards_of_other_inputs_are_made_again(tmp_path):
    heard = []

    class Heard(Listener):
        def started(self, what, total): ...
        def advanced(self, steps, note): ...
        def finished(self): ...
        def said(self, message):
            heard.append(message)

    run = tmp_path / "run"
    make_part(Squares(notes=tmp_path / "a"), part("1/2"), run)
    again = Squares(notes=tmp_path / "b")
    with listening(Heard()):
        make_part(again, part("1/2", INPUTS | {"model": "b"}), run)
    assert again.begun() == 2
    wanted = f"{run / FOLDER}: what its shards depend on changed; they are made again"
    assert wanted in heard


def test_parts_are_made_by_workers_too(tmp_path):
    settings = EngineSettings(workers=2)
    for words in ("1/2", "2/2"):
        work = Squares(notes=tmp_path / "notes")
        make_part(work, part(words), tmp_path / words[0], settings)
    merge_parts([tmp_path / "1", tmp_path / "2"], tmp_path / "merged")
    make_part(Squares(notes=tmp_path / "n"), part(), tmp_path / "whole")
    assert files_of(tmp_path / "merged") == files_of(tmp_path / "whole")


@given(st.integers(1, 60), st.sets(st.integers(0, 59)))
def test_missing_ranges_are_what_shards_leave_out(num, there):
    there = sorted(n for n in there if n < num)
    shards = [Shard(number=n, start=n, stop=n + 1) for n in there]
    missing = {
        n for start, stop in missing_ranges(shards, num) for n in range(start, stop)
    }
    assert missing == set(range(num)) - set(there)
