"""Readings written down by hand."""

import numpy as np

from driftmap.results.readings import SpelledText, TokenNumbers, TokenReadings


def made_readings(
    *tokens: str,
    surprise: list[float],
    entropy: list[float] | None = None,
    spans: list[tuple[int, int]] | None = None,
    text: str | None = None,
    num_context: int = 1,
    has_begin: bool = False,
    is_generated: bool = False,
    name: str = "text 1",
) -> TokenReadings:
    """A text of tokens; the first has no reading, so there is one number less."""
    num = len(tokens)
    ends = np.cumsum([len(token) for token in tokens])
    if spans is None:
        spans = list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))
    nats = np.array([np.nan, *surprise])
    return TokenReadings(
        spelled=SpelledText(
            name=name,
            text="".join(tokens) if text is None else text,
            token_ids=np.arange(num),
            spans=np.array(spans, np.int64),
            num_context=num_context,
            has_begin=has_begin,
        ),
        numbers=TokenNumbers(
            surprise=nats,
            entropy=np.array([np.nan, *(entropy or surprise)]),
            rank=np.array([-1, *(int(one > 1) for one in surprise)]),
            top_ids=np.zeros((num, 2), np.int64),
            top_p=np.tile([0.6, 0.3], (num, 1)),
            vocabulary=8,
        ),
        tops=tuple((" a", "<b>") for _ in tokens),
        window=64,
        stride=8,
        is_generated=is_generated,
    )
