"""What are the samples, for the report and for whoever looks at a query?"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from driftmap.load.paired_encoding import EncodedPairs
from driftmap.recipes.steps.bench import Study
from driftmap.results.plain import from_plain, to_plain
from driftmap.results.provenance import ModelIdentity
from driftmap.results.sample_sets import (
    ORIGINALS,
    LeftOutSample,
    SampleText,
    SetsRead,
    TokenCount,
)
from driftmap.results.samples import EncodedSample, Sample
from driftmap.store.plain import load_json, save_json
from driftmap.store.steps import StepOutcome

STEP = "samples"
SAMPLES_FILE, SAMPLES_KIND = "samples.json", "driftmap.samples"
MODEL_FILE, MODEL_KIND = "model.json", "driftmap.model"


def samples_step(study: Study, encoded: EncodedPairs) -> StepOutcome:
    """Write the samples that are compared, and which model they are compared for."""
    read = sets_read(encoded)
    inputs = {"samples": to_plain(read), "model": study.loaded.identity.sha256}

    def make(folder: Path) -> None:
        save_json(folder / SAMPLES_FILE, read, SAMPLES_KIND)
        save_json(folder / MODEL_FILE, study.loaded.identity, MODEL_KIND)

    return study.run.step(STEP, inputs, make)


def load_samples(step: StepOutcome) -> tuple[SetsRead, ModelIdentity]:
    """Read what the step wrote."""
    return (
        from_plain(SetsRead, load_json(step.path(SAMPLES_FILE), SAMPLES_KIND)),
        from_plain(ModelIdentity, load_json(step.path(MODEL_FILE), MODEL_KIND)),
    )


def sets_read(encoded: EncodedPairs) -> SetsRead:
    """The samples as a report describes them."""
    pairs = encoded.pairs
    return SetsRead(
        originals=pairs.originals,
        queries=pairs.queries,
        original=pairs.original,
        sets=pairs.sets,
        original_tokens=_lengths(encoded.originals),
        query_tokens=_lengths(encoded.queries),
        same=tuple(encoded.truth.same.tolist()),
        remarks=flags_of(encoded),
        left_out=tuple(
            LeftOutSample(sample_id=one.sample_id, set_name=one.set, why=one.why)
            for one in pairs.dropped
        ),
    )


def flags_of(encoded: EncodedPairs) -> Mapping[str, tuple[str, ...]]:
    """What is known of queries that are read with care."""
    flags = {name: list(said) for name, said in encoded.pairs.remarks.items()}
    queries = {sample.id for sample in encoded.pairs.queries}
    for name in encoded.too_long:
        if name in queries:
            flags.setdefault(name, []).append("too long")
    return {name: tuple(said) for name, said in flags.items()}


def texts_of(read: SetsRead, wanted: Iterable[str]) -> dict[str, SampleText]:
    """Texts of samples that are shown.

    Args:
        read: All samples.
        wanted: Ids of queries and originals.

    Returns:
        Queries by id, originals by `original/ID`.
    """
    asked = set(wanted)
    sides = [(f"{ORIGINALS}/{one.id}", ORIGINALS, one) for one in read.originals]
    sides += [
        (one.id, name, one) for name, one in zip(read.sets, read.queries, strict=True)
    ]
    tokens = (*read.original_tokens, *read.query_tokens)
    return {
        key: _text(set_name, sample, tokens[number].num_tokens if tokens else None)
        for number, (key, set_name, sample) in enumerate(sides)
        if sample.id in asked
    }


def _text(set_name: str, sample: Sample, num_tokens: int | None) -> SampleText:
    return SampleText(
        sample_id=sample.id,
        set_name=set_name,
        prompt=sample.prompt,
        answer=sample.response,
        num_tokens=num_tokens,
    )


def _lengths(encoded: tuple[EncodedSample, ...]) -> tuple[TokenCount, ...]:
    return tuple(
        TokenCount(num_tokens=len(one.token_ids), num_counted=int(one.counted.sum()))
        for one in encoded
    )
