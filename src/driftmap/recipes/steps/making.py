"""What does every built-in model say of how it was made?"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

import tokenizers
import torch
import transformers


def home(package: ModuleType) -> Path:
    """Folder of a package's sources."""
    return Path(str(package.__file__)).parent


def version_of(number: int, sources: Iterable[Path]) -> str:
    """Name everything that a built-in model depends on but its seed.

    Args:
        number: Raised when models of the same sources should be made anew.
        sources: Files that decide what is made.
    """
    content = b"\0".join(path.read_bytes() for path in sources)
    return f"v{number}-{hashlib.sha256(content).hexdigest()[:12]}"


def write_card(
    path: Path, kind: str, version: str, seed: int, losses: Mapping[str, float]
) -> None:
    """Write beside a model what made it.

    Args:
        path: File to write.
        kind: Which built-in model.
        version: From `version_of`.
        seed: What it was drawn from.
        losses: Last loss by stage of training (nats).
    """
    card = {
        "kind": kind,
        "version": version,
        "seed": seed,
        "losses_nats": dict(losses),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "threads": 1,
    }
    path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
