import json

import pytest

from driftmap.core.errors import DataError
from driftmap.load.json_rows import json_line_rows, json_rows

DEEP = '{"prompt": ' + "[" * 100_000 + "]" * 100_000 + "}"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_end_ends_a_row(end):
    text = f'{{"a": 1}}{end}{end}{{"a": "x\u2028y"}}{end}'
    assert json_line_rows("f", text) == [{"a": 1}, {"a": "x\u2028y"}]
    assert json_rows("f", f'[{end}{{"a": 1}}{end}]') == [{"a": 1}]


def test_both_halves_of_a_character_are_one():
    assert json_rows("f", r'[{"a": "\ud83d\ude00"}]') == [{"a": "\N{GRINNING FACE}"}]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (
            '{"a": 1, "b": 2, "a": 3}',
            "the key `a` is there twice in one object; rename",
        ),
        (DEEP, "its lists or objects lie too deep in each other to be read; leave"),
        ('{"a": ' + "9" * 5_000 + "}", "a number of thousands of digits; write it as"),
        ("[[[]]]", "is a list, not an object with columns; write"),
        (json.dumps("x" * 99), 'is "' + "x" * 56 + "..., not an object with columns"),
        (r'"\u001b[31m"', r'is "\u001b[31m", not an object with columns'),
    ],
)
def test_what_is_refused(row, text):
    with pytest.raises(DataError) as caught:
        json_line_rows("f", f'{{"a": 0}}\n{row}')
    assert str(caught.value).startswith("f: line 2")
    assert text in str(caught.value)
    with pytest.raises(DataError) as caught:
        json_rows("f", f'[{{"a": 0}}, {row}]')
    assert text in str(caught.value)
