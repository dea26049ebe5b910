"""Which texts does a text encoder hold to be alike? The baseline of any search.

Two ways to one vector a text: a server that speaks OpenAI's protocol, or a model on
this machine, whose last hidden states are averaged over the text's tokens (mean
pooling, Reimers and Gurevych 2019). Neither adds an instruction to the text.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float64
from transformers import (
    AutoModel,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from driftmap.core.errors import DataError, ModelError
from driftmap.core.progress import progress
from driftmap.core.quoted import quoted
from driftmap.load.checkpoint import find_folder
from driftmap.load.device import find_device
from driftmap.load.endpoint import Endpoint
from driftmap.load.model import context_length
from driftmap.load.quiet import no_bars

BATCH = 64
"""Texts of one request, or of one pass."""


def embedded_by_server(
    endpoint: Endpoint, texts: Sequence[str]
) -> Float64[np.ndarray, "text dimension"]:
    """Ask a server for the embedding of each text.

    Args:
        endpoint: The server and its model.
        texts: At least one.

    Returns:
        One row of length 1 per text, in order.

    Raises:
        ModelError: As `Endpoint.replies` does, or rows differ in length.
        DataError: A text has no direction.
    """
    rows: list[list[float]] = []
    with progress(f"embed texts by {endpoint.name}", len(texts)) as bar:
        for start in range(0, len(texts), BATCH):
            some = texts[start : start + BATCH]
            rows += endpoint.embeddings(some)
            bar.advance(len(some))
    if len({len(row) for row in rows}) != 1:
        raise ModelError(
            f"{endpoint.name}: its embeddings differ in length; is this a model of "
            "embeddings?"
        )
    return _unit(np.array(rows, dtype=np.float64), texts)


def embedded_here(
    model: str, texts: Sequence[str], device: str = "auto"
) -> Float64[np.ndarray, "text dimension"]:
    """Embed texts with a model on this machine.

    Args:
        model: Folder or hub id of an encoder, or of any transformer.
        texts: At least one; what the model cannot read at once is cut off.
        device: Where to run.

    Returns:
        One row of length 1 per text, in order.

    Raises:
        ModelError: The model cannot be loaded.
        DataError: A text has no token, or no direction.
    """
    folder = find_folder(model)
    where = find_device(device)
    encoder, tokenizer = _loaded(model, str(folder))
    encoder = encoder.to(where).eval()  # pyright: ignore[reportArgumentType]
    longest = min(tokenizer.model_max_length, context_length(encoder) or 2**31)
    ids = [_ids(tokenizer, text, longest) for text in texts]
    order = np.argsort([len(one) for one in ids], kind="stable").tolist()
    rows: dict[int, np.ndarray] = {}
    with progress(f"embed texts by {model}", len(texts)) as bar, torch.no_grad():
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            pooled = _pooled(encoder, [ids[place] for place in places], where)
            rows |= dict(zip(places, pooled, strict=True))
            bar.advance(len(places))
    return _unit(np.stack([rows[place] for place in range(len(texts))]), texts)


def _loaded(model: str, folder: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    try:
        with no_bars():
            tokenizer = AutoTokenizer.from_pretrained(folder)
            found = AutoModel.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = quoted(str(error).partition("\n")[0].rstrip("."), longest=200)
        raise ModelError(
            f"{model}: it cannot be loaded as a text encoder ({reason}); give a folder "
            "with config.json, weights and tokenizer"
        ) from error
    encoder, report = cast(tuple[PreTrainedModel, dict[str, set[str]]], found)
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if missing:
        raise ModelError(
            f"{model}: {len(missing)} weights are missing ({missing[0]}, ...); is it "
            "a whole text encoder?"
        )
    return encoder, tokenizer


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, longest: int) -> list[int]:
    ids = tokenizer(text, truncation=True, max_length=longest)["input_ids"]
    if not ids:
        raise DataError(f"{quoted(text)!r}: it has no token to embed; leave it out")
    return cast(list[int], ids)


def _pooled(
    encoder: PreTrainedModel, ids: Sequence[Sequence[int]], device: torch.device
) -> Float64[np.ndarray, "text dimension"]:
    longest = max(map(len, ids))
    tokens = torch.zeros(len(ids), longest, dtype=torch.int64)
    real = torch.zeros_like(tokens)
    for row, one in enumerate(ids):
        tokens[row, : len(one)] = torch.tensor(one)
        real[row, : len(one)] = 1
    states = encoder(
        input_ids=tokens.to(device), attention_mask=real.to(device)
    ).last_hidden_state
    weights = real.to(device)[:, :, None]
    mean = (states * weights).sum(1) / weights.sum(1)
    return mean.cpu().double().numpy()


def _unit(
    rows: Float64[np.ndarray, "text dimension"], texts: Sequence[str]
) -> Float64[np.ndarray, "text dimension"]:
    norms = np.linalg.norm(rows, axis=1)
    for text, norm in zip(texts, norms.tolist(), strict=True):
        if not (np.isfinite(norm) and norm > 0):
            raise DataError(
                f"{quoted(text)!r}: its embedding is zero or not finite; is this a "
                "model of embeddings?"
            )
    return rows / norms[:, None]
