"""What is a run folder like after a SIGKILL at each point of its being cleaned?

Run as `python clean_kill_points.py FOLDER EVERY`, where 1 means every point. Each time
the run is made again, or cleaned once more and then made again; both must end in the
bytes of a run that nobody touched.
"""

import os
import shutil
import sys
from pathlib import Path

from driftmap.recipes.clean import Clean
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepFolders
from kill_points import attempt, attempt_to, check_markers, contents, make_run


def clean(folder: Path) -> None:
    """Free all that can be spared."""
    Clean(folder, checkpoints=True).run()


def leave_remains(folder: Path) -> None:
    """Be killed in a step of its own, and in training."""
    with RunDir.hold(folder) as run:
        (folder / "steps/.score.partial").mkdir()
        (folder / "steps/.score.partial/half").write_text("half")
        (folder / ".run.yaml.1.tmp").write_text("half")
        try:
            run.long_step("tune-more", {}, _train)
        except KeyboardInterrupt:
            return


def _train(folders: StepFolders) -> None:
    (folders.work / "state").write_text("state")
    raise KeyboardInterrupt


def same_but_log(folder: Path) -> dict[str, bytes]:
    """Every file that must be the same; what was said differs."""
    return {name: kept for name, kept in contents(folder).items() if name != "log.txt"}


def check_made_again(folder: Path, copy: Path, whole: dict[str, bytes]) -> None:
    """The command that made the run makes it whole."""
    shutil.copytree(folder, copy)
    assert attempt(copy, 0, None)
    shutil.rmtree(copy / "steps/tune-more.work", ignore_errors=True)
    assert same_but_log(copy) == whole
    shutil.rmtree(copy)


def main(place: Path, every: int) -> None:
    """Kill the cleaning at every so many points."""
    os.fsync = lambda _: None  # a killed process loses nothing the system holds
    calm = place / "calm"
    make_run(calm, 0)
    whole = contents(calm)
    leave_remains(calm)
    shutil.copytree(calm, place / "warm")
    clean(place / "warm")  # so that no child has to import anything
    spared = same_but_log(place / "warm")
    assert set(spared) < set(whole)
    folder = place / "run"
    point, finished = 0, False
    while not finished:
        shutil.copytree(calm, folder)
        finished = attempt_to(lambda: clean(folder), folder, point)
        check_markers(folder)
        check_made_again(folder, place / "copy", whole)
        assert attempt_to(lambda: clean(folder), folder, None)
        assert same_but_log(folder) == spared
        check_made_again(folder, place / "copy", whole)
        shutil.rmtree(folder)
        point += every
    sys.stdout.write(f"{point}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
