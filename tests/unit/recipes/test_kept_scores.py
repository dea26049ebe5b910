"""Where do scores go? Nowhere unless asked, to a disk if that saves passes."""

import os
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
import torch

from driftmap.capture.stream import run_folds
from driftmap.core import scratch
from driftmap.core.errors import DataError, StoreError, UsageError
from driftmap.core.progress import Listener, listening
from driftmap.core.scratch import leftovers
from driftmap.recipes.options import GroupOptions, ScoringOptions
from driftmap.recipes.steps import data as steps_data
from driftmap.recipes.steps import rows
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.groups.choosing import group_step
from driftmap.recipes.steps.scoring import halves as scoring
from driftmap.recipes.steps.scoring import kept as kept_scores
from driftmap.recipes.steps.scoring import passes as scoring_passes
from driftmap.recipes.steps.scoring.kept import ScorePlaces
from driftmap.recipes.steps.scoring.kinds import bare_measure
from driftmap.recipes.steps.scoring.passes import GIB, Floats, Spill
from driftmap.store.run_dir import RunDir

SHARES = GroupOptions(share=0.05, p=0.1, q=0.3)


class Notes(Listener):
    def __init__(self):
        self.lines = []

    def said(self, message):
        self.lines.append(message)


@pytest.fixture
def scored(loaded, data):
    options = ScoringOptions(num_samples=6)
    both = {
        name: steps_data.scored_samples(
            loaded, rows.drawn(str(data[name]), 6, 0), options
        )
        for name in ("behaviour", "utility")
    }
    sha256 = {name: name for name in both}
    return steps_data.ScoringData(**both, sha256=sha256)


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A system folder for temporary files that is a disk, whatever this machine has."""
    place = tmp_path / "disk"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setattr(scratch, "is_in_memory", lambda _: False)
    monkeypatch.setattr(scratch, "_SHARED_MEMORY", tmp_path / "absent")
    return place


@pytest.fixture
def passes(monkeypatch):
    """Number of matrices of each pass over a data set."""
    passes = []

    def counting(model, sites, *rest, **named):
        passes.append(len(sites))
        return run_folds(model, sites, *rest, **named)

    monkeypatch.setattr(scoring, "run_folds", counting)
    return passes


@pytest.fixture
def study_in(loaded, tmp_path):
    """Opens a study in a folder and chooses groups."""

    def choose(name, data, options=None, groups=SHARES, **places):
        options = options or ScoringOptions(num_samples=6)
        with RunDir.open(tmp_path / name, {}, "drift") as run:
            study = Study(run=run, loaded=loaded, seed=0)
            mobile = loaded.layout.sites[:3]
            places = ScorePlaces(**places)
            return group_step(study, data, options, groups, mobile, places)

    return choose


def score_halves(loaded, both, options, spill=None):
    measure = bare_measure(loaded, options, 0)
    return scoring.score_halves(loaded, both, options, measure, spill)


def memory_for(loaded, bytes_a_weight: float) -> ScoringOptions:
    """Room for so many bytes of every weight, beside the largest matrix."""
    sites = loaded.layout.sites
    largest = max(site.num_weights for site in sites)
    total = sum(site.num_weights for site in sites)
    num_bytes = bytes_a_weight * total + 16 * largest
    return ScoringOptions(num_samples=6, memory=num_bytes / GIB)


def all_halves(loaded, data, options, spill=None):
    both = (data.behaviour, data.utility)
    return {
        site: [half.clone() for of_set in sets for half in (of_set.even, of_set.odd)]
        for site, sets in score_halves(loaded, both, options, spill)
    }


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for site, halves in wanted.items():
        assert all(map(torch.equal, found[site], halves))


def files_of(step) -> dict[str, bytes]:
    return {name: step.path(name).read_bytes() for name in step.files}


def everything(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_a_disk_halves_the_passes_and_not_a_bit_differs(
    loaded, scored, disk, tmp_path, passes
):
    whole = all_halves(loaded, scored, ScoringOptions(num_samples=6))
    assert passes == [14, 14]
    passes.clear()
    tight = memory_for(loaded, 4)
    assert_same(all_halves(loaded, scored, tight), whole)
    assert len(passes) == 2 * 4
    passes.clear()
    notes = Notes()
    with listening(notes):
        found = all_halves(loaded, scored, tight, Spill(run=tmp_path / "run"))
    assert_same(found, whole)
    assert len(passes) == 2 * 2
    assert notes.lines[0].startswith(f"scores of one data set wait in {disk} (")
    assert notes.lines[1].endswith("do not fit into memory: 2 passes")
    assert everything(disk) == []


def test_a_chosen_disk_takes_what_waits(loaded, scored, disk, tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    spill = Spill(run=tmp_path / "run", chosen=own)
    both = (scored.behaviour, scored.utility)
    with closing(score_halves(loaded, both, memory_for(loaded, 8), spill)) as scores:
        site, _ = next(scores)
        (folder,) = own.iterdir()
        (file,) = folder.glob("*.safetensors")
        held = sum(site.num_weights for site in loaded.layout.sites)
        assert 8 * held < file.stat().st_size < 8 * held + 8192
    assert everything(own) == everything(disk) == []
    assert site in loaded.layout.sites


@pytest.mark.parametrize("chosen", [False, True])
def test_a_place_that_is_memory_takes_nothing(
    loaded, scored, disk, monkeypatch, passes, chosen
):
    monkeypatch.setattr(scratch, "is_in_memory", lambda _: True)
    spill = Spill(run=Path("run"), chosen=disk if chosen else None)
    notes = Notes()
    with listening(notes):
        all_halves(loaded, scored, memory_for(loaded, 4), spill)
    assert len(passes) == 2 * 4
    ignored = f"--scratch {disk} is memory itself, so no score waits there; a folder "
    assert any(line.startswith(ignored) for line in notes.lines) is chosen


def test_a_full_disk_takes_nothing(loaded, scored, disk, monkeypatch, passes):
    monkeypatch.setattr(scratch, "free_disk", lambda _: 100)
    all_halves(loaded, scored, memory_for(loaded, 4), Spill(run=Path("run")))
    assert len(passes) == 2 * 4


def test_little_room_on_the_disk_gives_smaller_parts(
    loaded, scored, disk, tmp_path, monkeypatch, passes
):
    total = sum(site.num_weights for site in loaded.layout.sites)
    monkeypatch.setattr(scratch, "free_disk", lambda _: 8 * total / 2.5 / 0.9)
    all_halves(loaded, scored, memory_for(loaded, 4), Spill(run=tmp_path / "run"))
    assert len(passes) == 2 * 3


def test_scores_on_another_device_wait_on_the_host(loaded, monkeypatch):
    """A GPU holds the sums of one data set; only the host's room counts twice."""
    monkeypatch.setattr(
        scoring_passes, "_room",
        lambda *_: scoring_passes._Room(sums=room[0], results=room[1]),
    )  # fmt: skip
    fold = Floats(count=2)
    total = 8 * sum(site.num_weights for site in loaded.layout.sites)

    def num_parts(num_sets, spill=None):
        return len(
            scoring_passes.plan_waiting(
                loaded, fold, num_sets, ScoringOptions(), spill
            ).parts
        )

    room = (total, total)
    assert num_parts(2) == 1
    room = (total, total // 2)
    assert (num_parts(1), num_parts(2)) == (1, 2)
    assert len(scoring_passes.plan_whole(loaded, fold, ScoringOptions())) == 2
    room = (total // 2, total)
    assert num_parts(2) == 2
    monkeypatch.setattr(scoring_passes, "disk_for_scratch", lambda _: Path("/disk"))
    monkeypatch.setattr(scoring_passes, "room_in", lambda _: total)
    room = (total, total // 4)
    assert num_parts(2, Spill(run=Path("run"))) == 1


def test_an_error_in_the_middle_leaves_nothing_behind(
    loaded, scored, disk, study_in, monkeypatch
):
    seen = []

    def choke(*_):
        seen.append(everything(disk))
        raise KeyboardInterrupt

    monkeypatch.setattr("driftmap.recipes.steps.groups.taking.Chosen.add", choke)
    with pytest.raises(KeyboardInterrupt):
        study_in("run", scored, memory_for(loaded, 8))
    assert any(name.endswith(".safetensors") for name in seen[0])
    assert everything(disk) == []


def test_a_full_disk_names_the_option(loaded, scored, disk, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("driftmap.store.streaming._write_all", refuse)
    with pytest.raises(StoreError) as caught:
        all_halves(loaded, scored, memory_for(loaded, 8), Spill(run=tmp_path / "run"))
    assert caught.value.topic == "disk"
    assert str(caught.value).endswith(
        ": the disk is full; free some space, or choose a place with more room with "
        "--scratch"
    )
    assert everything(disk) == []


def test_what_a_killed_process_left_goes_with_the_next_command(
    loaded, scored, disk, study_in, tmp_path
):
    words = """
import signal, sys
from pathlib import Path
from driftmap.core.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1]), 10, Path(sys.argv[2])) as folder:
    (folder / "scores.safetensors").write_bytes(b"1234")
    print(folder, flush=True)
    signal.pause()
"""
    run = tmp_path / "run"
    command = [sys.executable, "-c", words, str(run), str(disk)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        left = Path(process.stdout.readline().strip())
        process.kill()
    assert leftovers(run) == [left]
    study_in("run", scored)
    assert everything(disk) == []


def test_where_all_fits_nothing_is_written_but_the_groups(
    loaded, scored, disk, study_in, tmp_path, monkeypatch
):
    written = []

    def note(event, args):
        if event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR):
            written.append(str(args[0]))

    step = audited(note, lambda: study_in("run", scored))
    inside = everything(tmp_path / "run")
    assert not [name for name in inside if "score" in name]
    assert [n for n in inside if n.startswith("groups/")]
    assert everything(disk) == []
    outside = [n for n in written if not n.startswith(str(tmp_path / "run"))]
    assert [n for n in outside if n != os.devnull] == []
    assert step.redone


def audited(note, work):
    """Hear what the interpreter opens while some work is done; hooks stay for good."""
    hearing = [True]
    sys.addaudithook(lambda event, args: note(event, args) if hearing[0] else None)
    try:
        return work()
    finally:
        hearing[0] = False


@pytest.mark.parametrize("bytes_a_weight", [16.0, 3.0])
def test_groups_of_kept_scores_are_those_of_memory(
    loaded, scored, disk, study_in, passes, bytes_a_weight
):
    tight = memory_for(loaded, bytes_a_weight)
    wanted = files_of(study_in("memory", scored))
    passes.clear()
    kept = study_in("kept", scored, tight, keep=True)
    assert len(passes) == (2 if bytes_a_weight == 16 else 2 * 2)
    assert files_of(kept) == wanted
    assert everything(disk) == []


def test_kept_scores_have_the_same_bytes_in_any_number_of_passes(
    loaded, scored, study_in, tmp_path
):
    study_in("one", scored, keep=True)
    study_in("many", scored, memory_for(loaded, 3), keep=True)
    for name in ("behaviour", "utility"):
        one, many = (
            tmp_path / run / f"scores/{name}.safetensors" for run in ("one", "many")
        )
        assert one.read_bytes() == many.read_bytes()


def test_other_shares_of_kept_scores_need_no_pass(scored, study_in, passes, tmp_path):
    study_in("run", scored, keep=True)
    passes.clear()
    other = GroupOptions(share=0.1, p=0.2, q=0.4)
    again = study_in("run", scored, groups=other)  # without --keep now
    assert (again.redone, passes) == (True, [])
    assert files_of(again) == files_of(study_in("anew", scored, groups=other))


def test_scores_are_made_again_where_what_they_depend_on_changed(
    loaded, scored, study_in, passes, tmp_path
):
    study_in("run", scored, keep=True)
    other = GroupOptions(share=0.1)
    kept = tmp_path / "run" / "scores/utility.safetensors"
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    passes.clear()
    study_in("run", scored, groups=other)
    assert len(passes) == 2
    passes.clear()
    sums = ScoringOptions(num_samples=6, positions="all")
    study_in("run", scored, sums, groups=other)
    assert len(passes) == 2


def test_scores_may_be_kept_of_a_run_that_has_its_groups(scored, study_in, passes):
    groups = study_in("run", scored)
    passes.clear()
    again = study_in("run", scored, keep=True)
    assert len(passes) == 2
    assert (again.redone, again.key) == (False, groups.key)


def test_kept_scores_are_read_one_matrix_at_a_time(
    loaded, scored, study_in, monkeypatch, tmp_path
):
    study_in("run", scored, keep=True)
    alive = []
    reading = kept_scores.read_halves

    def watched(file, site, join):
        halves = reading(file, site, join)
        alive.append((torch.utils.weak.WeakTensorKeyDictionary({halves.even: 1}), site))
        living = {at for kept, at in alive if len(kept)}
        assert len(living) <= 2  # the one that is read and the one before
        return halves

    monkeypatch.setattr(kept_scores, "read_halves", watched)
    study_in("run", scored, groups=GroupOptions(share=0.1))
    assert len(alive) == 2 * len(loaded.layout.sites)


def test_a_scratch_that_is_no_folder_is_refused_first(scored, study_in, tmp_path):
    with pytest.raises(UsageError, match="there is no such folder; make it or choose"):
        study_in("run", scored, scratch=tmp_path / "absent")


def test_no_group_is_one_sentence_with_scores_kept(scored, study_in, passes):
    none = GroupOptions(share=0.1, p=0.99, q=0.0001)
    with pytest.raises(DataError, match="raise --q or lower --p"):
        study_in("run", scored, groups=none, keep=True)
    passes.clear()
    study_in("run", scored)
    assert passes == []
