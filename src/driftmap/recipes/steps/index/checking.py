"""Is an index what was written, and do its rows come out again?"""

from pathlib import Path

import numpy as np

from driftmap.core.errors import ModelError, StoreError
from driftmap.core.progress import phase, progress, say
from driftmap.core.units import format_bytes, format_count
from driftmap.engine.folder import first_fault, read_done
from driftmap.load.model import LoadedModel
from driftmap.recipes.index_options import IndexModel
from driftmap.recipes.steps.index.model import model_of
from driftmap.recipes.steps.index.reading import as_encoded
from driftmap.recipes.steps.index.sketching import sketch
from driftmap.results.index import IndexedSample
from driftmap.results.sketches import SketchedSamples
from driftmap.store.index.folder import Index, shard_folder
from driftmap.store.index.rows import widened

_NUM_AGAIN = 4
_ALIKE = {"float32": 0.999, "bfloat16": 0.98, "float16": 0.98}
"""Cosine of a row with the same row made again, at least."""


def check_files(index: Index) -> int:
    """Read every file of every shard again.

    Args:
        index: The index.

    Returns:
        Bytes that were read.

    Raises:
        StoreError: A file is not what was written; the first one is named.
    """
    read = 0
    with phase("check the files"), progress("shards", len(index.planned)) as bar:
        for planned in index.planned:
            folder = shard_folder(index.folder, planned)
            read += _check_folder(folder, (planned.start, planned.stop))
            bar.advance()
    return read


def check_rows(index: Index, asked: IndexModel, batch_tokens: int) -> int:
    """Make the rows of a few samples again and compare them with what is kept.

    Args:
        index: The index.
        asked: Where its model lies and where it goes.
        batch_tokens: Tokens of one pass, padding included.

    Returns:
        Samples that were made again; 0 where the model is not at hand, which is said.

    Raises:
        StoreError: A row is another one, or the model is.
    """
    try:
        loaded = model_of(index.header.settings, asked, index.folder)
    except ModelError as error:
        say(f"no sample is made again, since the model is not at hand: {error}")
        return 0
    numbers = np.linspace(0, index.num_samples - 1, _NUM_AGAIN).round()
    chosen = sorted({int(number) for number in numbers})
    held = index.samples(chosen)
    with phase("make a few samples again"):
        made = _again(index, loaded, list(held.values()), batch_tokens)
        for shard in index.shards():
            planned = shard.planned
            here = [n for n in chosen if planned.start <= n < planned.stop]
            for number in here:
                row = number - planned.start
                energies = shard.energies()[0][row]
                for tensor in range(len(index.header.tensors)):
                    kept, scales = shard.kept(tensor)
                    found = widened(kept[row : row + 1])[0] * scales[row]
                    _compare(
                        index,
                        (number, chosen.index(number), tensor),
                        (found, float(energies[tensor])),
                        made,
                    )
    return len(chosen)


def summary(index: Index, num_bytes: int, num_again: int) -> str:
    """Say what was checked, and that it was right."""
    again = f"; {num_again} samples were made again and agree" if num_again else ""
    return (
        f"{index.folder}: {format_count(index.num_samples)} samples in "
        f"{len(index.planned)} shards, {format_bytes(num_bytes)}: every file is what "
        f"was written{again}"
    )


def _check_folder(folder: Path, wanted: tuple[int, int]) -> int:
    told = read_done(folder)
    if told is None or (told["start"], told["stop"]) != wanted:
        raise _bad(f"{folder / 'done.json'} is damaged")
    fault = first_fault(folder, told)
    if fault:
        raise _bad(fault)
    return sum(entry["num_bytes"] for entry in told["files"].values())


def _bad(fault: str) -> StoreError:
    return StoreError(
        f"{fault}; repeat the command that built the index, which makes this shard "
        "again"
    )


def _again(
    index: Index,
    loaded: LoadedModel,
    samples: list[IndexedSample],
    batch_tokens: int,
) -> SketchedSamples:
    places = [tensor.place for tensor in index.header.tensors]
    encoded = [as_encoded(sample) for sample in samples]
    settings = index.header.settings.sketch
    return sketch(loaded, places, encoded, settings, batch_tokens)


def _compare(
    index: Index,
    at: tuple[int, int, int],
    found: tuple[np.ndarray, float],
    made: SketchedSamples,
) -> None:
    number, place, tensor = at
    row, energy = found
    wanted = made.rows[tensor][place].astype(float)
    least = _ALIKE[index.header.settings.dtype]
    lengths = np.linalg.norm(row) * np.linalg.norm(wanted)
    cosine = float(row @ wanted) / lengths if lengths else float(not row.any())
    ratio = energy / made.energies[place, tensor] if energy else 1.0
    if cosine < least or not least <= ratio <= 1 / least:
        name = index.header.tensors[tensor].place.name
        raise StoreError(
            f"{index.folder}: sample {made.sample_ids[place]} (number {number}) has "
            f"another row of {name} when it is made again (cosine {cosine:.4f}, energy "
            f"{ratio:.4f} of what it is now); build the index again"
        )
