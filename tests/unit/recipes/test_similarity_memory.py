"""Does memory grow with the queries alone?"""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_peak_does_not_grow_with_the_originals():
    done = subprocess.run(
        [sys.executable, str(TESTS / "peak_of_pairs.py")],
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, more = map(int, done.stdout.split())
    assert kept > 64 * 2**20
    assert more < kept / 8
