"""Does a model still write varied text, or does it repeat itself?

Meng et al. 2022 (arXiv:2202.05262), after Zhang et al. 2018: with H_n the entropy, in
bits, of how often each run of n words comes,

    fluency = (2/3 H_2 + 4/3 H_3) / 2

A text with w runs has at most log2 w bits of them, so this grows with length alone: a
model that has learnt to stop loses bits without repeating anything, and one that goes
on gains some. `variety` is the share of what a text of this length can have.
"""

import re
from collections import Counter
from collections.abc import Sequence
from math import log2, nan

import numpy as np

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+(?:['’]\w+)*|[^\w\s]")
_WEIGHTS = {2: 2 / 3, 3: 4 / 3}


def words_of(text: str) -> list[str]:
    """Split a text into words and signs; scripts without spaces letter by letter.

    >>> words_of("Don't stop, 東京!")
    ["Don't", 'stop', ',', '東', '京', '!']
    """
    return _WORD.findall(text)


def ngram_entropy(words: Sequence[str], n: int) -> float:
    """Entropy of the runs of n words, in bits; 0 for fewer than n words.

    >>> ngram_entropy("a a a a".split(), 2), ngram_entropy("a b c".split(), 2)
    (0.0, 1.0)
    """
    runs = Counter(zip(*(words[start:] for start in range(n)), strict=False))
    counts = np.array(list(runs.values()), dtype=np.float64)
    if counts.size < 2:
        return 0.0
    p = counts / counts.sum()
    return float(-(p * np.log2(p)).sum())


def fluency(text: str) -> float:
    """Weighted mean entropy of runs of two and of three words, in bits.

    >>> fluency("a a a a"), round(fluency("a b a b a c"), 3)
    (0.0, 1.507)
    """
    words = words_of(text)
    return sum(w * ngram_entropy(words, n) for n, w in _WEIGHTS.items()) / 2


def variety(text: str) -> float:
    """Fluency as a share of what as many words can have, 0 to 1; NaN below 3 of them.

    >>> variety("a a a a"), round(variety("a b c d"), 9)
    (0.0, 1.0)
    """
    num = len(words_of(text))
    most = sum(w * log2(max(1, num - n + 1)) for n, w in _WEIGHTS.items()) / 2
    return fluency(text) / most if most > 0 else nan


def repeated(texts: Sequence[str]) -> tuple[int, ...]:
    """Numbers of texts that stand further forward already, word for word.

    >>> repeated(["X is", "So X", "X is", " X is"])
    (2, 3)
    """
    seen: set[str] = set()
    found = []
    for number, text in enumerate(texts):
        bare = " ".join(text.split())
        if bare in seen:
            found.append(number)
        seen.add(bare)
    return tuple(found)
