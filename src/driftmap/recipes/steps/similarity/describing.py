"""Which samples are compared, for whoever draws the report?"""

from collections.abc import Mapping
from pathlib import Path

from driftmap.load.paired_encoding import EncodedPairs
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.similarity.told import (
    MODEL_FILE,
    MODEL_KIND,
    SAMPLES_FILE,
    SAMPLES_KIND,
    STEP,
)
from driftmap.results.plain import to_plain
from driftmap.results.sample_sets import LeftOutSample, SetsRead, TokenCount
from driftmap.results.samples import EncodedSample
from driftmap.store.plain import save_json
from driftmap.store.steps import StepOutcome


def samples_step(study: Study, encoded: EncodedPairs) -> StepOutcome:
    """Write the samples that are compared, and which model they are compared for."""
    read = sets_read(encoded)
    inputs = {"samples": to_plain(read), "model": study.loaded.identity.sha256}

    def make(folder: Path) -> None:
        save_json(folder / SAMPLES_FILE, read, SAMPLES_KIND)
        save_json(folder / MODEL_FILE, study.loaded.identity, MODEL_KIND)

    return study.run.step(STEP, inputs, make)


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


def _lengths(encoded: tuple[EncodedSample, ...]) -> tuple[TokenCount, ...]:
    return tuple(
        TokenCount(num_tokens=len(one.token_ids), num_counted=int(one.counted.sum()))
        for one in encoded
    )
