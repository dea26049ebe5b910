"""Which samples does a shard hold, so that they can be shown and measured again?

One JSON object a line. Texts are kept as the token ids that the model was fed, and the
tokens that count as runs.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from driftmap.core.errors import DataError, StoreError
from driftmap.results.index import IndexedSample
from driftmap.results.plain import from_plain
from driftmap.store.plain import sorted_json

SAMPLES_FILE = "samples.jsonl"


def write_samples(path: Path, samples: Sequence[IndexedSample]) -> None:
    """Write one line per sample, the same bytes each time."""
    lines = (sorted_json(asdict(sample)) + "\n" for sample in samples)
    path.write_bytes("".join(lines).encode())


def read_samples(
    path: Path, chosen: Sequence[int] | None = None
) -> tuple[IndexedSample, ...]:
    """Read samples of a shard.

    Args:
        path: The file.
        chosen: Numbers of the lines; all by default.

    Raises:
        StoreError: The file is missing or damaged.
    """
    lines = _lines(path)
    numbers = range(len(lines)) if chosen is None else chosen
    return tuple(_sample(path, number, lines) for number in numbers)


def read_ids(path: Path) -> list[str]:
    """Read the ids of a shard's samples.

    Raises:
        StoreError: The file is missing or damaged.
    """
    return [str(_parsed(path, n, line)["id"]) for n, line in enumerate(_lines(path))]


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        raise StoreError(
            f"{path}: is missing; find it, or repeat the command that built the index"
        ) from None


def _sample(path: Path, number: int, lines: Sequence[bytes]) -> IndexedSample:
    line = lines[number] if number < len(lines) else b""
    where = f"{path}: line {number + 1}"
    try:
        return from_plain(IndexedSample, _parsed(path, number, line), where)
    except DataError as error:
        raise _damaged(path, number) from error


def _parsed(path: Path, number: int, line: bytes) -> dict[str, object]:
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, number) from error
    if not isinstance(parsed, dict) or "id" not in parsed:
        raise _damaged(path, number)
    return parsed


def _damaged(path: Path, number: int) -> StoreError:
    return StoreError(
        f"{path}: line {number + 1} is damaged; remove its folder and repeat the "
        "command that built the index"
    )
