"""How does a model's folder become the same model in float32, exactly?

Experts that were tuned in float32 do not fit into files of bfloat16, and rounding them
would undo small steps. Every bfloat16 and float16 is a float32, so all is widened.
"""

import json
from pathlib import Path
from typing import cast

import numpy as np

from driftmap.core.progress import progress
from driftmap.results.expert_tuning import KeptTensor
from driftmap.store.plain import parse_json
from driftmap.store.raw_tensors import raw_places, read_raw, write_raw

NARROW = ("BF16", "F16")
"""Types that float32 holds exactly."""

_SETTINGS = ("dtype", "torch_dtype")


def widen_file(source: Path, target: Path) -> None:
    """Write a file of tensors with those of narrow types in float32."""
    places, metadata = raw_places(source)
    wide = {}
    with progress(f"widening {source.name}", len(places)) as bar:
        for name, kept in zip(places, read_raw(source, places), strict=True):
            wide[name] = _widened(kept)
            bar.advance()
    write_raw(target, wide, metadata)


def widen_settings(path: Path) -> None:
    """Have a config.json say that the weights are in float32."""
    settings = parse_json(path)
    text = json.dumps(_said_wide(settings), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _widened(kept: KeptTensor) -> KeptTensor:
    if kept.dtype == "BF16":
        bits = kept.values.view("<u2").astype("<u4") << 16
        values = bits.view(np.uint8)
    elif kept.dtype == "F16":
        values = kept.values.view("<f2").astype("<f4").view(np.uint8)
    else:
        return kept
    return KeptTensor(dtype="F32", shape=kept.shape, values=values.reshape(-1))


def _said_wide(settings: object) -> object:
    if not isinstance(settings, dict):
        return settings
    known = cast(dict[str, object], settings)
    return {
        name: "float32" if name in _SETTINGS and value else _said_wide(value)
        for name, value in known.items()
    }
