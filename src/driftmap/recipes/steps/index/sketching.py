"""How do samples become the rows of an index?

Samples go through the model in chunks of 64 that are counted from the first sample of
their source, so that any division of the work runs the same batches.
"""

from collections.abc import Sequence

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
from driftmap.load.chunks import chunked_batches
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
    part: range | None = None,
) -> SketchedSamples:
    """Make the rows of samples.

    Args:
        loaded: The model.
        places: Tensors, in the order of the result.
        encoded: All samples of a source.
        settings: How gradients are made short.
        batch_tokens: Tokens of one pass, padding included.
        part: Numbers of the samples whose rows are made; all by default.

    Raises:
        MeasureError: A gradient is not finite, or zero in every tensor.
    """
    sketches = Sketches(places, settings)
    rules = rules_of(loaded, places)
    whole = range(len(encoded))
    batches = batched(loaded, encoded, batch_tokens, whole if part is None else part)
    with threads_for(loaded.identity):
        show_gradients(loaded.model, rules, batches, sketches.take)
    return sketches.result()


def batched(
    loaded: LoadedModel,
    encoded: Sequence[EncodedSample],
    batch_tokens: int,
    part: range,
) -> tuple[Batch, ...]:
    """Pad samples into batches.

    Args:
        loaded: The model.
        encoded: All samples of a source; their order is their `sample_index`.
        batch_tokens: Tokens of a batch, padding included.
        part: Numbers of those asked for.
    """
    return chunked_batches(
        encoded,
        part,
        chunk=CHUNK,
        batch_tokens=batch_tokens,
        pad_id=pad_id(loaded),
        device=loaded.device,
    )


def _is_named(place: TensorPlace, word: str) -> bool:
    return place.part == word if word in PARTS else word in place.name
