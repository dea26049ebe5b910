"""Which samples files are almost right? Seeded mutations of good ones, of every shape.

A mutant knows what must survive: rows that the mutation did not touch, in their places.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from driftmap.load.formats.known import SHAPES
from driftmap.load.formats.shape import Shape
from driftmap.load.rows import ENDINGS
from mutations import BYTES, HARMLESS, NEVER_JSON, PARQUET, ROWS, Changed

ENDS_OF_ROWS = (
    "",
    ", and so on",
    ' "as they say"',
    "\nIn two lines",
    " ï 日本 😀",
    "\t!",
)
NEVER_VARIED = ("role", "from", "category")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodFile:
    """A file that loads.

    Args:
        shape: What it is recognised as.
        ending: With the dot.
        rows: What it says.
        head: Bytes above the rows.
        lines: Bytes of each row; none in Parquet.
        content: All bytes.
    """

    shape: Shape
    ending: str
    rows: list[dict]
    head: bytes
    lines: tuple[bytes, ...]
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A good file after one mutation.

    Args:
        name: Which mutation of which file.
        good: The file before.
        ending: With the dot; not always the good file's.
        content: All bytes.
        kept: Row here (from the end where negative) -> the same row in the good file.
        num_rows: How many rows it has, where that is known.
        broken: It must be refused.
        whole: It must not be refused.
        holds: Row -> a text that it must hold.
    """

    name: str
    good: GoodFile
    ending: str
    content: bytes
    kept: Mapping[int, int] = field(default_factory=dict)
    num_rows: int | None = None
    broken: bool = False
    whole: bool = False
    holds: Mapping[int, str] = field(default_factory=dict)


def good_files() -> Iterator[GoodFile]:
    """One file of every known shape in every ending that can hold it."""
    for shape in SHAPES:
        cells = shape.example.values()
        for ending in ENDINGS:
            if ending == ".txt" and set(shape.example) != {"text"}:
                continue
            if ending == ".csv" and not all(isinstance(cell, str) for cell in cells):
                continue
            rows = [
                {c: _varied(c, cell, number) for c, cell in shape.example.items()}
                for number in range(len(ENDS_OF_ROWS))
            ]
            if ending == ".txt":
                rows = [{"text": row["text"].replace("\n", " ")} for row in rows]
            yield good_file(shape, ending, rows)


def good_file(shape: Shape, ending: str, rows: list[dict]) -> GoodFile:
    """Write rows as one file."""
    head, lines, tail = written(ending, rows)
    return GoodFile(
        shape=shape, ending=ending, rows=rows, head=head, lines=lines,
        content=head + b"".join(lines) + tail,
    )  # fmt: skip


def mutants(seed: int) -> Iterator[Mutant]:
    """Every mutation of every good file."""
    for good in good_files():
        random = Random(f"{seed} {good.shape.name} {good.ending}")
        of_text = good.ending != ".parquet"
        for name, change in BYTES.items():
            content = change(good.content, random)
            kept = _kept(good, content) if of_text else {}
            broken = (
                content != good.content
                and good.ending.startswith(".json")
                and name in NEVER_JSON
            )
            yield _mutant(name, good, content, kept=kept, broken=broken)
        yield from _with_other_endings(good, random)
        for name, changed in ROWS.items():
            yield from _of_rows(name, good, changed(good, random))
        if of_text:
            for name, change in HARMLESS.items():
                content = change(good.content)
                kept = _same(good, name)
                yield _mutant(name, good, content, kept=kept, whole=True)
        else:
            for name, changed in PARQUET.items():
                yield from _of_table(name, good, changed)


def written(ending: str, rows: list[dict]) -> tuple[bytes, tuple[bytes, ...], bytes]:
    """The bytes above the rows, of each row, and below."""
    if ending in (".csv", ".parquet"):
        columns = list(dict.fromkeys(column for row in rows for column in row))
    if ending == ".parquet":
        table = pa.table({c: [row.get(c) for row in rows] for c in columns})
        return _parquet(table), (), b""
    if ending == ".csv":
        lines = [_csv_line([row.get(c, "") for c in columns]) for row in rows]
        return _csv_line(columns), tuple(lines), b""
    if ending == ".txt":
        return b"", tuple(f"{row['text']}\n".encode() for row in rows), b""
    texts = [json.dumps(row, ensure_ascii=_has_halves(row)).encode() for row in rows]
    if ending == ".jsonl":
        return b"", tuple(text + b"\n" for text in texts), b""
    ends = [b",\n"] * (len(texts) - 1) + [b"\n"]
    lines = [text + end for text, end in zip(texts, ends, strict=True)]
    return b"[\n", tuple(lines), b"]\n"


def _varied(column: str, cell: object, number: int) -> object:
    """The example's cell, told apart from that of other rows."""
    if isinstance(cell, str):
        return cell if column in NEVER_VARIED else cell + ENDS_OF_ROWS[number]
    if isinstance(cell, list):
        return [_varied(column, each, number) for each in cell]
    if isinstance(cell, dict):
        return {key: _varied(key, each, number) for key, each in cell.items()}
    assert isinstance(cell, int)
    return cell + number if cell > 0 else cell


def _kept(good: GoodFile, content: bytes) -> dict[int, int]:
    """Rows that lie wholly before, or wholly after, all that differs."""
    prefix = _common(good.content, content)
    suffix = _common(good.content[::-1], content[::-1])
    kept = {}
    stop = len(good.head)
    for number, line in enumerate(good.lines):
        start, stop = stop, stop + len(line)
        if stop <= prefix:
            kept[number] = number
        if start > len(good.content) - suffix and prefix >= len(good.head):
            kept[number - len(good.lines)] = number
    return kept


def _common(one: bytes, other: bytes) -> int:
    pairs = zip(one, other, strict=False)
    return next(
        (n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other))
    )


def _same(good: GoodFile, name: str) -> dict[int, int]:
    """All rows, but for those whose text holds what the mutation changes."""
    inside = "ends" in name and good.ending == ".csv"
    return {
        number: number
        for number, row in enumerate(good.rows)
        if not (inside and "\n" in "".join(row.values()))
    }


def _with_other_endings(good: GoodFile, random: Random) -> Iterator[Mutant]:
    others = [ending for ending in ENDINGS if ending != good.ending]
    for ending in random.sample(others, 2):
        name = f"named {ending}"
        yield _mutant(name, good, good.content, ending=ending)


def _of_rows(name: str, good: GoodFile, changed: Changed | None) -> Iterator[Mutant]:
    if changed is None or (good.ending == ".txt" and not _are_texts(changed.rows)):
        return
    if good.ending in (".csv", ".parquet") and not _are_objects(changed.rows):
        return
    try:
        head, lines, tail = written(good.ending, changed.rows)
    except (pa.ArrowException, UnicodeEncodeError):
        return  # this kind of file cannot hold it
    typed = good.ending in (".json", ".jsonl", ".parquet")
    yield _mutant(
        name, good, head + b"".join(lines) + tail,
        kept=changed.kept, num_rows=len(changed.rows),
        broken=changed.broken and typed, holds=changed.holds,
    )  # fmt: skip


def _of_table(name: str, good: GoodFile, changed) -> Iterator[Mutant]:
    table = changed(pa.Table.from_pylist(good.rows), min(good.shape.needs))
    if table is not None:
        same = name.startswith("same ")
        kept = {number: number for number in range(len(good.rows))} if same else {}
        yield _mutant(name, good, _parquet(table), kept=kept, whole=same)


def _mutant(name: str, good: GoodFile, content: bytes, **known) -> Mutant:
    full = f"{name}, {good.shape.name}, {good.ending}"
    known.setdefault("ending", good.ending)
    return Mutant(name=full, good=good, content=content, **known)


def _are_objects(rows: list) -> bool:
    return all(isinstance(row, dict) for row in rows)


def _are_texts(rows: list[dict]) -> bool:
    texts = [row.get("text") if isinstance(row, dict) else None for row in rows]
    return all(isinstance(text, str) and text.strip() for text in texts)


def _has_halves(row: object) -> bool:
    """Whether it holds half a surrogate pair, which only an escape can write."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _csv_line(cells: list[object]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()
