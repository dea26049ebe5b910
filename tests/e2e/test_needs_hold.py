"""Are estimates of memory and disk within a factor of 1.5 of what is measured?"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks/bench_needs.py"


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads peaks from /proc: run on Linux"
)
@pytest.mark.parametrize("size", ["3 M", "60 M"])
def test_estimates_are_near_what_is_measured(size):
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), size],
        capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    works = {"scoring", "fine-tuning", "evaluation", "the statistics", "disk"}
    assert set(found) == works
    ratios = {
        what: estimated / measured for what, (estimated, measured) in found.items()
    }
    assert all(1 / 1.5 <= ratio <= 1.5 for ratio in ratios.values()), (ratios, found)
