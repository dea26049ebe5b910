"""Small indexes of made-up gradients, for tests."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from driftmap.core.places import TensorPlace
from driftmap.engine.run import run_shards
from driftmap.engine.work import Shard
from driftmap.results.index import (
    IndexedSample,
    IndexHeader,
    IndexPart,
    IndexSettings,
    IndexTensor,
    Span,
)
from driftmap.results.sketches import SketchedSamples, SketchSettings
from driftmap.store.index.header import save_header
from driftmap.store.index.shards import SHARDS, writing_shard

SIZE = 16
TENSORS = (
    IndexTensor(
        place=TensorPlace(
            name="l.0.q", part="q", layer=0, half="attention", num_weights=64
        ),
        shape=(8, 8),
        num_numbers=SIZE,
    ),
    IndexTensor(
        place=TensorPlace(
            name="a.1.up", part="up", layer=1, half="mlp", num_weights=96
        ),
        shape=(12, 8),
        num_numbers=SIZE,
    ),
    IndexTensor(
        place=TensorPlace(name="n.norm", part="norm", num_weights=6),
        shape=(6,),
        num_numbers=6,
    ),
)


def made_header(num_samples=10, *, keep="fp16", shard_size=4, seed=0, spans=None):
    """What an index of made-up samples says of itself."""
    return IndexHeader(
        tensors=TENSORS,
        settings=IndexSettings(
            model="tiny",
            adapter=None,
            model_sha256="a" * 64,
            template=None,
            template_sha256="b" * 64,
            loss_on="answer",
            dtype="float32",
            sketch=SketchSettings(size=SIZE, seed=seed),
            keep=keep,
            shard_size=shard_size,
        ),
        parts=(made_part("made.jsonl", num_samples, spans),),
    )


def made_part(data, num_samples, spans=None):
    """One source of made-up samples."""
    spans = [(0, num_samples)] if spans is None else spans
    return IndexPart(
        data=data,
        sha256=data,
        num_samples=num_samples,
        spans=tuple(Span(start=start, stop=stop) for start, stop in spans),
    )


def made_samples(numbers, name="s"):
    """Samples with tokens of their own."""
    return [
        IndexedSample(
            id=f"{name}{number}",
            original_id=f"{name}{number}",
            version="original",
            token_ids=(1, 5, 6, 7 + number % 5),
            counted=((2, 4),),
            prompt_length=2,
        )
        for number in numbers
    ]


def made_sketches(numbers, name="s", *, drawn=None, tensors=TENSORS, size=SIZE):
    """Rows of about unit length, the same for a sample wherever it stands.

    `drawn` names the samples whose numbers they have instead.
    """
    drawn = numbers if drawn is None else drawn
    rows, energies = [], []
    for tensor in tensors:
        of_tensor = []
        for number in drawn:
            dice = np.random.default_rng([number, *tensor.place.name.encode()])
            of_tensor.append(dice.normal(size=tensor.num_numbers))
        spread = np.sqrt(tensor.num_numbers)
        rows.append(np.array(of_tensor, np.float32).reshape(len(numbers), -1))
        rows[-1] /= np.float32(spread)
        energies.append([1 + (number * 7) % 5 for number in drawn])
    return SketchedSamples(
        sample_ids=tuple(f"{name}{number}" for number in numbers),
        tensors=tuple(tensor.place for tensor in tensors),
        rows=tuple(rows),
        energies=np.array(energies, float).T.reshape(len(numbers), -1),
        settings=SketchSettings(size=size),
    )


@dataclass(frozen=True)
class Made:
    """Makes shards of made-up samples."""

    header: IndexHeader
    silent: tuple[int, ...] = ()
    all_equal: bool = False

    def open(self):
        """Nothing has to be loaded."""
        return self

    def drawn(self, numbers):
        """Samples whose numbers these have."""
        return [0] * len(numbers) if self.all_equal else numbers

    def make(self, shard: Shard, folder: Path) -> None:
        """Put the samples of a shard in two pieces."""
        numbers = list(range(shard.start, shard.stop))
        middle = len(numbers) // 2
        with writing_shard(folder, self.header, len(numbers)) as writer:
            for first, part in ((middle, numbers[middle:]), (0, numbers[:middle])):
                if part:
                    sketched = made_sketches(part, drawn=self.drawn(part))
                    for row, number in enumerate(part):
                        if number in self.silent:
                            sketched.energies[row] = 0
                            for rows in sketched.rows:
                                rows[row] = 0
                    writer.put(first, made_samples(part), sketched)


def engine_shards(header):
    """Shards of an index as the engine is told of them."""
    return [
        Shard(number=planned.number, start=planned.start, stop=planned.stop)
        for planned in header.shards()
    ]


def make_index(folder, header=None, *, silent=(), all_equal=False, **settings):
    """Write a whole index."""
    header = header or made_header(**settings)
    made = Made(header, silent, all_equal)
    folder.mkdir(parents=True, exist_ok=True)
    save_header(folder, header)
    run_shards(made, engine_shards(header), folder / SHARDS)
    return folder


def with_part(header, part):
    """The header of an index after something was added."""
    return replace(header, parts=(*header.parts, part))


def contents(folder):
    """Every file of an index."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
