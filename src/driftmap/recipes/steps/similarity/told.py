"""What does a run tell of its samples and its model, read from its folder alone?"""

from collections.abc import Iterable

from driftmap.results.plain import from_plain
from driftmap.results.provenance import ModelIdentity
from driftmap.results.sample_sets import ORIGINALS, SampleText, SetsRead
from driftmap.results.samples import Sample
from driftmap.store.plain import load_json
from driftmap.store.steps import StepOutcome

STEP = "samples"
SAMPLES_FILE, SAMPLES_KIND = "samples.json", "driftmap.samples"
MODEL_FILE, MODEL_KIND = "model.json", "driftmap.model"


def load_samples(step: StepOutcome) -> tuple[SetsRead, ModelIdentity]:
    """Read what the step wrote."""
    return (
        from_plain(SetsRead, load_json(step.path(SAMPLES_FILE), SAMPLES_KIND)),
        from_plain(ModelIdentity, load_json(step.path(MODEL_FILE), MODEL_KIND)),
    )


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
