"""How does a model's folder become another one in which some experts are exchanged?

Every file is copied and the experts' bytes are written over: nothing else changes by a
bit, no model is built, and no memory is needed but for the experts.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from driftmap.core.errors import StoreError
from driftmap.core.progress import progress
from driftmap.results.expert_tuning import KeptTensor
from driftmap.store.files import explaining, remove, sync
from driftmap.store.raw_tensors import RawPlace, raw_places

_OTHER_WEIGHTS = (
    ".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".gguf", ".ot",
)  # fmt: skip
_ONE_OF_MANY = re.compile(r"(.+)\[(\d+)\]")


@contextmanager
def patched_model(
    base: Path, tensors: Mapping[str, KeptTensor], out: Path
) -> Iterator[Path]:
    """Copy a model and write tensors over its own; it appears when the block succeeds.

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
    temporary = out.with_name(f".{out.name}.tmp")
    remove(temporary)
    try:
        with explaining(out):
            temporary.mkdir(parents=True)
            _copy(base, files, temporary)
            for name, (file, start) in targets.items():
                with (temporary / file.name).open("r+b") as opened:
                    opened.seek(start)
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


def _targets(
    base: Path, files: list[Path], tensors: Mapping[str, KeptTensor]
) -> dict[str, tuple[Path, int]]:
    """File and first byte of every tensor that is written over."""
    there = {
        name: (file, place)
        for file in files
        for name, place in raw_places(file)[0].items()
    }
    found = {}
    for name, kept in tensors.items():
        whole, number = name, None
        matched = _ONE_OF_MANY.fullmatch(name)
        if name not in there and matched:
            whole, number = matched.group(1), int(matched.group(2))
        if whole not in there:
            raise StoreError(
                f"{base}: its files hold no {whole}; were the slices kept from "
                "another model, or does it keep its experts in another way?"
            )
        file, place = there[whole]
        found[name] = file, _first_byte(base, name, kept, place, number)
    return found


def _first_byte(
    base: Path, name: str, kept: KeptTensor, place: RawPlace, number: int | None
) -> int:
    if kept.dtype != place.dtype:
        raise StoreError(
            f"{base}: {name} is {place.dtype} there and {kept.dtype} in the slices; "
            "load the model in the slices' type, save it, and write them into that"
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


def _copy(base: Path, weights: list[Path], folder: Path) -> None:
    """Copy a model's files, but weights that would not be exchanged."""
    files = [p for p in sorted(base.iterdir()) if p.is_file()]
    wanted = [p for p in files if p.suffix not in _OTHER_WEIGHTS or p in weights]
    with progress(f"copying {base.name}", len(wanted)) as bar:
        for path in wanted:
            shutil.copyfile(path, folder / path.name)
            bar.advance()
    templates = base / "additional_chat_templates"
    if templates.is_dir():
        shutil.copytree(templates, folder / templates.name)
