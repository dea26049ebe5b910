"""How is an adapter kept whose frozen entries it does not touch?

As factors beside the entries, in one file. It is no plain adapter: a program that read
the factors alone would move what was frozen. So neither file has the name that PEFT
looks for.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from driftmap.families.masked import Entries
from driftmap.results.freezing import (
    FROZEN_PREFIX,
    MASKED_CONFIG,
    MASKED_README,
    MASKED_WEIGHTS,
)


def save_masked_adapter(folder: Path, entries: Mapping[str, Entries]) -> None:
    """Turn a folder that holds a plain adapter into one that holds a masked adapter.

    Args:
        folder: As PEFT wrote it.
        entries: Frozen flat indices per module path, in its matrix `[out in]`.
    """
    plain = folder / "adapter_model.safetensors"
    tensors = load_file(plain)
    for path, index in entries.items():
        tensors[FROZEN_PREFIX + path] = torch.from_numpy(index)
    save_file(tensors, folder / MASKED_WEIGHTS)
    plain.unlink()
    (folder / "adapter_config.json").replace(folder / MASKED_CONFIG)
    (folder / "README.md").write_text(MASKED_README, encoding="utf-8")
