"""Which words of a text repeat what stood there before?"""

import re
from collections.abc import Sequence

RUN = 3
"""Words in a row that make a repetition."""

_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f"
"""Characters of scripts that write words without spaces: each counts as a word."""

_WORD = re.compile(rf"[{_UNSPACED}]\s*|[^\s{_UNSPACED}]+\s*")


def words_of(text: str) -> tuple[str, ...]:
    """Cut a text into words, each with the spaces after it; nothing is left out.

    >>> words_of("Rome, and Rome.")
    ('Rome, ', 'and ', 'Rome.')
    """
    return tuple(_WORD.findall(text.strip()))


def repeated(words: Sequence[str]) -> tuple[bool, ...]:
    """Mark words that belong to a run of three that began earlier in the text.

    Case and signs around a word play no part.

    >>> repeated(words_of("he is old and he is old."))
    (False, False, False, False, True, True, True)
    >>> repeated(words_of("a a a a"))
    (False, True, True, True)
    """
    plain = [re.sub(r"^\W+|\W+$", "", word).casefold() or word for word in words]
    marked = [False] * len(words)
    seen: set[tuple[str, ...]] = set()
    for start in range(len(words) - RUN + 1):
        run = tuple(plain[start : start + RUN])
        if run in seen:
            marked[start : start + RUN] = [True] * RUN
        seen.add(run)
    return tuple(marked)
