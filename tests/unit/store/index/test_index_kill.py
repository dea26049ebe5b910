import subprocess
import sys
from pathlib import Path

import pytest

HELPERS = Path(__file__).parents[3]


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_before_any_change_of_a_file_loses_nothing(tmp_path, every):
    command = [sys.executable, HELPERS / "index_kill_points.py", tmp_path, str(every)]
    told = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    built, grown = map(int, told.stdout.split())
    assert built > 25
    assert grown > 25
