"""What does an index say of itself: which gradients does it hold, and how made?"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from driftmap.core.places import TensorPlace
from driftmap.results.sketches import SketchSettings

Keep = Literal["fp16", "int8"]
"""Number type that rows are kept in; int8 with one scale per row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexTensor:
    """One tensor of an index.

    Args:
        place: Where it is in the model.
        shape: Its shape: `[out in]`, `[row width]` or `[weight]`.
        num_numbers: Numbers that a row of it has.
    """

    place: TensorPlace
    shape: tuple[int, ...]
    num_numbers: int

    @property
    def is_exact(self) -> bool:
        """Whether its rows hold the gradient itself."""
        return self.place.num_weights == self.num_numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSettings:
    """What two indexes must have in common to be comparable.

    Args:
        model: The model as it was named.
        adapter: The adapter on top of it, as it was named.
        model_sha256: Which weights.
        template: Chat template by name; None for the tokenizer's own.
        template_sha256: Hash of template, tokenizer and mask rule.
        loss_on: Tokens in a sample's loss, which is the mean of -log p over them.
        dtype: Number type of the pass.
        sketch: How gradients were made short.
        keep: Number type of the rows.
        shard_size: Samples of a full shard.
    """

    model: str
    adapter: str | None
    model_sha256: str
    template: str | None
    template_sha256: str
    loss_on: Literal["answer", "all"]
    dtype: Literal["float32", "bfloat16", "float16"]
    sketch: SketchSettings
    keep: Keep = "fp16"
    shard_size: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Samples from one number to before another.

    Args:
        start: First sample, counted from 0.
        stop: One past the last sample.
    """

    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPart:
    """Samples that one command added.

    Args:
        data: The source as it was named.
        sha256: Hash of its samples as the model is fed them.
        num_samples: All samples of the source.
        spans: Those of them that belong here, ascending; each is cut into shards at
            multiples of the shard size, counted from the source's first sample.
    """

    data: str
    sha256: str
    num_samples: int
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexShard:
    """A shard of an index, whether it is there or not.

    Args:
        part: Number of the part that it is of.
        number: Its place among all shards of the whole.
        start: First sample, counted over all parts.
        stop: One past the last sample.
    """

    part: int
    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Name of its folder, as the engine names it.

        >>> IndexShard(part=0, number=1, start=1024, stop=2000).name
        'shard-00001024-00002000'
        """
        return f"shard-{self.start:08d}-{self.stop:08d}"

    @property
    def num_samples(self) -> int:
        """Samples that it holds."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexHeader:
    """All that stands in `index.json`.

    Args:
        tensors: The tensors, in model order.
        settings: How the rows were made.
        parts: What was added, in order.
    """

    tensors: tuple[IndexTensor, ...]
    settings: IndexSettings
    parts: tuple[IndexPart, ...]

    def shards(self) -> tuple[IndexShard, ...]:
        """Shards that the parts are made of, in order."""
        return tuple(self._shards())

    def first_of(self, part: int) -> int:
        """Number of a part's first sample, counted over all parts."""
        return sum(before.num_samples for before in self.parts[:part])

    def _shards(self) -> Iterator[IndexShard]:
        size = self.settings.shard_size
        before = 0
        for index, part in enumerate(self.parts):
            first = self.first_of(index)
            for span in part.spans:
                for place in range(span.start // size, -(-span.stop // size)):
                    start = max(place * size, span.start)
                    stop = min((place + 1) * size, span.stop)
                    yield IndexShard(
                        part=index,
                        number=before + place,
                        start=first + start,
                        stop=first + stop,
                    )
            before += -(-part.num_samples // size)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedSample:
    """What an index keeps of a sample beside its gradients.

    Args:
        id: The sample's id.
        original_id: The sample that it is a version of.
        version: Which version.
        token_ids: What the model was fed.
        counted: Runs of tokens that count in the loss, each from a start to a stop.
        prompt_length: Tokens before the response.
    """

    id: str
    original_id: str
    version: str
    token_ids: tuple[int, ...]
    counted: tuple[tuple[int, int], ...]
    prompt_length: int
