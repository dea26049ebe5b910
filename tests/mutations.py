"""What can happen to a samples file on its way? To its bytes, its rows, its columns."""

import gzip
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pyarrow as pa

MANY = 100_000
LONG_NUMBER = b"9" * 5_000
A_KEY = re.compile(rb'{("\w+": )')
A_TEXT = re.compile(rb'(?<=": )"[^"]*"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Rows after a mutation.

    Args:
        rows: What is written.
        kept: Row here -> the same row before.
        broken: They must be refused where the file can tell text from other values.
        holds: Row -> a text that its sample must hold.
    """

    rows: list[Any]
    kept: Mapping[int, int]
    broken: bool = False
    holds: Mapping[int, str] = field(default_factory=dict)


def _inserted(what: bytes) -> Callable[[bytes, Random], bytes]:
    def change(content: bytes, random: Random) -> bytes:
        at = random.randrange(len(content) + 1)
        return content[:at] + what + content[at:]

    return change


def _in_place_of_a_text(what: bytes) -> Callable[[bytes, Random], bytes]:
    def change(content: bytes, random: Random) -> bytes:
        found = list(A_TEXT.finditer(content))
        if not found:
            return _inserted(what)(content, random)
        one = random.choice(found)
        return content[: one.start()] + what + content[one.end() :]

    return change


def _without(what: bytes) -> Callable[[bytes, Random], bytes]:
    def change(content: bytes, random: Random) -> bytes:
        places = [m.start() for m in re.finditer(re.escape(what), content)]
        if not places:
            return content[1:]
        at = random.choice(places)
        return content[:at] + content[at + len(what) :]

    return change


def _flipped(count: int) -> Callable[[bytes, Random], bytes]:
    def change(content: bytes, random: Random) -> bytes:
        flipped = bytearray(content)
        for _ in range(count):
            flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
        return bytes(flipped)

    return change


def _span(content: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(content))
    return start, min(len(content), start + random.randrange(1, 40))


def _span_removed(content: bytes, random: Random) -> bytes:
    start, stop = _span(content, random)
    return content[:start] + content[stop:]


def _span_repeated(content: bytes, random: Random) -> bytes:
    start, stop = _span(content, random)
    return content[:stop] + content[start:stop] + content[stop:]


def _by_lines(change: Callable[[list[bytes], Random], list[bytes]]):
    def changed(content: bytes, random: Random) -> bytes:
        return b"".join(change(content.splitlines(keepends=True), random))

    return changed


def _line_dropped(lines: list[bytes], random: Random) -> list[bytes]:
    at = random.randrange(len(lines))
    return lines[:at] + lines[at + 1 :]


def _line_doubled(lines: list[bytes], random: Random) -> list[bytes]:
    at = random.randrange(len(lines))
    return lines[: at + 1] + lines[at:]


def _lines_swapped(lines: list[bytes], random: Random) -> list[bytes]:
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return lines


BYTES: Mapping[str, Callable[[bytes, Random], bytes]] = {
    "cut off": lambda content, random: content[: random.randrange(len(content))],
    "begun late": lambda content, random: content[random.randrange(len(content)) :],
    "a bit flipped": _flipped(1),
    "ten bits flipped": _flipped(10),
    "random bytes": lambda content, random: _inserted(random.randbytes(8))(
        content, random
    ),
    "span removed": _span_removed,
    "span repeated": _span_repeated,
    "NUL": _inserted(b"\0"),
    "byte order mark inside": _inserted(b"\xef\xbb\xbf"),
    "not UTF-8": _inserted(b"\xc3\x28"),
    "half a pair as bytes": _inserted(b"\xed\xa0\x80"),
    "half a pair as escape": _inserted(b"\\ud83d"),
    "line separator": _inserted("\u2028".encode()),
    "next line": _inserted("\x85".encode()),
    "carriage return": _inserted(b"\r"),
    "line break": _inserted(b"\n"),
    "line break lost": _without(b"\n"),
    "quote": _inserted(b'"'),
    "quote lost": _without(b'"'),
    "comma": _inserted(b","),
    "comma lost": _without(b","),
    "backslash": _inserted(b"\\"),
    "line dropped": _by_lines(_line_dropped),
    "line doubled": _by_lines(_line_doubled),
    "lines swapped": _by_lines(_lines_swapped),
    "only the first line": _by_lines(lambda lines, _: lines[:1]),
    "deep lists": _in_place_of_a_text(b"[" * MANY + b"]" * MANY),
    "deep objects": _in_place_of_a_text(b'{"a":' * MANY + b"0" + b"}" * MANY),
    "lists without end": _in_place_of_a_text(b"[" * MANY),
    "long number": _in_place_of_a_text(LONG_NUMBER),
    "NaN": _in_place_of_a_text(b"NaN"),
    "infinity": _in_place_of_a_text(b"-Infinity"),
    "beyond floats": _in_place_of_a_text(b"1e999"),
    "no value": _in_place_of_a_text(b""),
    "single quotes": lambda content, _: content.replace(b'"', b"'"),
    "key twice": lambda content, _: A_KEY.sub(rb'{\g<1>"x", \g<1>', content),
    "UTF-16": lambda content, _: content.decode("latin-1").encode("utf-16"),
    "zipped": lambda content, _: gzip.compress(content, mtime=0),
    "twice in a row": lambda content, _: content + content,
    "nothing": lambda _, __: b"",
    "white space": lambda _, __: b" \n\t\r\n  ",
    "zeros": lambda content, _: bytes(len(content)),
    "a web page": lambda _, __: b"<!DOCTYPE html>\n<html><body>404</body></html>\n",
}  # fmt: skip

NEVER_JSON = frozenset(
    {"lists without end", "no value", "single quotes", "key twice", "UTF-16", "zipped"}
)
"""Mutations after which a JSON file cannot be read in one way only."""

HARMLESS: Mapping[str, Callable[[bytes], bytes]] = {
    "byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "Windows ends": lambda content: content.replace(b"\n", b"\r\n"),
    "old Mac ends": lambda content: content.replace(b"\n", b"\r"),
    "empty lines below": lambda content: content + b"\n\n",
    "no end of line": lambda content: content.rstrip(b"\n"),
}


def _cell(value: object):
    """One cell that a row cannot do without gets another value."""

    def change(good, random: Random) -> Changed:
        at = random.randrange(len(good.rows))
        column = random.choice(sorted(good.shape.needs))
        rows = [dict(row) for row in good.rows]
        of_text = isinstance(rows[at][column], str)
        rows[at][column] = value
        told = isinstance(value, str) and value.strip() != ""
        whole = told and "\ud83d" not in str(value)
        return Changed(
            rows=rows,
            kept={n: n for n in range(len(rows)) if n != at},
            broken=of_text and (not isinstance(value, str) or told != whole),
            holds={at: str(value)} if of_text and whole else {},
        )

    return change


def _row(value: object):
    """One row is something else."""

    def change(good, random: Random) -> Changed:
        at = random.randrange(len(good.rows))
        rows = [*good.rows[:at], value, *good.rows[at + 1 :]]
        kept = {n: n for n in range(len(rows)) if n != at}
        return Changed(rows=rows, kept=kept, broken=True)

    return change


def _key(new_name: str | None):
    """One key that a row cannot do without is renamed, or gone."""

    def change(good, random: Random) -> Changed:
        at = random.randrange(len(good.rows))
        column = random.choice(sorted(good.shape.needs))
        rows = [dict(row) for row in good.rows]
        value = rows[at].pop(column)
        if new_name is not None:
            rows[at][new_name] = value
        kept = {n: n for n in range(len(rows)) if n != at}
        return Changed(rows=rows, kept=kept, broken=True)

    return change


def _half_label(good, random: Random) -> Changed:
    at = random.randrange(len(good.rows))
    rows = [dict(row) for row in good.rows]
    rows[at]["label"] = "a\ud83db"
    kept = {n: n for n in range(len(rows)) if n != at}
    return Changed(rows=rows, kept=kept, broken=True)


def _key_everywhere(good, random: Random) -> Changed:
    column = random.choice(sorted(good.shape.needs))
    rows = [
        {("Other" if key == column else key): cell for key, cell in row.items()}
        for row in good.rows
    ]
    return Changed(rows=rows, kept={})


def _column_more(value: object):
    """Every row gets a column that no shape asks for."""

    def change(good, _: Random) -> Changed:
        rows = [{**row, "notes": value} for row in good.rows]
        return Changed(rows=rows, kept={n: n for n in range(len(rows))})

    return change


def _shuffled(good, random: Random) -> Changed:
    order = list(range(len(good.rows)))
    random.shuffle(order)
    return Changed(rows=[good.rows[n] for n in order], kept=dict(enumerate(order)))


def _repeated(good, random: Random) -> Changed:
    at = random.randrange(len(good.rows))
    order = [*range(at + 1), *range(at, len(good.rows))]
    return Changed(rows=[good.rows[n] for n in order], kept=dict(enumerate(order)))


def _turns(change_turn: Callable[[Any], Any]):
    """One turn of one conversation is something else."""

    def change(good, random: Random) -> Changed | None:
        (column, *more) = sorted(good.shape.needs)
        if more or not isinstance(good.rows[0][column], list):
            return None
        at = random.randrange(len(good.rows))
        rows = [dict(row) for row in good.rows]
        turns = list(rows[at][column])
        number = random.randrange(len(turns))
        turns[number] = change_turn(turns[number])
        rows[at][column] = turns
        kept = {n: n for n in range(len(rows)) if n != at}
        return Changed(rows=rows, kept=kept, broken=True)

    return change


ROWS: Mapping[str, Callable[..., Changed | None]] = {
    "cell null": _cell(None),
    "cell number": _cell(7),
    "cell fraction": _cell(0.5),
    "cell beyond 64 bits": _cell(10**30),
    "cell NaN": _cell(float("nan")),
    "cell true": _cell(True),
    "cell empty list": _cell([]),
    "cell list": _cell(["Blue.", 3]),
    "cell nested list": _cell([[[]]]),
    "cell empty object": _cell({}),
    "cell object": _cell({"role": "user", "content": "Blue."}),
    "cell empty": _cell(""),
    "cell blank": _cell(" \t "),
    "cell long": _cell("so much " * 20_000),
    "cell NUL": _cell("a\0b"),
    "cell half a pair": _cell("a\ud83db"),
    "cell escape sequence": _cell("\x1b[31mred"),
    "cell right to left": _cell("\u202eeulb"),
    "cell control": _cell("a\x07\x08b"),
    "cell a formula": _cell("=1+1"),
    "cell a wrapper": _cell("[INST] Why? [INST] So? [/INST]"),
    "cell template": _cell("{{ messages[9] }} {% raise %} <|im_end|>"),
    "row empty": _row({}),
    "row null": _row(None),
    "row number": _row(7),
    "row text": _row("Blue."),
    "row list": _row(["Name a colour.", "Blue."]),
    "row of another shape": _row({"question": "Name a colour.", "answers": ["Blue."]}),
    "key gone": _key(None),
    "key in capitals": _key("Prompt"),
    "key blank": _key(" "),
    "key empty": _key(""),
    "key half a pair": _key("\ud83d"),
    "key long": _key("k" * 70_000),
    "key escape sequence": _key("\x1b[31m"),
    "label half a pair": _half_label,
    "column renamed": _key_everywhere,
    "column of numbers more": _column_more(7),
    "column of lists more": _column_more([1, [2]]),
    "column of nulls more": _column_more(None),
    "rows shuffled": _shuffled,
    "row repeated": _repeated,
    "turn null": _turns(lambda _: None),
    "turn number": _turns(lambda _: 7),
    "turn empty": _turns(lambda _: {}),
    "turn of nobody": _turns(lambda turn: {**turn, "role": "nobody", "from": "nobody"}),
    "turn by a number": _turns(lambda turn: {**turn, "role": 1, "from": 1}),
    "turn says a number": _turns(lambda turn: {**turn, "content": 1, "value": 1}),
}


def _all_of(kind: pa.DataType, value: object):
    """The column holds the same value of another type in every row."""

    def change(table: pa.Table, column: str) -> pa.Table:
        return _set(table, column, pa.array([value] * len(table), kind))

    return change


def _cast(kind: pa.DataType):
    """The column says the same in another type of text."""

    def change(table: pa.Table, column: str) -> pa.Table | None:
        if not pa.types.is_string(table.schema.field(column).type):
            return None
        return _set(table, column, table[column].cast(kind))

    return change


def _beside(kind: pa.DataType, value: object):
    """A column that no shape asks for."""

    def change(table: pa.Table, _: str) -> pa.Table:
        return table.append_column("notes", pa.array([value] * len(table), kind))

    return change


def _set(table: pa.Table, column: str, values) -> pa.Table:
    return table.set_column(table.schema.get_field_index(column), column, values)


def _broken_text(length: int) -> pa.Array:
    ends = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in range(length + 1)))
    return pa.StringArray.from_buffers(length, ends, pa.py_buffer(b"\xff" * length))


PARQUET: Mapping[str, Callable[[pa.Table, str], pa.Table | None]] = {
    "same as dictionary": _cast(pa.dictionary(pa.int32(), pa.string())),
    "same as large text": _cast(pa.large_string()),
    "same beside numbers": _beside(pa.int64(), 7),
    "same beside bytes": _beside(pa.binary(), b"\xff"),
    "same beside nothing": _beside(pa.null(), None),
    "same beside objects": _beside(pa.struct([("a", pa.string())]), {"a": "b"}),
    "same beside dates": _beside(pa.date32(), date(2026, 1, 1)),
    "bytes": _all_of(pa.binary(), b"\xff\xfe"),
    "bytes of one length": _all_of(pa.binary(2), b"ab"),
    "numbers": _all_of(pa.int8(), 7),
    "half floats": _all_of(pa.float16(), 0.5),
    "NaN": _all_of(pa.float64(), float("nan")),
    "truths": _all_of(pa.bool_(), True),
    "moments": _all_of(pa.timestamp("us"), datetime(2026, 1, 1)),
    "moments of nanoseconds": _all_of(pa.timestamp("ns"), 1),
    "moments beyond years": _all_of(pa.timestamp("us"), 2**62),
    "beside moments beyond years": _beside(pa.timestamp("us"), 2**62),
    "beside moments of nowhere": _beside(pa.timestamp("us", "Mars/Phobos"), 1),
    "beside times of nanoseconds": _beside(pa.time64("ns"), 1),
    "beside long durations": _beside(pa.duration("s"), 2**62),
    "days": _all_of(pa.date32(), date(2026, 1, 1)),
    "durations": _all_of(pa.duration("us"), timedelta(seconds=1)),
    "decimals": _all_of(pa.decimal128(5, 2), Decimal("1.25")),
    "objects": _all_of(pa.struct([("a", pa.string())]), {"a": "b"}),
    "lists of texts": _all_of(pa.list_(pa.string()), ["Blue.", None]),
    "maps": _all_of(pa.map_(pa.string(), pa.string()), [("a", "b"), ("a", "c")]),
    "lists of objects": _all_of(pa.list_(pa.struct([("role", pa.int8())])), [None]),
    "nulls": _all_of(pa.null(), None),
    "text that is not UTF-8": lambda t, c: _set(t, c, _broken_text(len(t))),
    "beside text that is not UTF-8": lambda t, _: t.append_column(
        "notes", _broken_text(len(t))
    ),
    "column twice": lambda t, c: t.append_column(c, t[c]),
    "no rows": lambda t, _: t.slice(0, 0),
    "no columns": lambda t, _: t.select([]),
    "empty name": lambda t, c: t.rename_columns({c: ""}),
}
