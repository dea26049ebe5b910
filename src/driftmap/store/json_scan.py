"""How are the members of a JSON object read one at a time, however large it is?

Only objects whose values are nested lists of numbers are read: `{"KEY": [[1, 2],
[3, 4, 0.5]], ...}`. One value is in memory at a time.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast

from driftmap.core.errors import StoreError

Entry = list[int | float]

_CHUNK = 1 << 20
_KEY = re.compile(r'\s*("(?:[^"\\]|\\.)*")\s*:\s*')
_VALUE_START = re.compile(r"\[\s*[\[\]]")
_VALUE_END = re.compile(r"\]\s*\]")
_EMPTY_VALUE = re.compile(r"\[\s*\]")
_NO_NUMBER = re.compile(r"[^-+0-9.eE,\[\]\s]")


def scan_lists(path: Path) -> Iterator[tuple[str, list[Entry]]]:
    """Yield each key with its list of lists, in the order of the file.

    Raises:
        StoreError: The file is missing or is not such an object; the message
            names the key or the character where reading stopped.
    """
    try:
        file = path.open(encoding="utf-8")
    except FileNotFoundError:
        raise StoreError(f"{path}: there is no such file; check the name") from None
    with file:
        try:
            yield from _Scanner(path, file).members()
        except UnicodeDecodeError as error:
            raise StoreError(f"{path}: is not UTF-8 text ({error})") from error


class _Scanner:
    """A window on the file: text read but not yet used."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path = path
        self._file = file
        self._text = ""
        self._passed = 0

    def members(self) -> Iterator[tuple[str, list[Entry]]]:
        self._expect("{")
        if self._peek() == "}":
            self._expect("}")
        else:
            while True:
                key = self._key()
                yield key, self._value(key)
                if self._peek() != ",":
                    break
                self._expect(",")
            self._expect("}")
        if self._peek():
            raise self._unexpected("the end of the file")

    def _key(self) -> str:
        while not (match := _KEY.match(self._text)):
            if len(self._text) > _CHUNK or not self._read_more():
                raise self._unexpected('a name such as "layer_0_self_attn.q_proj":')
        try:
            key = json.loads(match[1], strict=False)
        except ValueError:
            raise self._unexpected("a name without odd escapes") from None
        self._use(match.end())
        return cast(str, key)

    def _value(self, key: str) -> list[Entry]:
        self._peek()
        searched = 0
        while not (end := self._value_end(searched)):
            searched = max(0, len(self._text) - _CHUNK // 2)
            far = len(self._text) > _CHUNK and not _VALUE_START.match(self._text)
            if far or not self._read_more():
                raise self._unexpected(f"a list of [row, column] for {key!r}")
        text = self._text[:end]
        if odd := _NO_NUMBER.search(text):
            self._use(odd.start())
            raise self._unexpected(f"only numbers for {key!r}")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise StoreError(
                f"{self._path}: {key}: is not a list of [row, column] ({error})"
            ) from error
        if text.count("[") > len(value) + 1:
            raise self._unexpected(f"no list within an entry of {key!r}")
        self._use(end)
        return cast(list[Entry], value)

    def _value_end(self, searched: int) -> int | None:
        empty = _EMPTY_VALUE.match(self._text)
        found = empty or _VALUE_END.search(self._text, searched)
        return found.end() if found else None

    def _peek(self) -> str:
        """Next character that is not white space; empty at the end."""
        while True:
            stripped = self._text.lstrip()
            self._use(len(self._text) - len(stripped))
            if self._text or not self._read_more():
                return self._text[:1]

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            raise self._unexpected(character)
        self._use(1)

    def _use(self, length: int) -> None:
        self._text = self._text[length:]
        self._passed += length

    def _read_more(self) -> bool:
        more = self._file.read(_CHUNK)
        self._text += more
        return bool(more)

    def _unexpected(self, wanted: str) -> StoreError:
        return StoreError(
            f"{self._path}: character {self._passed}: expected {wanted}, found "
            f"{self._text[:20]!r}; is this a JSON object of lists?"
        )
