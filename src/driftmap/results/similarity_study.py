"""What does a finished study of similar samples hold for whoever draws it?"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from driftmap.results.provenance import ModelIdentity
from driftmap.results.retrieval import RetrievalStudy
from driftmap.results.retrieval_models import ModelComparison
from driftmap.results.sample_sets import SampleSets, SampleText

GRADIENTS = "gradients"
"""Name of the measure that the report opens with, where it was taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureStudy:
    """What one measure says of the pairs.

    Args:
        name: `gradients`, `activations`, `centred-activations`.
        study: Its numbers.
    """

    name: str
    study: RetrievalStudy


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityStudy:
    """All that a run says about which samples are alike, to be drawn.

    Args:
        measures: Gradients first where they were measured.
        settings: The resolved recipe, option -> value.
        versions: Package -> version of what made the run.
        model: The model as loaded; None where products were made elsewhere.
        sets: What the samples are like; None where their texts are not known.
        texts: Id -> text, of the samples that the page may show; an original is there
            as `original/ID`.
        exactness: What a number is -> how exact it is, in sentences.
        comparison: Several models; None for one.
    """

    measures: tuple[MeasureStudy, ...]
    settings: Mapping[str, object]
    versions: Mapping[str, str]
    model: ModelIdentity | None = None
    sets: SampleSets | None = None
    texts: Mapping[str, SampleText] = field(default_factory=dict)
    exactness: Mapping[str, str] = field(default_factory=dict)
    comparison: ModelComparison | None = None
