"""How does a whole checkpoint become a model that stands beside the one it was?"""

from pathlib import Path
from typing import cast

from transformers import PreTrainedModel

from driftmap.core.errors import ModelError
from driftmap.core.shortage import is_shortage
from driftmap.load.quiet import no_bars


def load_weights(folder: Path, like: PreTrainedModel) -> PreTrainedModel:
    """Load a checkpoint of full fine-tuning, in the type and place of its base.

    Needs memory for a second model.

    Args:
        folder: Holds safetensors weights and their configuration.
        like: The model before tuning; it is only looked at.

    Returns:
        The tuned model in eval mode, no parameter of which wants a gradient.

    Raises:
        ModelError: The folder is broken, or holds another model.
    """
    placed = getattr(like, "hf_device_map", None)
    try:
        with no_bars():
            loaded = type(like).from_pretrained(
                folder,
                dtype=like.dtype,
                device_map=placed,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if is_shortage(error):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(
            f"{folder}: it cannot be loaded as a checkpoint of the model under study "
            f"({reason}); give checkpoints of its own training"
        ) from error
    model, report = cast(tuple[PreTrainedModel, dict[str, set[str]]], loaded)
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{folder}: {len(missing)} weights are not in its files, such as "
            f"{missing[0]}; copy the checkpoint again"
        )
    if placed is None:
        model.to(like.device)  # pyright: ignore[reportArgumentType]
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model
