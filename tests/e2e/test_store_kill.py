import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HELPERS = Path(__file__).parents[1]
ONE_RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import kill_points
print("ready", flush=True)
kill_points.make_run(Path(sys.argv[2]), 0)
"""


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_before_any_change_of_a_file_loses_nothing(tmp_path, every):
    command = [
        sys.executable,
        str(HELPERS / "kill_points.py"),
        str(tmp_path),
        str(every),
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    new, changed = map(int, told.stdout.split())
    assert new > 50
    assert changed > 50


def test_a_kill_at_any_moment_loses_nothing(tmp_path):
    def start(folder):
        command = [sys.executable, "-c", ONE_RUN, str(HELPERS), str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        return process

    begin = time.perf_counter()
    with start(tmp_path / "calm") as process:
        assert process.wait() == 0
    took = time.perf_counter() - begin
    dice = random.Random(1)
    for _ in range(4):
        with start(tmp_path / "run") as process:
            time.sleep(dice.uniform(0, took / 10))
            process.send_signal(signal.SIGKILL)
    with start(tmp_path / "run") as process:
        assert process.wait() == 0
    assert contents(tmp_path / "run") == contents(tmp_path / "calm")


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name not in (".lock", "provenance.json")
    }
