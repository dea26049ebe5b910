"""What is an index like after a SIGKILL at each point of its making?

Run as `python index_kill_points.py FOLDER EVERY`, where 1 means every point. An attempt
is a forked process that kills itself before its n-th change of the file system; the
same command is then given again, often killed again, and finished.
"""

import os
import random
import shutil
import sys
from functools import partial
from pathlib import Path

from driftmap.core.errors import StoreError
from driftmap.engine.run import run_shards
from driftmap.recipes.steps.index.beginning import begun, held
from driftmap.store.index.folder import Index
from driftmap.store.index.header import load_header, save_header
from driftmap.store.index.joining import with_part
from driftmap.store.index.shards import SHARDS
from kill_points import attempt_to
from made_index import Made, contents, engine_shards, made_header, made_part


def build(folder: Path) -> None:
    """As `driftmap index build` does it."""
    with begun(folder, made_header(8)) as header:
        run_shards(Made(header), engine_shards(header), folder / SHARDS)


def grow(folder: Path) -> None:
    """As `driftmap index append` does it."""
    with held(folder):
        header = load_header(folder)
        longer = with_part(folder, header, made_part("more", 5))
        if longer is not header:
            save_header(folder, longer)
        run_shards(Made(longer), engine_shards(longer), folder / SHARDS)


def check(folder: Path) -> None:
    """An index opens with all it speaks of, or not at all."""
    try:
        index = Index(folder)
    except StoreError:
        return
    num = sum(shard.planned.num_samples for shard in index.shards())
    assert num == index.num_samples
    assert len(index.samples(range(num))) == num


def main(place: Path, every: int) -> None:
    """Kill builds and appends at every so many points."""
    os.fsync = lambda _: None  # a killed process loses nothing the system holds
    build(place / "warm")  # so that no child has to import anything
    grow(place / "warm")
    assert attempt_to(lambda: build(place / "calm"), place / "calm", None)
    built = contents(place / "calm")
    shutil.copytree(place / "calm", place / "calm_grown")
    assert attempt_to(lambda: grow(place / "calm_grown"), place / "calm_grown", None)
    grown = contents(place / "calm_grown")
    dice = random.Random(0)
    points = {}
    for act, start, wanted in ((build, None, built), (grow, place / "calm", grown)):
        point, finished = 0, False
        while not finished:
            folder = place / "run"
            if start is not None:
                shutil.copytree(start, folder)
            finished = attempt_to(partial(act, folder), folder, point)
            check(folder)
            if not attempt_to(partial(act, folder), folder, dice.randrange(40)):
                check(folder)
            assert attempt_to(partial(act, folder), folder, None)
            assert contents(folder) == wanted
            shutil.rmtree(folder)
            point += every
        points[act.__name__] = point
    sys.stdout.write(f"{points['build']} {points['grow']}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
