"""How are the experts and routers that tuning moved kept apart from their model?

One safetensors file under the names that the model's own files use, so that programs
which know nothing of driftmap can load it over the model. Its header says whose experts
they are. Of a model with `F` tensors in a file, an expert in one tensor of all experts
is kept as `NAME[17]`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from driftmap.core.errors import StoreError
from driftmap.results.expert_tuning import KeptSlice, KeptTensor, ModelSlices
from driftmap.store.codec import METADATA
from driftmap.store.plain import VERSION, check_format, sorted_json
from driftmap.store.raw_tensors import raw_places, read_raw, write_raw

SLICES_KIND = "driftmap.expert-slices"
MASTERS_KIND = "driftmap.expert-masters"
EXPERTS_FILE = "expert_slices.safetensors"
"""Tuned experts of a round, in its folder."""

ROUTERS_FILE = "router.safetensors"
"""Trained routers of a round, in its folder."""

MASTERS_FILE = "masters.safetensors"
"""Of bfloat16 models: what the next round goes on from, in a round's folder."""

BASE_FILE = "base_slices.safetensors"
"""What all of these were before the first round."""


def save_slices(path: Path, slices: ModelSlices) -> None:
    """Write slices, whole or not at all, the same bytes each time."""
    about = {
        "kind": SLICES_KIND,
        "version": VERSION,
        "model": slices.model,
        "model_sha256": slices.model_sha256,
        "slices": [
            {
                "path": one.path,
                "layer": one.layer,
                "expert": one.expert,
                "tensors": sorted(one.tensors),
            }
            for one in slices.slices
        ],
    }
    write_raw(path, slices.tensors, {"format": "pt", METADATA: sorted_json(about)})


def load_slices(path: Path) -> ModelSlices:
    """Read slices from a file, or from a round's folder.

    Args:
        path: A file that `save_slices` wrote, or a folder with such files of experts
            and routers.

    Raises:
        StoreError: There is no such file, it is damaged, or it holds something else.
    """
    if not path.is_dir():
        return _load(path)
    files = [path / name for name in (EXPERTS_FILE, ROUTERS_FILE)]
    there = [file for file in files if file.is_file()]
    if not there:
        raise StoreError(
            f"{path}: holds neither {EXPERTS_FILE} nor {ROUTERS_FILE}; name the folder "
            "of a round (`checkpoints/round_3`), or a file"
        )
    return join_slices([_load(file) for file in there], [str(file) for file in there])


def save_masters(path: Path, masters: Mapping[str, KeptTensor]) -> None:
    """Write what narrow weights would be in float32, for the next round."""
    about = {"kind": MASTERS_KIND, "version": VERSION}
    write_raw(path, masters, {METADATA: sorted_json(about)})


def load_masters(path: Path) -> dict[str, KeptTensor]:
    """Read what `save_masters` wrote; nothing where it wrote nothing.

    Raises:
        StoreError: The file is damaged or holds something else.
    """
    if not path.exists():
        return {}
    places, metadata = raw_places(path)
    check_format(path, _header(path, metadata), MASTERS_KIND)
    return dict(zip(places, read_raw(path, places), strict=True))


def join_slices(parts: Sequence[ModelSlices], names: Sequence[str]) -> ModelSlices:
    """Put slices of one model together.

    Args:
        parts: At least one.
        names: What each is called in messages.

    Raises:
        StoreError: They are of different models, or two hold the same expert.
    """
    first = parts[0]
    owners: dict[str, str] = {}
    for part, name in zip(parts, names, strict=True):
        if part.model_sha256 != first.model_sha256:
            raise StoreError(
                f"{name}: is of {_whose(part)} and {names[0]} of {_whose(first)}; join "
                "slices of one model alone"
            )
        for one in part.slices:
            if one.key in owners:
                raise StoreError(
                    f"{name}: holds {one.key}, and so does {owners[one.key]}; which of "
                    "them is meant is not known, leave one of the files out"
                )
            owners[one.key] = name
    return ModelSlices(
        model=first.model,
        model_sha256=first.model_sha256,
        slices=tuple(one for part in parts for one in part.slices),
    )


def _load(path: Path) -> ModelSlices:
    places, metadata = raw_places(path)
    about = _header(path, metadata)
    check_format(path, about, SLICES_KIND)
    tensors = dict(zip(places, read_raw(path, places), strict=True))
    try:
        slices = tuple(_slice(plain, tensors) for plain in cast(list, about["slices"]))
        sha256, model = about["model_sha256"], about["model"]
        whole = {name for one in slices for name in one.tensors} == set(tensors)
        if not (isinstance(sha256, str) and isinstance(model, str) and whole):
            raise ValueError("its list of experts is not that of its tensors")
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path}: its header is damaged ({error}); copy it again"
        ) from error
    return ModelSlices(model=model, model_sha256=sha256, slices=slices)


def _header(path: Path, metadata: Mapping[str, str]) -> dict[str, object]:
    try:
        about = json.loads(metadata.get(METADATA, "{}"))
    except (ValueError, TypeError) as error:
        raise StoreError(f"{path}: its header is damaged; copy it again") from error
    if not isinstance(about, dict):
        raise StoreError(f"{path}: its header is damaged; copy it again")
    return about


def _slice(plain: Mapping[str, object], tensors: Mapping[str, KeptTensor]) -> KeptSlice:
    path, layer, expert = plain["path"], plain["layer"], plain["expert"]
    names = cast(list[str], plain["tensors"])
    if not isinstance(path, str) or type(layer) is not int:
        raise TypeError("a place is no place")
    if expert is not None and type(expert) is not int:
        raise TypeError("an expert is no number")
    return KeptSlice(
        path=path,
        layer=layer,
        expert=expert,
        tensors={name: tensors[name] for name in names},
    )


def _whose(slices: ModelSlices) -> str:
    return f"{slices.model} ({slices.model_sha256[:12]})"
