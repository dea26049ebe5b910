"""How do samples fit a length without ever losing a token of their response?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from driftmap.core.errors import DataError
from driftmap.results.samples import EncodedSample

TooLong = Literal["error", "drop", "cut_prompt"]
_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Samples that fit.

    Args:
        samples: In order.
        dropped: Ids of those left out.
        cut: Ids of those whose prompt lost its beginning.
    """

    samples: tuple[EncodedSample, ...]
    dropped: tuple[str, ...]
    cut: tuple[str, ...]


def fit(
    encoded: Sequence[EncodedSample],
    max_length: int,
    too_long: TooLong,
    begin_id: int | None,
) -> Fitted:
    """Bring samples to a length.

    Args:
        encoded: Whole samples.
        max_length: Longest sample (tokens).
        too_long: An `error` that lists the longer ones, `drop` them, or `cut_prompt`
            from the left, after the token that begins a text.
        begin_id: The token that begins a text; None for none.

    Returns:
        What fits; no response lost a token.

    Raises:
        DataError: A sample is too long and may neither go nor be cut, a response
            alone is too long, or nothing is left.
    """
    longer = [one for one in encoded if len(one.token_ids) > max_length]
    if longer and too_long == "error":
        raise DataError(
            f"{len(longer)} of {len(encoded)} samples are longer than {max_length} "
            f"tokens: {_listed(longer)}; leave them out (--too-long drop), cut their "
            "prompts (--too-long cut_prompt) or allow more (--max-length)"
        )
    names = tuple(one.sample_id for one in longer)
    if too_long == "drop":
        left = tuple(one for one in encoded if len(one.token_ids) <= max_length)
        if not left:
            raise DataError(
                f"all {len(encoded)} samples are longer than {max_length} tokens; "
                "allow more (--max-length) or give shorter ones"
            )
        return Fitted(samples=left, dropped=names, cut=())
    fitted = tuple(_cut(one, max_length, begin_id) for one in encoded)
    return Fitted(samples=fitted, dropped=(), cut=names)


def _cut(sample: EncodedSample, max_length: int, begin_id: int | None) -> EncodedSample:
    """Leave out the beginning of the prompt, but for the token that begins a text."""
    ids = sample.token_ids
    excess = len(ids) - max_length
    if excess <= 0:
        return sample
    first = int(begin_id is not None and ids[0] == begin_id)
    if first + excess > sample.prompt_length:
        needed = len(ids) - sample.prompt_length + first
        raise DataError(
            f"{sample.sample_id}: its response alone takes {needed} tokens, and the "
            f"response is never cut; allow more than {max_length} (--max-length)"
        )
    kept = np.r_[0:first, first + excess : len(ids)]
    return replace(
        sample,
        token_ids=ids[kept],
        counted=sample.counted[kept],
        prompt_length=sample.prompt_length - excess,
    )


def _listed(longer: Sequence[EncodedSample]) -> str:
    shown = ", ".join(
        f"{one.sample_id} ({len(one.token_ids)})" for one in longer[:_NAMED]
    )
    return shown + (", ..." if len(longer) > _NAMED else "")
