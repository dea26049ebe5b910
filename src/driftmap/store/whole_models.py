"""How does a model's folder become another one in which some experts are exchanged?

Every file is copied and the experts' bytes are written over: nothing else changes by a
bit, no model is built, and no memory is needed but for the experts.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from driftmap.core.errors import StoreError
from driftmap.core.progress import progress
from driftmap.results.expert_tuning import KeptTensor
from driftmap.store.files import explaining, remove, sync
from driftmap.store.raw_tensors import RawPlace, raw_places
from driftmap.store.widening import NARROW, widen_file, widen_settings

_OTHER_WEIGHTS = (
    ".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".gguf", ".ot",
)  # fmt: skip
_ONE_OF_MANY = re.compile(r"(.+)\[(\d+)\]")


@contextmanager
def patched_model(
    base: Path, tensors: Mapping[str, KeptTensor], out: Path
) -> Iterator[Path]:
    """Copy a model and write tensors over its own; it appears when the block succeeds.

    Where the tensors are in float32 and the model's are narrower, all of the new model
    is in float32.

    Args:
        base: Folder of a model with safetensors files.
        tensors: By the names of its files; `NAME[17]` is one expert of a tensor.
        out: Folder that is not there yet, or is empty.

    Yields:
        The new model under a temporary name, for a last check.

    Raises:
        StoreError: The folder is taken, the model lacks a tensor, has it in another
            shape or number type, or the disk refuses.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out}: is there already; choose another folder with --out")
    files = _weight_files(base)
    targets = _targets(base, files, tensors)
    widens = any(
        tensors[name].dtype == "F32" and target.place.dtype in NARROW
        for name, target in targets.items()
    )
    if not widens:
        for name, target in targets.items():
            _first_byte(base, name, tensors[name], target)
    temporary = out.with_name(f".{out.name}.tmp")
    remove(temporary)
    try:
        with explaining(out):
            temporary.mkdir(parents=True)
            _copy(base, files, temporary, widens=widens)
            for name, target in _targets(temporary, files, tensors).items():
                with target.file.open("r+b") as opened:
                    opened.seek(_first_byte(base, name, tensors[name], target))
                    opened.write(tensors[name].values.data)
            for path in temporary.iterdir():
                sync(path)
        yield temporary
        with explaining(out):
            if out.exists():
                out.rmdir()
            temporary.replace(out)
            sync(out.parent)
    finally:
        remove(temporary)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """What is written over: a whole tensor, or the part of one that is an expert's."""

    file: Path
    place: RawPlace
    number: int | None


def _targets(
    folder: Path, files: list[Path], tensors: Mapping[str, KeptTensor]
) -> dict[str, _Target]:
    there: dict[str, tuple[Path, RawPlace]] = {}
    for file in (folder / file.name for file in files):
        for name, place in raw_places(file)[0].items():
            there[name] = file, place
    found = {}
    for name in tensors:
        whole, number = name, None
        matched = _ONE_OF_MANY.fullmatch(name)
        if name not in there and matched:
            whole, number = matched.group(1), int(matched.group(2))
        if whole not in there:
            raise StoreError(
                f"{folder}: its files hold no {whole}; were the slices kept from "
                "another model, or does it keep its experts in another way?"
            )
        file, place = there[whole]
        found[name] = _Target(file=file, place=place, number=number)
    return found


def _first_byte(base: Path, name: str, kept: KeptTensor, target: _Target) -> int:
    place, number = target.place, target.number
    if kept.dtype != place.dtype:
        raise StoreError(
            f"{base}: {name} is {place.dtype} there and {kept.dtype} in the slices, "
            "and would be rounded; tune with the --dtype of the model's files"
        )
    size = kept.values.size
    fits = kept.shape == place.shape
    if number is not None:
        below = kept.shape[1:] == place.shape[1:]  # experts below each other
        inside = (number + 1) * size <= place.num_bytes
        fits = inside and (kept.shape == place.shape[1:] or below)
    if not fits:
        raise StoreError(
            f"{base}: {name} has the shape {list(kept.shape)} in the slices, which "
            f"does not fit {list(place.shape)} there; were they kept from another "
            "model?"
        )
    return place.start + (number or 0) * size


def _weight_files(base: Path) -> list[Path]:
    """The files that are loaded; others of their format may lie beside them."""
    index = base / "model.safetensors.index.json"
    if not index.is_file():
        return [base / "model.safetensors"]
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{index}: is no index of weights ({error}); copy the model again"
        ) from error
    return [base / name for name in sorted(names)]


def _copy(base: Path, weights: list[Path], folder: Path, *, widens: bool) -> None:
    """Copy a model's files, but weights that would not be exchanged."""
    files = [p for p in sorted(base.iterdir()) if p.is_file()]
    wanted = [p for p in files if p.suffix not in _OTHER_WEIGHTS or p in weights]
    with progress(f"copying {base.name}", len(wanted)) as bar:
        for path in wanted:
            if widens and path in weights:
                widen_file(path, folder / path.name)
            else:
                shutil.copyfile(path, folder / path.name)
            bar.advance()
    if widens and (folder / "config.json").is_file():
        widen_settings(folder / "config.json")
    templates = base / "additional_chat_templates"
    if templates.is_dir():
        shutil.copytree(templates, folder / templates.name)
