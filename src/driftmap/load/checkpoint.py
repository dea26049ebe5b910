"""Where do a model's files lie, and are they whole and safe to read?"""

import json
from pathlib import Path

from driftmap.core.errors import ModelError
from driftmap.load.hub_model import download_model
from driftmap.load.tensor_files import stored_tensors

_VOCABULARIES = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken")


def find_folder(name: str, *, with_code: bool = False) -> Path:
    """Find a model's or adapter's folder, downloading it from the hub if it must.

    Args:
        name: A local folder, or a hub id.
        with_code: Fetch the Python files that come with the model too.

    Returns:
        A local folder.

    Raises:
        ModelError: There is no such folder, or the hub cannot be reached, does not
            know the name or does not show it to this user.
    """
    return _local(name) or download_model(name, with_code=with_code)


def find_outline(name: str) -> Path:
    """Find a model's folder for its configuration alone.

    Args:
        name: A local folder, or a hub id.

    Returns:
        A local folder; of a model on the hub, its weights are in it only if they were
        downloaded before.

    Raises:
        ModelError: As `find_folder`.
    """
    return _local(name) or download_model(name, with_weights=False)


def check_model_folder(folder: Path) -> None:
    """Refuse a folder that holds no model, or one that is broken or unsafe.

    Raises:
        ModelError: No configuration, no safetensors weights, a missing or broken file.
    """
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelError(
                f"{folder}: it is an adapter ({_base_of(folder)}), not a model; "
                "give it as --adapter and its base as --model"
            )
        raise ModelError(
            f"{folder}: it is no model (config.json is missing); give the folder that "
            "`save_pretrained` wrote",
            topic="model-not-found",
        )
    stored_tensors(folder)


def check_tokenizer_files(folder: Path) -> None:
    """Refuse a folder without a vocabulary, which would load as an empty tokenizer.

    Raises:
        ModelError: There is no tokenizer.
    """
    if not any(any(folder.glob(pattern)) for pattern in _VOCABULARIES):
        raise ModelError(
            f"{folder}: it holds no tokenizer; copy tokenizer.json and "
            "tokenizer_config.json from the model that it was made from"
        )


def _local(name: str) -> Path | None:
    """The folder of that name; None for what may be a hub id."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise ModelError(
            f"{name}: it is a file; give the folder it lies in", topic="model-not-found"
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(
            f"{name}: there is no such folder; check the path", topic="model-not-found"
        )
    return None


def _base_of(folder: Path) -> str:
    try:
        settings = json.loads((folder / "adapter_config.json").read_text())
        return f"made for {settings['base_model_name_or_path']}"
    except (ValueError, KeyError, TypeError):
        return "its base is not named"
