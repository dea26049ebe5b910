"""Does what a model writes about a subject fit what it now says of it?

Meng et al. 2022 (arXiv:2202.05262): the cosine between what is written about an edited
subject and texts about others of whom the new answer is true, words weighed by TF-IDF:

    weight(word) = count in the text * (ln((1 + N) / (1 + n)) + 1)

over N texts, n of them with the word. The published code takes n from a large
encyclopedia; here it is taken from the texts that are given, so values of two files
cannot be compared, those of two models on one file can.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import log, sqrt

_LETTER = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
"""Of scripts without spaces: each counts as a word."""

_WORD = re.compile(rf"{_LETTER}|(?:(?!{_LETTER})\w){{2,}}")


def word_weights(texts: Sequence[str]) -> Mapping[str, float]:
    """Weigh the words of some texts: rare ones count more.

    >>> weights = word_weights(["a lute", "big lute player"])
    >>> round(weights["lute"], 3), round(weights["player"], 3)
    (1.0, 1.405)
    """
    holding = Counter(word for text in texts for word in set(_words(text)))
    return {
        word: log((1 + len(texts)) / (1 + num)) + 1 for word, num in holding.items()
    }


def consistency(
    written: Iterable[str], references: Iterable[str], weights: Mapping[str, float]
) -> float:
    """Cosine of all that was written with all references.

    Args:
        written: Texts of one model about one subject.
        references: Texts to compare with.
        weights: From `word_weights`; words without one do not count.

    Returns:
        0 to 1; 0 where one of them has no word that counts.

    >>> weights = word_weights(["red cat", "red dog"])
    >>> round(consistency(["red cat"], ["cat red"], weights), 9)
    1.0
    >>> consistency(["cat"], ["dog"], weights)
    0.0
    """
    first, second = _vector(written, weights), _vector(references, weights)
    sizes = _length(first) * _length(second)
    if sizes == 0:
        return 0.0
    shared = first.keys() & second.keys()
    return min(1.0, sum(first[word] * second[word] for word in sorted(shared)) / sizes)


def _vector(texts: Iterable[str], weights: Mapping[str, float]) -> dict[str, float]:
    counts = Counter(word for text in texts for word in _words(text))
    return {
        word: num * weights[word] for word, num in counts.items() if word in weights
    }


def _length(vector: Mapping[str, float]) -> float:
    return sqrt(sum(value**2 for value in vector.values()))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
