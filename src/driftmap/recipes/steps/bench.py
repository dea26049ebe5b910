"""What do all steps of a study share? Its model, its samples and their hashes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.load.batches import make_batches
from driftmap.load.encoding import Encoding, encode, encode_prompts
from driftmap.load.model import LoadedModel
from driftmap.load.samples import read_samples
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
class HeldOut:
    """Samples that the model should get right, and not refuse.

    Args:
        name: What the report calls them.
        samples: With their responses.
        prompts: Without them.
        sha256: Hash of the source.
    """

    name: str
    samples: tuple[EncodedSample, ...]
    prompts: tuple[EncodedSample, ...]
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationData:
    """What the model is asked before tuning and at each checkpoint.

    Args:
        prompts: Requests that the model should refuse.
        prompts_sha256: Hash of their source.
        held_out: Sets of samples that it should get right.
        num_shared: Rows that scoring has seen as well.
    """

    prompts: tuple[EncodedSample, ...]
    prompts_sha256: str
    held_out: tuple[HeldOut, ...]
    num_shared: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudyData:
    """All samples of a study, encoded for its model.

    Args:
        scored: What the groups are chosen from.
        learnt: What is fine-tuned on, with the hash of its source.
        asked: What the model is evaluated on.
    """

    scored: ScoringData
    learnt: tuple[tuple[EncodedSample, ...], str]
    asked: EvaluationData


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Rows for evaluation, and how many of them scoring has seen."""

    name: str
    samples: tuple[Sample, ...]
    sha256: str
    num_shared: int = 0


@contextmanager
def opened(
    loaded: LoadedModel,
    out: Path,
    settings: Mapping[str, object],
    kind: str,
    free: Collection[str],
) -> Iterator[Study]:
    """Open a study's run folder and note what it runs on.

    Args:
        loaded: The model under study.
        out: The run folder.
        settings: The resolved recipe.
        kind: Which recipe: the name of its command.
        free: Settings that may differ from those the run was begun with.
    """
    with RunDir.open(out, settings, kind, free=free) as run:
        run.note_environment(
            num_threads=torch.get_num_threads(),
            device=loaded.identity.device,
            dtype=loaded.identity.dtype,
        )
        run.note_inputs({"model": loaded.identity.sha256})
        yield Study(run=run, loaded=loaded, seed=int(str(settings["seed"])))


def study_data(
    loaded: LoadedModel,
    sources: tuple[str, str, str],
    scoring: ScoringOptions,
    evaluation: EvaluationOptions,
    seed: int,
) -> StudyData:
    """Read all samples before any long work begins.

    Args:
        loaded: Whose tokenizer reads them.
        sources: Behaviour, utility and what to tune on, as the user named them.
        scoring: How many rows are scored, and which tokens count.
        evaluation: What is evaluated.
        seed: Decides which rows are drawn.
    """
    contrast = (sources[0], sources[1])
    return StudyData(
        scored=_scoring_data(loaded, contrast, scoring, seed),
        learnt=_tuning_data(loaded, sources[2]),
        asked=_evaluation_data(loaded, contrast, scoring, evaluation, seed),
    )


def _scoring_data(
    loaded: LoadedModel, sources: tuple[str, str], scoring: ScoringOptions, seed: int
) -> ScoringData:
    """Draw and encode the samples of behaviour and utility.

    Args:
        loaded: Whose tokenizer reads them.
        sources: Behaviour and utility, as the user named them.
        scoring: How many, and which tokens count.
        seed: Decides which rows are drawn.
    """
    behaviour, behaviour_sha256 = one_set(loaded, sources[0], scoring, seed)
    utility, utility_sha256 = one_set(loaded, sources[1], scoring, seed)
    return ScoringData(
        behaviour=behaviour,
        utility=utility,
        sha256={"behaviour": behaviour_sha256, "utility": utility_sha256},
    )


def one_set(
    loaded: LoadedModel, source: str, scoring: ScoringOptions, seed: int
) -> tuple[tuple[EncodedSample, ...], str]:
    """Draw and encode the samples of one data set, with the hash of its source."""
    found = read_samples(source, num_samples=scoring.num_samples, seed=seed)
    settings = Encoding(positions=scoring.positions, max_length=loaded.context_length)
    return encode(found.samples, loaded.tokenizer, settings), found.sha256


def _evaluation_data(
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
    count = evaluation.num_eval_samples
    asked = _rows(sources[0], evaluation.refusal_prompts, (scoring, count, seed))
    right = [
        _rows(sources[1], own, (scoring, count, seed))
        for own in evaluation.held_out or (None,)
    ]
    return EvaluationData(
        prompts=_prompts(loaded, asked.samples),
        prompts_sha256=asked.sha256,
        held_out=tuple(_held_out(loaded, rows) for rows in right),
        num_shared=sum(rows.num_shared for rows in (asked, *right)),
    )


def _held_out(loaded: LoadedModel, rows: _Rows) -> HeldOut:
    settings = Encoding(max_length=loaded.context_length)
    return HeldOut(
        name=rows.name,
        samples=encode(rows.samples, loaded.tokenizer, settings),
        prompts=_prompts(loaded, rows.samples),
        sha256=rows.sha256,
    )


def _prompts(
    loaded: LoadedModel, samples: Sequence[Sample]
) -> tuple[EncodedSample, ...]:
    return encode_prompts(samples, loaded.tokenizer, loaded.context_length)


def _rows(
    scored_source: str, own: str | None, drawing: tuple[ScoringOptions, int, int]
) -> _Rows:
    """Rows of a file of their own, or those that scoring left over."""
    scoring, count, seed = drawing
    if own is not None:
        found = read_samples(own, num_samples=count, seed=seed)
        return _Rows(name=_title(own), samples=found.samples, sha256=found.sha256)
    whole = read_samples(scored_source)
    drawn = read_samples(scored_source, num_samples=scoring.num_samples, seed=seed)
    scored = {sample.id for sample in drawn.samples}
    left = tuple(s for s in whole.samples if s.id not in scored)[:count]
    if not left:
        say(
            f"{scored_source}: scoring drew all {len(scored)} rows, so the same rows "
            "are evaluated; name others with --refusal-prompts and --held-out"
        )
    rows = left or drawn.samples[:count]
    return _Rows(
        name=_title(scored_source),
        samples=rows,
        sha256=whole.sha256,
        num_shared=0 if left else len(rows),
    )


def _title(source: str) -> str:
    return Path(source).stem or source


def _tuning_data(
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
