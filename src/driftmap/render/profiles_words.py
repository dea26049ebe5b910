"""Which words does the page on compared traces use for the same thing?"""

from collections.abc import Mapping

from driftmap.render.wording import p_value
from driftmap.results.trace_comparison import (
    ClassContrast,
    PairClass,
    ProfileComparison,
)
from driftmap.results.trace_kinds import TraceKind

NONE = "–"

KINDS: Mapping[TraceKind, str] = {
    "hidden": "block output",
    "mlp": "MLP output",
    "attn": "attention output",
}
"""The states that have a profile at every token."""

ROLES = {"hidden": "block", "mlp": "mlp", "attn": "attention"}
"""Whose colour each has."""

CLASSES: Mapping[PairClass, str] = {
    "paraphrase": "two wordings of one fact",
    "same subject": "two facts of one subject",
    "same relation": "two subjects, one relation",
    "nothing shared": "nothing shared",
    "reversed": "a fact and its reversal",
    "nothing shared, reversed": "nothing shared, one reversed",
}

SHORT: Mapping[PairClass, str] = {
    "paraphrase": "wordings",
    "same subject": "same subject",
    "same relation": "same relation",
    "nothing shared": "unrelated",
    "reversed": "reversed",
    "nothing shared, reversed": "unrelated, reversed",
}

MEASURES = {
    "pearson": "Pearson of profiles",
    "earth mover": "earth-mover distance of profiles (layers)",
    "centre of mass": "distance of centres of mass (layers)",
    "peak layer": "distance of peak layers (layers)",
    "cosine": "cosine",
    "euclid": "Euclid",
    "manhattan": "Manhattan",
    "chebyshev": "Chebyshev",
    "minkowski 3": "Minkowski, p = 3",
    "z pearson": "Pearson, z-scored",
    "z spearman": "Spearman, z-scored",
    "z dtw": "time warping, z-scored",
    "z mse": "mean square, z-scored",
}

OWN = ("pearson", "earth mover", "centre of mass", "peak layer")
"""Measures of profiles; the others are of raw outcomes, as published."""

WHY_NOT_RAW = (
    "A row of raw outcomes is low + IE, and all its entries are positive: the constant "
    "`low`, what is left of the answer under noise, decides a cosine. Cosines near .95 "
    "between facts that share nothing are common, and two facts are far apart where "
    "`low` is high in one of them, whatever their layers do. Prompts about one subject "
    "lose alike much and see the same draws of noise, so that these measures may tell "
    "wordings of a fact well, without saying anything of layers."
)


def titled(comparison: ProfileComparison) -> str:
    """A kind of state with its window."""
    name = KINDS[comparison.kind]
    if comparison.window is None:
        return name
    return f"{name}, window of {comparison.window}"


def begun(text: str) -> str:
    """A text as a sentence begins.

    >>> begun("MLP output")
    'MLP output'
    """
    return text[:1].upper() + text[1:]


def contrast_words(contrast: ClassContrast) -> str:
    """What is compared with what."""
    return f"{SHORT[contrast.name]} / {SHORT[contrast.against]}"


def p_words(contrast: ClassContrast) -> str:
    """The p-value as it is, the smallest possible one as a bound."""
    return p_value(contrast.p_value, contrast.num_permutations)


def several(number: int, noun: str) -> str:
    """A count with its noun.

    >>> several(1, "prompt"), several(1200, "prompt")
    ('1 prompt', '1,200 prompts')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
