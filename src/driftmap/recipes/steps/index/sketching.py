"""How do samples become the rows of an index?

Samples go through the model in chunks of 64 that are counted from the first sample of
their source, so that any division of the work runs the same batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from driftmap.capture.gradients import show_gradients
from driftmap.core.errors import UsageError
from driftmap.core.places import PARTS, TensorPlace
from driftmap.engine.shards import CHUNK
from driftmap.families.tensors import (
    TensorRule,
    choose_tensors,
    find_tensors,
    slice_shape,
)
from driftmap.load.batches import make_batches
from driftmap.load.model import LoadedModel
from driftmap.measure.sketch import Sketches
from driftmap.recipes.steps.bench import pad_id
from driftmap.recipes.steps.threads import threads_for
from driftmap.results.index import IndexTensor
from driftmap.results.samples import EncodedSample
from driftmap.results.sketches import SketchedSamples, SketchSettings
from driftmap.signals.batch import Batch
from driftmap.stats.sketch_sizes import num_numbers


def tensor_table(
    loaded: LoadedModel, only: Sequence[str], settings: SketchSettings
) -> tuple[IndexTensor, ...]:
    """List the tensors that an index will hold.

    Args:
        loaded: The model.
        only: Parts or pieces of names; all tensors where there is none.
        settings: How gradients are made short.

    Raises:
        UsageError: A word names no tensor.
    """
    rules = find_tensors(loaded.model)
    places = [one.place for rule in rules for one in rule.slices]
    names = {place.name for place in chosen(places, only, "--only")}
    kept = [
        (one.place, slice_shape(rule, one))
        for rule in rules
        for one in rule.slices
        if one.place.name in names
    ]
    sizes = num_numbers([place for place, _ in kept], settings)
    return tuple(
        IndexTensor(place=place, shape=shape, num_numbers=size)
        for (place, shape), size in zip(kept, sizes, strict=True)
    )


def chosen(
    places: Sequence[TensorPlace], words: Sequence[str], option: str
) -> list[TensorPlace]:
    """Choose tensors by part, or by a piece of their name.

    Args:
        places: All tensors.
        words: A part, which then means no piece of a name, or such a piece; all tensors
            where there is none.
        option: What the words were given to.

    Raises:
        UsageError: A word names no tensor.
    """
    named: set[str] = set()
    for word in words:
        found = {place.name for place in places if _is_named(place, word)}
        if not found:
            parts = ", ".join(dict.fromkeys(place.part for place in places))
            raise UsageError(
                f"{option} {word}: names none of the {len(places)} tensors; give a "
                f"part ({parts}), or a piece of a name such as {places[0].name}"
            )
        named |= found
    return [place for place in places if not words or place.name in named]


def rules_of(
    loaded: LoadedModel, places: Sequence[TensorPlace]
) -> tuple[TensorRule, ...]:
    """Find what a pass must show of a model for some of its tensors."""
    names = {place.name for place in places}
    rules = find_tensors(loaded.model)
    return choose_tensors(rules, lambda place: place.name in names)


def sketch(
    loaded: LoadedModel,
    places: Sequence[TensorPlace],
    encoded: Sequence[EncodedSample],
    settings: SketchSettings,
    batch_tokens: int,
    first: int = 0,
) -> SketchedSamples:
    """Make the rows of samples that follow each other.

    Args:
        loaded: The model.
        places: Tensors, in the order of the result.
        encoded: The samples.
        settings: How gradients are made short.
        batch_tokens: Tokens of one pass, padding included.
        first: Number of the first sample in its source.

    Raises:
        MeasureError: A gradient is not finite, or zero in every tensor.
    """
    sketches = Sketches(places, settings)
    batches = batched(loaded, encoded, batch_tokens, first)
    with threads_for(loaded.identity):
        show_gradients(loaded.model, rules_of(loaded, places), batches, sketches.take)
    return sketches.result()


def batched(
    loaded: LoadedModel,
    encoded: Sequence[EncodedSample],
    batch_tokens: int,
    first: int = 0,
) -> tuple[Batch, ...]:
    """Pad samples that follow each other into batches, chunk by chunk.

    Args:
        loaded: The model.
        encoded: The samples; their order here is their `sample_index`.
        batch_tokens: Tokens of a batch, padding included; a longer sample is alone.
        first: Number of the first sample in its source, by which chunks are counted.
    """
    return tuple(_batches(loaded, encoded, batch_tokens, first))


def _batches(
    loaded: LoadedModel,
    encoded: Sequence[EncodedSample],
    batch_tokens: int,
    first: int,
) -> Iterator[Batch]:
    """Batches of each chunk, its longest samples first."""
    stop = first + len(encoded)
    for edge in range(first // CHUNK * CHUNK, stop, CHUNK):
        numbers = range(max(edge, first), min(edge + CHUNK, stop))
        chunk = [(number - first, encoded[number - first]) for number in numbers]
        for group in _packed(chunk, batch_tokens):
            (batch,) = make_batches(
                [one for _, one in group],
                batch_size=len(group),
                pad_id=pad_id(loaded),
                device=loaded.device,
            )
            places = [group[row][0] for row in batch.sample_index]
            yield replace(batch, sample_index=tuple(places))


def _packed(
    chunk: Sequence[tuple[int, EncodedSample]], batch_tokens: int
) -> Iterator[list[tuple[int, EncodedSample]]]:
    """Samples of like length that fit into so many tokens together; one at least."""
    group: list[tuple[int, EncodedSample]] = []
    for number, one in sorted(chunk, key=lambda at: (-len(at[1].token_ids), at[0])):
        longest = len(group[0][1].token_ids) if group else 0
        if group and longest * (len(group) + 1) > batch_tokens:
            yield group
            group = []
        group.append((number, one))
    yield group


def _is_named(place: TensorPlace, word: str) -> bool:
    return place.part == word if word in PARTS else word in place.name
