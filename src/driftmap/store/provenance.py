"""With what, on what and from what was a run made, and what did each step cost?

Times and memory stand here alone, so that every other file of a run is the same
bytes however often the run was interrupted.
"""

import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import cast

from driftmap.core.errors import StoreError
from driftmap.store.plain import load_json, save_json

_KIND = "driftmap.provenance"
_PACKAGES = (
    "driftmap", "torch", "transformers", "peft", "trl", "accelerate", "tokenizers",
    "safetensors", "numpy", "scipy", "pyarrow",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What results may depend on besides a run's settings.

    Args:
        versions: Package -> version, of those that are installed.
        git_revision: Commit of the driftmap checkout, `-dirty` if it was changed;
            None for an installed package.
        python: Version of the interpreter.
        platform: Operating system and processor.
        num_threads: Threads of the arithmetic.
        device: Where the model was.
        dtype: Type of the model's weights.
    """

    versions: Mapping[str, str]
    git_revision: str | None
    python: str
    platform: str
    num_threads: int
    device: str
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """What a step took.

    Args:
        wall_seconds: From its beginning, of the attempt that finished it.
        peak_memory_bytes: Highest resident memory of the process up to its end.
        environment: Number of the environment it ran in; None if not stated.
    """

    wall_seconds: float
    peak_memory_bytes: int
    environment: int | None


def describe_environment(*, num_threads: int, device: str, dtype: str) -> Environment:
    """Look at this process without importing any of the packages.

    >>> describe_environment(num_threads=1, device="cpu", dtype="float32").device
    'cpu'
    """
    return Environment(
        versions=_versions(),
        git_revision=_git_revision(Path(__file__).parent),
        python=platform.python_version(),
        platform=f"{platform.platform()} {platform.processor()}".strip(),
        num_threads=num_threads,
        device=device,
        dtype=dtype,
    )


def peak_memory_bytes() -> int:
    """Highest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def add_environment(path: Path, environment: Environment) -> int:
    """Note an environment once and return its number."""
    whole = read_provenance(path)
    known = cast(list[object], whole["environments"])
    plain = asdict(environment)
    if plain not in known:
        known.append(plain)
        save_json(path, whole, _KIND)
    return known.index(plain)


def add_entries(path: Path, section: str, entries: Mapping[str, object]) -> None:
    """Note named facts in a section: `seeds`, `inputs_sha256` or `steps`."""
    whole = read_provenance(path)
    old = cast(dict[str, object], whole[section])
    if any(name not in old or old[name] != value for name, value in entries.items()):
        save_json(path, {**whole, section: {**old, **entries}}, _KIND)


def add_cost(path: Path, step: str, cost: StepCost) -> None:
    """Note what a step took."""
    add_entries(path, "steps", {step: asdict(cost)})


def read_provenance(path: Path) -> dict[str, object]:
    """Read the sections noted so far; empty ones for a run that begins.

    Raises:
        StoreError: The file is damaged or foreign.
    """
    empty: dict[str, object] = {
        "environments": [], "seeds": {}, "inputs_sha256": {}, "steps": {},
    }  # fmt: skip
    if not path.exists():
        return empty
    whole = load_json(path, _KIND)
    for section, value in empty.items():
        if not isinstance(whole.get(section), type(value)):
            raise StoreError(
                f"{path}: its section {section!r} is damaged; "
                "remove the file and repeat the command"
            )
    return whole


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git_revision(folder: Path) -> str | None:
    """Commit of the checkout that tracks this very file, else None."""
    git = shutil.which("git")
    if git is None or _answer(git, folder, "ls-files", "--error-unmatch", ".") is None:
        return None
    return _answer(
        git, folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"
    )


def _answer(git: str, folder: Path, *words: str) -> str | None:
    done = subprocess.run(
        [git, "-C", str(folder), *words], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None
