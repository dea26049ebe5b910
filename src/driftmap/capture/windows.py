"""How is a long text cut into pieces that are read at once?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64

from driftmap.core.errors import UsageError
from driftmap.signals.batch import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """How a text longer than a window is read.

    Args:
        window: Most tokens that are read at once (count), at least 2.
        stride: Tokens that later windows share with the one before (count): each
            counted token has at least so many before it. Below `window`.
    """

    window: int
    stride: int

    def __post_init__(self) -> None:
        """Refuse windows that never move on.

        Raises:
            UsageError: A window predicts nothing, or overlaps whole with the next.
        """
        if self.window < 2:
            raise UsageError(
                f"a window of {self.window} tokens predicts none; give 2 or more"
            )
        if not 1 <= self.stride < self.window:
            raise UsageError(
                f"windows of {self.window} tokens cannot share {self.stride}; give a "
                f"stride of 1 to {self.window - 1} tokens"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some tokens of a text that are read at once.

    Args:
        text: Number of the text.
        start: Place of the first one in the text.
        skipped: How many at its front were read before or have no reading.
        token_ids: The tokens.
    """

    text: int
    start: int
    skipped: int
    token_ids: Int64[np.ndarray, " token"]


def pieces_of(
    text: int, ids: Int64[np.ndarray, " token"], windows: Windows
) -> list[Piece]:
    """Cut a text so that every token but the first is read in one piece alone."""
    pieces = []
    start, skipped = 0, 1
    while not pieces or start + skipped < ids.size:
        some = ids[start : start + windows.window]
        pieces.append(Piece(text=text, start=start, skipped=skipped, token_ids=some))
        start, skipped = start + windows.window - windows.stride, windows.stride
    return pieces


def padded(pieces: Sequence[Piece], device: torch.device) -> Batch:
    """Pieces as a batch, padded on the right."""
    longest = max(piece.token_ids.size for piece in pieces)
    ids = torch.zeros(len(pieces), longest, dtype=torch.int64)
    real = torch.zeros(len(pieces), longest, dtype=torch.bool)
    for row, piece in enumerate(pieces):
        size = piece.token_ids.size
        ids[row, :size] = torch.from_numpy(piece.token_ids.astype(np.int64))
        real[row, :size] = True
    ids, real = ids.to(device), real.to(device)
    return Batch(
        sample_ids=tuple(str(piece.text) for piece in pieces),
        sample_index=tuple(range(len(pieces))),
        token_ids=ids,
        real=real,
        counted=real,
        observed=real,
    )
