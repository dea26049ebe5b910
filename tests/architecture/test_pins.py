"""Do the pinned versions agree with what is declared?"""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DECLARED = [
    Requirement(text)
    for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "dependencies"
    ]
]
MACHINES = [
    {"python_full_version": f"3.{minor}.0", "sys_platform": platform}
    for minor in (11, 12, 13)
    for platform in ("linux", "darwin")
]


def pins(file: str) -> list[Requirement]:
    lines = (ROOT / file).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def version(pin: Requirement) -> str:
    (exactly,) = pin.specifier
    assert exactly.operator == "==", pin
    return exactly.version


@pytest.mark.parametrize(
    "file", ["requirements.txt", "constraints/cpu.txt", "constraints/lowest.txt"]
)
def test_every_line_pins_one_version_that_any_index_has(file):
    for pin in pins(file):
        assert re.fullmatch(r"[\d.]+(post\d+)?", version(pin)), pin
        assert pin.url is None, pin


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: " ".join(m.values()))
def test_every_dependency_is_pinned_within_its_range(machine):
    pinned = {
        canonicalize_name(pin.name): version(pin)
        for pin in pins("requirements.txt")
        if pin.marker is None or pin.marker.evaluate(machine)
    }
    for wanted in DECLARED:
        found = pinned.get(canonicalize_name(wanted.name))
        assert found is not None, f"{wanted.name}: run constraints/pin.sh"
        assert wanted.specifier.contains(found), f"{wanted}: run constraints/pin.sh"


def test_nothing_that_only_cuda_needs_is_pinned():
    names = [pin.name for pin in pins("requirements.txt")]
    assert not [n for n in names if n.startswith(("cuda", "nvidia", "triton"))]


def test_torch_is_the_same_everywhere():
    files = ("requirements.txt", "constraints/cpu.txt", "constraints/lowest.txt")
    found = {version(p) for file in files for p in pins(file) if p.name == "torch"}
    assert len(found) == 1


def test_the_lowest_set_is_what_is_declared_as_lowest():
    lowest = {pin.name: version(pin) for pin in pins("constraints/lowest.txt")}
    del lowest["torch"]  # stays at the release that the others are tested with
    declared = {wanted.name: wanted.specifier for wanted in DECLARED}
    assert lowest.keys() == {"transformers", "peft", "trl"}
    for name, pinned in lowest.items():
        (bound,) = (spec for spec in declared[name] if spec.operator == ">=")
        parts = bound.version.split(".")
        assert pinned.split(".") == parts + ["0"] * (3 - len(parts))
