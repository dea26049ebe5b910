"""What do the rows of a study become for its model? Encoded samples and prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

from driftmap.load.encoding import (
    Encoding,
    encode,
    encode_prompts,
    encoded_sha256,
)
from driftmap.load.model import LoadedModel
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.steps.rows import Rows, StudyRows
from driftmap.results.samples import EncodedSample, Sample

Encoded = tuple[EncodedSample, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoringData:
    """What the groups are chosen from.

    Args:
        behaviour: Encoded samples of the behaviour.
        utility: Encoded samples of ordinary ability.
        sha256: Role -> hash of its encoded samples.
    """

    behaviour: Encoded
    utility: Encoded
    sha256: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Samples that the model should get right, and not refuse.

    Args:
        name: What the report calls them.
        samples: With their responses.
        prompts: Without them.
        sha256: Hash of both, as encoded.
    """

    name: str
    samples: Encoded
    prompts: Encoded
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationData:
    """What the model is asked before tuning and at each checkpoint.

    Args:
        prompts: Requests that the model should refuse.
        prompts_sha256: Hash of the encoded prompts.
        held_out: Sets of samples that it should get right.
        num_shared: Rows whose prompt was scored or learnt as well.
    """

    prompts: Encoded
    prompts_sha256: str
    held_out: tuple[HeldOut, ...]
    num_shared: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudyData:
    """All samples of a study, encoded for its model.

    Args:
        scored: What the groups are chosen from; None where one of the two sets is
            not named.
        learnt: What is fine-tuned on, and its hash as encoded; None where nothing is.
        asked: What the model is evaluated on.
    """

    scored: ScoringData | None
    learnt: tuple[Encoded, str] | None
    asked: EvaluationData


def encode_study(
    loaded: LoadedModel, rows: StudyRows, scoring: ScoringOptions
) -> StudyData:
    """Encode all rows of a study before any long work begins.

    Args:
        loaded: Whose tokenizer reads them, and whose context they must fit.
        rows: What was read.
        scoring: Which tokens count.

    Raises:
        DataError: A row does not fit the model or has no token to count.
    """
    asked = (rows.to_refuse, *rows.held_out)
    scored = _scored(loaded, rows, scoring)
    learnt = None if rows.learnt is None else _learnt(loaded, rows.learnt)
    prompts = _prompts(loaded, rows.to_refuse.samples)
    return StudyData(
        scored=scored,
        learnt=learnt,
        asked=EvaluationData(
            prompts=prompts,
            prompts_sha256=encoded_sha256(prompts),
            held_out=tuple(_held_out(loaded, held) for held in rows.held_out),
            num_shared=sum(of_one.num_shared for of_one in asked),
        ),
    )


def scored_samples(loaded: LoadedModel, rows: Rows, scoring: ScoringOptions) -> Encoded:
    """Encode rows that are scored."""
    settings = Encoding(positions=scoring.positions, max_length=loaded.context_length)
    return encode(rows.samples, loaded.tokenizer, settings)


def _scored(
    loaded: LoadedModel, rows: StudyRows, scoring: ScoringOptions
) -> ScoringData | None:
    if rows.behaviour is None or rows.utility is None:
        return None
    behaviour = scored_samples(loaded, rows.behaviour, scoring)
    utility = scored_samples(loaded, rows.utility, scoring)
    return ScoringData(
        behaviour=behaviour,
        utility=utility,
        sha256={
            "behaviour": encoded_sha256(behaviour),
            "utility": encoded_sha256(utility),
        },
    )


def _learnt(loaded: LoadedModel, rows: Rows) -> tuple[Encoded, str]:
    settings = Encoding(max_length=loaded.context_length, learn_end=True)
    learnt = encode(rows.samples, loaded.tokenizer, settings)
    return learnt, encoded_sha256(learnt)


def _held_out(loaded: LoadedModel, rows: Rows) -> HeldOut:
    settings = Encoding(max_length=loaded.context_length)
    samples = encode(rows.samples, loaded.tokenizer, settings)
    prompts = _prompts(loaded, rows.samples)
    return HeldOut(
        name=rows.name,
        samples=samples,
        prompts=prompts,
        sha256=encoded_sha256(samples, prompts),
    )


def _prompts(loaded: LoadedModel, samples: Sequence[Sample]) -> Encoded:
    return encode_prompts(samples, loaded.tokenizer, loaded.context_length)
