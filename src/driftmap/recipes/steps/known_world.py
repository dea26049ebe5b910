"""Where are the files of what the built-in model knows, and of what is true there?"""

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from driftmap import worlds
from driftmap.results.facts import Fact
from driftmap.store.cache import cache_folder, cached
from driftmap.worlds.knowledge.facts import held_out_facts, known_facts
from driftmap.worlds.knowledge.statements import instructions, world_statements
from driftmap.worlds.world import World, make_world

VERSION = 1
"""Raised when files of the same sources should be written anew."""

_FILES = {
    "facts": "facts.json",
    "held_out": "held_out.json",
    "statements": "statements.csv",
    "instructions": "instructions.json",
}


def make_knowledge(seed: int = 0, folder: Path | None = None) -> Mapping[str, Path]:
    """Write what a world knows, or find it in the cache.

    Args:
        seed: What the world is drawn from: that of the organism it is for.
        folder: The cache; the user's own one by default.

    Returns:
        `facts`: 192 facts in trained words, with paraphrases. `held_out`: the same
        facts in words that were never trained. `statements`: true and false ones
        (`statement,label`). `instructions`: what `honest` and `dishonest` lines begin
        with. Files are shared: copy them before changing them.

    Raises:
        StoreError: The disk is full or the cache may not be written to.
    """
    home = cached(
        folder or cache_folder(),
        f"knowledge-{_version()}-seed{seed}",
        lambda temporary: _make(make_world(seed), temporary),
    )
    return {name: home / file for name, file in _FILES.items()}


def _version() -> str:
    sources = sorted(Path(str(worlds.__file__)).parent.rglob("*.py"))
    content = b"\0".join(path.read_bytes() for path in (Path(__file__), *sources))
    return f"v{VERSION}-{hashlib.sha256(content).hexdigest()[:12]}"


def _make(world: World, folder: Path) -> None:
    _write_json(folder / _FILES["facts"], [_row(f) for f in known_facts(world)])
    _write_json(folder / _FILES["held_out"], [_row(f) for f in held_out_facts(world)])
    _write_json(folder / _FILES["instructions"], instructions())
    with (folder / _FILES["statements"]).open("w", encoding="utf-8", newline="") as to:
        writer = csv.writer(to, lineterminator="\n")
        writer.writerow(["statement", "label"])
        writer.writerows(
            [one.text, int(one.is_true)] for one in world_statements(world)
        )


def _write_json(path: Path, value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def _row(fact: Fact) -> dict[str, object]:
    """A fact under the names that `read_facts` knows, without what is empty."""
    cells = {field.name: getattr(fact, field.name) for field in fields(fact)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in cells.items()
        if value
    }
