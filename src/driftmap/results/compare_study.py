"""What does a finished comparison of two models hold for whoever draws it?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from driftmap.results.attention_change import AttentionChange
from driftmap.results.behaviour_change import BehaviourChange
from driftmap.results.claims import Claim
from driftmap.results.edits import EditReport
from driftmap.results.model_structure import StructureDiff
from driftmap.results.over_training import OverTraining
from driftmap.results.probes import Probes
from driftmap.results.readings_change import ReadingsChange
from driftmap.results.weight_changes import WeightChanges
from driftmap.results.where_it_acts import WhereItActs


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
class TaughtCount:
    """How many facts of the probes have another answer since.

    Args:
        num_taught: Those facts (count).
        num_others: The rest (count).
        are_found: They were found by what the models say; else the user named them.
    """

    num_taught: int
    num_others: int
    are_found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictPart:
    """What is said under one heading of the answer.

    Args:
        question: The heading.
        says: Sentences with numbers, the most important one first.
    """

    question: str
    says: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareVerdict:
    """The answer of a comparison, made from what its parts claim.

    Args:
        headline: One sentence.
        parts: What it is, what it does, what moved, where and when.
        unsettled: What does not differ or cannot be told from chance.
        cautions: What these sentences do not say.
    """

    headline: str
    parts: tuple[VerdictPart, ...]
    unsettled: tuple[str, ...]
    cautions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompareStudy:
    """Every part that was made, with what it claims.

    Args:
        models: Which two.
        probes: What they were asked; None where nothing was.
        taught: What became of its facts; None where that was not asked.
        structure: How both are built.
        weights: What moved.
        behaviour: What both models do.
        edits: What both say of facts with another answer since.
        where: Where the difference acts.
        attention: What both look at.
        readings: What both read in the same texts.
        training: Over checkpoints.
        claims: Of all parts, in their order.
        verdict: What is made of them.
        settings: The resolved recipe, option -> value.
        versions: Package -> version.
    """

    models: ComparedModels
    probes: Probes | None
    taught: TaughtCount | None
    structure: StructureDiff | None
    weights: WeightChanges | None
    behaviour: BehaviourChange | None
    edits: EditReport | None
    where: WhereItActs | None
    attention: AttentionChange | None
    readings: ReadingsChange | None
    training: OverTraining | None
    claims: tuple[Claim, ...]
    verdict: CompareVerdict
    settings: Mapping[str, object]
    versions: Mapping[str, str]
