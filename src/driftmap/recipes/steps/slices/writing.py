"""How does a model with tuned experts come to be a folder, and the model before it?"""

from collections.abc import Sequence
from pathlib import Path

from driftmap.core.errors import StoreError
from driftmap.load.checkpoint import check_model_folder, find_folder
from driftmap.load.identity import weights_sha256
from driftmap.results.expert_tuning import ModelSlices
from driftmap.store.expert_slices import join_slices, load_slices
from driftmap.store.whole_models import patched_model


def write_applied(parts: Sequence[Path], model: str, out: Path) -> Path:
    """Write a model with slices in the place of its own experts.

    Args:
        parts: Files of slices, or folders of rounds.
        model: The model that they are of, untouched (folder or hub id).
        out: Folder of the new model.

    Returns:
        `out`.

    Raises:
        StoreError: Slices overlap or are of another model, or the folder is taken.
        ModelError: The model cannot be found.
    """
    slices = join_slices([load_slices(p) for p in parts], [str(p) for p in parts])
    folder = _folder(model)
    found = weights_sha256(folder)
    if found != slices.model_sha256:
        raise StoreError(
            f"{model}: its weights ({found[:12]}) are not those that {_named(parts)} "
            f"was tuned from ({slices.model}, {slices.model_sha256[:12]}); give that "
            "model as --model, untouched"
        )
    with patched_model(folder, slices.tensors, out):
        pass
    return out


def write_reverted(base_slices: Path, model: str, out: Path) -> Path:
    """Write a tuned model with its old experts back in their places.

    Args:
        base_slices: File of what they were.
        model: The tuned model (folder or hub id).
        out: Folder of the model as it was.

    Returns:
        `out`, with the weights of the untouched model, bit for bit.

    Raises:
        StoreError: The result is not that model, or the folder is taken.
        ModelError: The model cannot be found.
    """
    slices = load_slices(base_slices)
    with patched_model(_folder(model), slices.tensors, out) as made:
        found = weights_sha256(made)
        if found != slices.model_sha256:
            raise StoreError(_not_reverted(slices, base_slices, model, found))
    return out


def _folder(model: str) -> Path:
    folder = find_folder(model)
    check_model_folder(folder)
    return folder


def _named(parts: Sequence[Path]) -> str:
    return " and ".join(map(str, parts))


def _not_reverted(slices: ModelSlices, path: Path, model: str, found: str) -> str:
    return (
        f"{model}: with {path} in it its weights ({found[:12]}) are not those of "
        f"{slices.model} ({slices.model_sha256[:12]}): more of it was changed than "
        "these experts, or it is kept in another number type; give the model that "
        f"`driftmap slices apply` wrote, or take {slices.model} itself"
    )
