"""What is a run folder like after a SIGKILL at each point of its making?

Run as `python kill_points.py FOLDER EVERY`, where 1 means every point. An attempt is a
forked process that kills itself before its n-th change of the file system, which
Python announces to audit hooks; the same run is then taken up again, often killed
again, and finished.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from driftmap.core.places import Site
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.results.table import Table
from driftmap.store.groups import save_group
from driftmap.store.run_dir import RunDir
from driftmap.store.scores import save_scores
from driftmap.store.steps import StepFolders
from driftmap.store.tables import save_table

CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")
SITE = Site(path="m.0.q", layer=0, part="q", num_rows=8, num_columns=8)


def make_run(folder: Path, version: int) -> None:
    """Three steps that build on each other; `version` is an input of the first."""
    redoes = {"edition": ("score", "tune", "report")}
    with RunDir.open(folder, {"edition": version}, "kill", redoes=redoes) as run:
        first = run.step("score", {"version": version}, _score(version))
        second = run.long_step("tune", {"score": first.key}, _tune)
        inputs = {"tune": second.key, "files": second.files}
        run.step("report", inputs, lambda made: _report(run.path, made))


def _score(version: int):
    def make(folder: Path) -> None:
        scores = np.full(SITE.shape, version, dtype=np.float32)
        save_scores(folder / "scores" / "snip.safetensors", {SITE: scores}, {})
        group = WeightGroup(
            name="top",
            members={SITE: np.arange(version + 3)},
            origin=GroupOrigin(model_sha256="a", base_sha256="a", rule="top"),
        )
        save_group(folder / "groups" / f"top_{version}.safetensors", group)

    return make


def _tune(folders: StepFolders) -> None:
    """Goes on after the last checkpoint, as a training run does."""
    for number in range(3):
        checkpoint = folders.work / f"{number}.txt"
        if not checkpoint.exists():
            before = folders.work / f"{number - 1}.txt"
            text = before.read_text() if number else ""
            half = folders.work / "half"
            half.write_text(f"{text}{number}\n")
            half.replace(checkpoint)
        target = folders.folder / "checkpoints" / str(number) / "state.txt"
        target.parent.mkdir(parents=True)
        target.write_bytes(checkpoint.read_bytes())


def _report(root: Path, folder: Path) -> None:
    rows = [
        {"step": n, "size": (root / f"checkpoints/{n}/state.txt").stat().st_size}
        for n in range(3)
    ]
    save_table(folder / "tables" / "sizes.parquet", Table.from_rows(rows))
    (folder / "report.txt").write_text(f"{rows}\n")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a finished run but those that hold times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "provenance.json")
    }


def attempt(folder: Path, version: int, kill_at: int | None) -> bool:
    """Make the run in a process of its own; whether it lived to the end."""
    return attempt_to(lambda: make_run(folder, version), folder, kill_at)


def attempt_to(act: Callable[[], object], folder: Path, kill_at: int | None) -> bool:
    """Do something to a run in a process of its own; whether it lived to the end."""
    child = os.fork()
    if child == 0:
        if kill_at is not None:
            _arm(folder, kill_at)
        code = 1
        try:
            act()
            code = 0
        finally:
            if code:
                sys.excepthook(*sys.exc_info())
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.waitstatus_to_exitcode(status) == 0, "an attempt failed"
    return True


def _arm(folder: Path, kill_at: int) -> None:
    count = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if event not in CHANGES or str(folder) not in str(arguments[0]):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    sys.addaudithook(hook)


def check_markers(folder: Path) -> None:
    """No marker speaks of a file that is missing or another one.

    But for those that it says were cleaned away.
    """
    for marker in (folder / "steps").glob("*.json"):
        said = json.loads(marker.read_text())
        for name, digest in said["files"].items():
            if name in said.get("removed", []) and not (folder / name).exists():
                continue
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            assert found == digest, f"{marker.name} speaks of another {name}"


def check_way_back(folder: Path, copy: Path, earlier: dict[str, bytes]) -> None:
    """The earlier settings are taken up again, whatever the change had come to."""
    shutil.copytree(folder, copy)
    assert attempt(copy, 0, None)
    assert contents(copy) == earlier
    shutil.rmtree(copy)


def main(place: Path, every: int) -> None:
    """Kill new runs and runs with changed inputs at every so many points."""
    os.fsync = lambda _: None  # a killed process loses nothing the system holds
    make_run(place / "warm", 0)  # so that no child has to import anything
    undisturbed = {}
    for version in (0, 1):
        attempt(place / f"calm_{version}", version, None)
        undisturbed[version] = contents(place / f"calm_{version}")
    assert set(undisturbed[0]) != set(undisturbed[1])
    dice = random.Random(0)
    points = {0: 0, 1: 0}
    for version in (0, 1):
        finished = False
        while not finished:
            folder = place / "run"
            if version:
                shutil.copytree(place / "calm_0", folder)
            finished = attempt(folder, version, points[version])
            check_markers(folder)
            if version:
                check_way_back(folder, place / "back", undisturbed[0])
            if not attempt(folder, version, dice.randrange(60)):
                check_markers(folder)
            assert attempt(folder, version, None)
            assert contents(folder) == undisturbed[version]
            shutil.rmtree(folder)
            points[version] += every
    sys.stdout.write(f"{points[0]} {points[1]}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
