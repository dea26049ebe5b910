"""What does a finished comparison of two models hold for whoever draws it?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from driftmap.results.claims import Claim
from driftmap.results.over_training import OverTraining
from driftmap.results.probes import Probes


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedModels:
    """Which two models, by name.

    Args:
        base: Folder or hub id of the model before.
        tuned: Folder of what was made of it, the last checkpoint.
        made: What that is, in a word or two.
        num_checkpoints: Checkpoints that were given (count).
    """

    base: str
    tuned: str
    made: Literal["adapter", "whole model"]
    num_checkpoints: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareVerdict:
    """The answer of a comparison, made from what its parts claim.

    Args:
        headline: One sentence.
        found: What changed, by how much, where and when: sentences with numbers.
        unsettled: What does not differ or cannot be told from chance.
        context: What only describes.
        cautions: What these sentences do not say.
    """

    headline: str
    found: tuple[str, ...]
    unsettled: tuple[str, ...]
    context: tuple[str, ...]
    cautions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompareStudy:
    """Every part that was made, with what it claims.

    Args:
        models: Which two.
        probes: What they were asked; None where nothing was.
        training: Over checkpoints.
        claims: Of all parts, in their order.
        verdict: What is made of them.
        settings: The resolved recipe, option -> value.
        versions: Package -> version.
    """

    models: ComparedModels
    probes: Probes | None
    training: OverTraining | None
    claims: tuple[Claim, ...]
    verdict: CompareVerdict
    settings: Mapping[str, object]
    versions: Mapping[str, str]
