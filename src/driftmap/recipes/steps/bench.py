"""What do all steps of a study share? Its model, its samples and their hashes."""

from collections.abc import Sequence
from dataclasses import dataclass

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.load.batches import make_batches
from driftmap.load.encoding import Encoding, encode, encode_prompts
from driftmap.load.model import LoadedModel
from driftmap.load.samples import SampleSet, read_samples
from driftmap.recipes.options import EvaluationOptions, ScoringOptions
from driftmap.results.samples import EncodedSample, Sample
from driftmap.signals.batch import Batch
from driftmap.store.run_dir import RunDir


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """What every step of a study is given.

    Args:
        run: Where results go.
        loaded: The model under study, before tuning.
        seed: The run's one seed.
    """

    run: RunDir
    loaded: LoadedModel
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoringData:
    """What the groups are chosen from.

    Args:
        behaviour: Encoded samples of the behaviour.
        utility: Encoded samples of ordinary ability.
        sha256: Role -> hash of the source.
    """

    behaviour: tuple[EncodedSample, ...]
    utility: tuple[EncodedSample, ...]
    sha256: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationData:
    """What the model is asked before tuning and at each checkpoint.

    Args:
        prompts: Requests that the model should refuse.
        held_out: Samples that the model should get right.
        sha256: Role -> hash of the source.
        num_shared: Rows that scoring has seen as well.
    """

    prompts: tuple[EncodedSample, ...]
    held_out: tuple[EncodedSample, ...]
    sha256: dict[str, str]
    num_shared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    """Rows for scoring, rows for evaluation, and how many are both."""

    source: SampleSet
    scored: tuple[Sample, ...]
    evaluated: tuple[Sample, ...]
    num_shared: int


def scoring_data(
    loaded: LoadedModel, sources: tuple[str, str], scoring: ScoringOptions, seed: int
) -> ScoringData:
    """Draw and encode the samples of behaviour and utility.

    Args:
        loaded: Whose tokenizer reads them.
        sources: Behaviour and utility, as the user named them.
        scoring: How many, and which tokens count.
        seed: Decides which rows are drawn.
    """
    settings = Encoding(positions=scoring.positions, max_length=loaded.context_length)
    drawn = [
        read_samples(source, num_samples=scoring.num_samples, seed=seed)
        for source in sources
    ]
    behaviour, utility = (
        encode(found.samples, loaded.tokenizer, settings) for found in drawn
    )
    return ScoringData(
        behaviour=behaviour,
        utility=utility,
        sha256={"behaviour": drawn[0].sha256, "utility": drawn[1].sha256},
    )


def evaluation_data(
    loaded: LoadedModel,
    sources: tuple[str, str],
    scoring: ScoringOptions,
    evaluation: EvaluationOptions,
    seed: int,
) -> EvaluationData:
    """Encode prompts and held-out samples that scoring has not seen, where possible.

    Args:
        loaded: Whose tokenizer reads them.
        sources: Behaviour and utility: rows that scoring left over are used where
            the options name no file.
        scoring: How many rows scoring draws.
        evaluation: Files and counts.
        seed: The seed that scoring draws with.
    """
    asked = _split(sources[0], evaluation.refusal_prompts, scoring, evaluation, seed)
    right = _split(sources[1], evaluation.held_out, scoring, evaluation, seed)
    settings = Encoding(max_length=loaded.context_length)
    return EvaluationData(
        prompts=encode_prompts(
            asked.evaluated, loaded.tokenizer, loaded.context_length
        ),
        held_out=encode(right.evaluated, loaded.tokenizer, settings),
        sha256={
            "refusal_prompts": asked.source.sha256,
            "held_out": right.source.sha256,
        },
        num_shared=asked.num_shared + right.num_shared,
    )


def _split(
    source: str,
    own: str | None,
    scoring: ScoringOptions,
    evaluation: EvaluationOptions,
    seed: int,
) -> _Split:
    count = evaluation.num_eval_samples
    if own is not None:
        found = read_samples(own, num_samples=count, seed=seed)
        return _Split(source=found, scored=(), evaluated=found.samples, num_shared=0)
    whole = read_samples(source)
    drawn = read_samples(source, num_samples=scoring.num_samples, seed=seed)
    scored = {sample.id for sample in drawn.samples}
    left = tuple(s for s in whole.samples if s.id not in scored)[:count]
    if left:
        return _Split(source=whole, scored=drawn.samples, evaluated=left, num_shared=0)
    say(
        f"{source}: scoring drew all {len(scored)} rows, so the same rows are "
        "evaluated; name others with --refusal-prompts and --held-out"
    )
    shared = drawn.samples[:count]
    return _Split(
        source=whole,
        scored=drawn.samples,
        evaluated=shared,
        num_shared=len(shared),
    )


def tuning_data(
    loaded: LoadedModel, source: str
) -> tuple[tuple[EncodedSample, ...], str]:
    """Encode the samples to fine-tune on, their end included, with their hash."""
    found = read_samples(source)
    settings = Encoding(max_length=loaded.context_length, learn_end=True)
    return encode(found.samples, loaded.tokenizer, settings), found.sha256


def batches_of(
    loaded: LoadedModel, encoded: Sequence[EncodedSample], batch_size: int
) -> tuple[Batch, ...]:
    """Pad samples into batches on the model's device."""
    if not encoded:
        raise DataError("there is no sample to put into a batch")
    return make_batches(
        encoded,
        batch_size=batch_size,
        pad_id=pad_id(loaded),
        device=loaded.device,
    )


def pad_id(loaded: LoadedModel) -> int:
    """An id to fill rows with; masks keep it out of every result."""
    tokenizer = loaded.tokenizer
    known = [tokenizer.pad_token_id, tokenizer.eos_token_id, 0]
    return next(number for number in known if number is not None)
