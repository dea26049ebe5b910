"""Does this adapter belong on this model, and if so, how is it put on top?"""

import re
import warnings
from pathlib import Path

from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from driftmap.core.errors import ModelError
from driftmap.core.progress import say
from driftmap.families.quantised import known_to_peft
from driftmap.load.adapter_config import AdapterConfig, read_adapter_config
from driftmap.load.adapters import PREFIX
from driftmap.load.identity import weights_sha256
from driftmap.load.tensor_files import stored_tensors

_FACTOR = re.compile(r"(?P<path>.+)\.lora_(?P<side>[AB])\.weight")


def attach_adapter(
    model: PreTrainedModel, folder: Path, *, base_name: str, base_sha256: str
) -> PeftModel:
    """Put a saved adapter on a model, for inference.

    Args:
        model: The base, already loaded.
        folder: The adapter's.
        base_name: Folder or hub id that the base was loaded from.
        base_sha256: Hash of the base's weights.

    Returns:
        The wrapped model; `model` itself is changed.

    Raises:
        ModelError: The folder holds no whole adapter, or one of another base.
    """
    config = read_adapter_config(folder)
    require_base(config, base_name, base_sha256)
    _must_fit(folder, model)
    try:
        with warnings.catch_warnings(), known_to_peft(model):
            warnings.filterwarnings("error", message=".*missing adapter keys")
            # peft asks transformers by a name that is on its way out.
            warnings.filterwarnings("ignore", message=".is_gradient_checkpointing")
            return PeftModel.from_pretrained(model, str(folder), is_trainable=False)
    except (ValueError, RuntimeError, KeyError, TypeError, UserWarning) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ModelError(
            f"{folder}: the adapter cannot be put on {base_name} ({reason}); give the "
            f"base it was made for{_named(config)}"
        ) from error


def require_base(config: AdapterConfig, base_name: str, base_sha256: str) -> None:
    """Refuse a base for which there is proof that it is another one.

    Folders get moved and copied, so another folder name alone proves nothing: it is
    said, and the shapes must still fit.

    Args:
        config: The adapter's.
        base_name: Folder or hub id that the base was loaded from.
        base_sha256: Hash of the base's weights.

    Raises:
        ModelError: The adapter names another base.
    """
    named, given = config.base_name, base_name
    if not named or _last(named) == _last(given):
        return
    recorded = Path(named).expanduser()
    if recorded.is_dir():
        differs = weights_sha256(recorded) != base_sha256
    else:
        differs = _is_hub_id(named) and _is_hub_id(given)
    if differs:
        raise ModelError(
            f"{config.folder}: the adapter was made for {named}, not for {given}; give "
            "that model, or, if both are the same weights, write the new name as "
            "`base_model_name_or_path` into adapter_config.json"
        )
    if not recorded.is_dir():
        say(f"{config.folder}: made for {named}; taken to be the same as {given}")


def _must_fit(folder: Path, model: nn.Module) -> None:
    modules = dict(model.named_modules())
    for tensor in stored_tensors(folder):
        factor = _FACTOR.fullmatch(tensor.name.removeprefix(PREFIX))
        if factor is None:
            continue
        path = factor["path"]
        weight = getattr(modules.get(path), "weight", None)
        if weight is None:
            raise ModelError(
                f"{folder}: the adapter was made for another model: it tunes {path}, "
                "which this one does not have; give the adapter's own base"
            )
        width = tensor.shape[-1] if factor["side"] == "A" else tensor.shape[0]
        # Quantised weights are stored flat; their modules know the true sizes.
        sizes = tuple(
            getattr(modules[path], name, weight.shape[axis])
            for axis, name in enumerate(("out_features", "in_features"))
        )
        if width not in sizes:
            raise ModelError(
                f"{folder}: the adapter was made for another model: its {path} is "
                f"{width} wide, this one's is {list(sizes)}; "
                "give the adapter's own base"
            )


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()


def _is_hub_id(name: str) -> bool:
    pattern = r"[\w-][\w.-]*/[\w.-]+"
    return re.fullmatch(pattern, name) is not None and not Path(name).exists()


def _named(config: AdapterConfig) -> str:
    return f", {config.base_name}" if config.base_name else ""
