"""Does the map of the architecture name every module, and none that is not there?"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/driftmap"
MAP = (ROOT / "docs/explanation/architecture.md").read_text()
TREE = MAP.split("```text")[1].split("```")[0]
NAMED = set(re.findall(r"[a-z_0-9]+\.py", TREE))
IN_WORDS = ("results", "core", "formats")
"""Packages that the map describes without naming each module."""


def modules():
    return [p for p in SOURCE.rglob("*.py") if not p.name.startswith("__")]


def test_every_module_is_on_the_map():
    described = [p for p in modules() if p.parent.name not in IN_WORDS]
    missing = [p for p in described if p.name not in NAMED]
    assert len(described) > 300
    assert not missing, [str(p.relative_to(SOURCE)) for p in missing]


def test_the_map_names_nothing_that_is_not_there():
    assert not NAMED - {path.name for path in modules()}
