"""Which words does the page on similar samples use for the same thing?"""

import re
from dataclasses import replace
from hashlib import blake2b

from driftmap.core.places import TensorPlace
from driftmap.render.wording import percent
from driftmap.results.retrieval import SetStudy
from driftmap.results.retrieval_reading import (
    Contrast,
    Reading,
    Score,
    Unit,
    UnitKind,
)
from driftmap.results.similarity_study import (
    GRADIENTS,
    MeasureStudy,
    SimilarityStudy,
)
from driftmap.results.statistics import Interval

NONE = "–"
"""Stands where there is no number."""

FEW = 200
"""Below so many, a tenth of a per cent is no information (count)."""

LEVEL_NAME = "chance"

MEASURES = {
    GRADIENTS: "full gradient",
    "activations": "hidden states",
    "centred-activations": "hidden states, centred",
}
"""All places of a measure together."""

BASELINES = MEASURES | {
    "bm25": "BM25, shared words alone",
    "embeddings": "text embeddings",
}

WEIGHTINGS = {
    "plain": "plain: every weight counts alike",
    "equal": "equal: every tensor counts alike",
    "per_weight": "per weight: energy per weight",
    "learnt": "learnt on one half of the ids",
    "mean_of_cosines": "mean of the tensors' own cosines",
}

HALF_NAMES = {"attention": "attention tensors", "mlp": "MLP tensors"}

PART_NAMES = {
    "q": "attention queries",
    "k": "attention keys",
    "v": "attention values",
    "o": "attention output",
    "gate": "MLP gate",
    "up": "MLP up",
    "down": "MLP down",
    "router": "router",
    "expert": "experts",
    "embed": "embedding",
    "head": "output head",
    "norm": "norms",
    "bias": "biases",
    "block": "whole blocks",
}


def is_gradients(measure: MeasureStudy) -> bool:
    """Whether gradients were compared, rather than hidden states."""
    return measure.name.partition(",")[0] == GRADIENTS


def as_one(study: SimilarityStudy) -> SimilarityStudy:
    """Take sets of gradients that were read apart for one measure of several sets."""
    gradients = [m for m in study.measures if is_gradients(m)]
    if len({m.study.tensors for m in gradients}) != 1 or len(gradients) == 1:
        return study
    first = gradients[0].study
    joined = MeasureStudy(
        name=GRADIENTS,
        study=replace(
            first,
            num_originals=max(m.study.num_originals for m in gradients),
            sets=tuple(of for m in gradients for of in m.study.sets),
        ),
    )
    others = (m for m in study.measures if not is_gradients(m))
    return replace(study, measures=(joined, *others))


def leading(study: SimilarityStudy) -> MeasureStudy:
    """The measure that the page is about; what else there is stands beside it."""
    return study.measures[0]


def full_name(measure: MeasureStudy) -> str:
    """What all places of a measure together are called."""
    return MEASURES.get(measure.name, measure.name)


def place_word(measure: MeasureStudy) -> str:
    """What one place of a measure is called."""
    return "tensor" if is_gradients(measure) else "hidden state"


def find(of: SetStudy, kind: UnitKind, name: str | None = None) -> Reading | None:
    """The first reading of a kind, and name where one is given."""
    found = (
        reading
        for reading in of.readings
        if reading.unit.kind == kind and name in (None, reading.unit.name)
    )
    return next(found, None)


def all_of(of: SetStudy, kind: UnitKind) -> list[Reading]:
    """Every reading of a kind, in order."""
    return [reading for reading in of.readings if reading.unit.kind == kind]


def full_of(of: SetStudy) -> Reading:
    """The reading of all places together."""
    found = find(of, "full")
    assert found is not None, f"{of.name}: no reading of the full gradient"
    return found


def score_words(score: Score | None) -> str:
    """Write a score with its interval.

    >>> value = Interval(estimate=0.925, low=0.881, high=0.96, level=0.95, num=120)
    >>> score_words(Score(value=value, chance=0.01, method="bootstrap"))
    '92 % (88 to 96)'
    """
    if score is None:
        return NONE
    value = score.value
    digits = 0 if value.num < FEW else 1
    estimate, low, high = (
        f"{100 * v:.{digits}f}" for v in (value.estimate, value.low, value.high)
    )
    return f"{estimate} % ({low} to {high})"


def points_words(change: Interval | None) -> str:
    """Write a difference of two rates, in points of a hundred.

    >>> points_words(Interval(estimate=0.04, low=-0.01, high=0.09, level=0.95, num=9))
    '+4 points (-1 to +9)'
    """
    if change is None:
        return NONE
    if change.low == change.high == 0:
        return "none"
    digits = 0 if change.num < FEW else 1
    estimate, low, high = (
        _signed(100 * v, digits) for v in (change.estimate, change.low, change.high)
    )
    return f"{estimate} points ({low} to {high})"


def _signed(value: float, digits: int) -> str:
    """With its sign, but for what rounds to nothing."""
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else "0"


def cosine_words(value: Interval | None) -> str:
    """Write a mean cosine with its interval.

    >>> cosine_words(Interval(estimate=0.66, low=0.641, high=0.68, level=0.95, num=9))
    '0.660 (0.641 to 0.680)'
    """
    if value is None:
        return NONE
    estimate, low, high = (
        round(v, 3) + 0.0 for v in (value.estimate, value.low, value.high)
    )
    return f"{estimate:.3f} ({low:.3f} to {high:.3f})"


def chance_words(score: Score) -> str:
    """Write what a random order gives."""
    return percent(score.chance)


def p_words(contrast: Contrast) -> str:
    """Write a p-value and its name, which says whether it is one of many."""
    name = "p" if contrast.p_adjusted is None else "adjusted p"
    value = p_value(contrast)
    return f"{name} {value}" if value.startswith("<") else f"{name} = {value}"


def p_value(contrast: Contrast) -> str:
    """Write a p-value alone, corrected where it is one of many."""
    adjusted = contrast.p_adjusted
    value = contrast.p_value if adjusted is None else adjusted
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def against(reading: Reading, name: str) -> Contrast | None:
    """A reading's contrast with another unit."""
    return next((c for c in reading.contrasts if c.against == name), None)


def unit_words(unit: Unit) -> str:
    """Say where a tensor is.

    >>> unit_words(Unit(kind="tensor", name="h.3.mlp.up.weight", part="up", layer=3))
    '`h.3.mlp.up.weight` (layer 3, MLP up)'
    """
    part = "" if unit.part is None else PART_NAMES[unit.part]
    layer = "" if unit.layer is None else f"layer {unit.layer}"
    where = ", ".join(word for word in (layer, part) if word)
    return f"`{unit.name}`" + (f" ({where})" if where else "")


def short_tensor(place: TensorPlace | str) -> str:
    """A tensor's name without what all names share.

    >>> short_tensor("model.layers.3.mlp.up_proj.weight")
    '3.mlp.up_proj'
    """
    name = place if isinstance(place, str) else place.name
    short = re.sub(r"^.*?(?=\d+\.)", "", name, count=1)
    return short.replace(".weight", "")


def slug(*words: str) -> str:
    """A file name for a figure; names in other scripts are told apart by a hash.

    >>> slug("depth", "Model generated")
    'depth_model_generated'
    """
    text = "_".join(words).lower()
    name = re.sub(r"[^a-z0-9]+", "_", text).strip("_")
    if text.isascii():
        return name
    return f"{name}_{blake2b(text.encode(), digest_size=4).hexdigest()}"


def titled(name: str, of: SetStudy, num_sets: int) -> str:
    """A title that names the set where there are several."""
    return name if num_sets == 1 else f"{name}, {of.name} queries"


def several(count: int, word: str) -> str:
    """A count and its word.

    >>> several(1, "query"), several(1200, "query"), several(2, "original")
    ('1 query', '1,200 queries', '2 originals')
    """
    if count == 1:
        return f"1 {word}"
    many = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    return f"{count:,} {many}"
