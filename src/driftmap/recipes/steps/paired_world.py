"""Where are the built-in pairs of samples that say the same in other words?"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from driftmap import worlds
from driftmap.results.samples import Sample
from driftmap.store.cache import cache_folder, cached
from driftmap.worlds.versions.pairs import VersionName, make_versions
from driftmap.worlds.world import make_world

VERSION = 1
"""Raised when pairs of the same sources should be written anew."""


def make_pairs(seed: int = 0, folder: Path | None = None) -> Mapping[VersionName, Path]:
    """Write the pairs of a world, or find them in the cache.

    Args:
        seed: What the world is drawn from: that of the organism they are for.
        folder: The cache; the user's own one by default.

    Returns:
        Samples files, by version. They are shared: copy them before changing them.

    Raises:
        StoreError: The disk is full or the cache may not be written to.
    """
    home = cached(
        folder or cache_folder(),
        f"pairs-{_version()}-seed{seed}",
        lambda temporary: _make(seed, temporary),
    )
    return {name: home / f"{name}.jsonl" for name in get_args(VersionName)}


def _version() -> str:
    sources = sorted(Path(str(worlds.__file__)).parent.rglob("*.py"))
    content = b"\0".join(path.read_bytes() for path in (Path(__file__), *sources))
    return f"v{VERSION}-{hashlib.sha256(content).hexdigest()[:12]}"


def _make(seed: int, folder: Path) -> None:
    for name, samples in make_versions(make_world(seed)).items():
        rows = [json.dumps(_row(one, seed), ensure_ascii=False) for one in samples]
        text = "".join(row + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def _row(sample: Sample, seed: int) -> dict[str, object]:
    return {
        "id": sample.id,
        "original_id": sample.original_id,
        "version": sample.version,
        "messages": [{"role": m.role, "content": m.content} for m in sample.messages],
        "label": sample.label,
        "origin": f"the built-in world of seed {seed}",
    }
