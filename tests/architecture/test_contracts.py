"""Do imports only point down, and does reading a result never need torch?"""

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "peft", "trl", "pandas", "scipy", "datasets"}


def _modules_after(code):
    ask = "import sys, json; print('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{ask}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_imports_point_down():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "command",
    ["", "drift", "demo", "score", "report", "run", "clean", "data", "index", "merge"],
)
def test_help_starts_without_heavy_libraries(command):
    words = [w for w in (command, "--help") if w]
    loaded = _modules_after(f"from driftmap.cli.main import main\nmain({words})")
    assert not loaded & HEAVY


def test_reading_and_drawing_results_need_no_torch():
    loaded = _modules_after(
        "import driftmap.store.run_dir, driftmap.render.html, driftmap.stats, "
        "driftmap.recipes.steps.similarity.reporting"
    )
    assert "torch" not in loaded


def test_nothing_we_need_brings_torchvision_or_torchaudio():
    seen, todo = set(), ["driftmap"]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        todo += [
            re.split(r"[^\w.-]", need, maxsplit=1)[0].lower()
            for need in needs
            if "extra ==" not in need
        ]
    assert "torch" in seen
    assert not seen & {"torchvision", "torchaudio"}
