"""How are the members of a large JSON object read and written one at a time?

The bytes are those of `json.dump(value, file, indent=4)`, so that a file goes through
memory a member at a time and comes out as it was.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn, TextIO

from driftmap.core.errors import StoreError
from driftmap.store.files import writing

_CHUNK = 1 << 20
"""Characters read at first; as many again as are waiting wherever they do not do."""
_SPACE = " \t\r\n"


class _TwiceError(Exception):
    """A key stands twice in one object."""


def read_members(path: Path) -> Iterator[tuple[str, object]]:
    """Yield each key of a JSON object with its value, in the order of the file.

    Raises:
        StoreError: The file is missing, is no JSON object, or holds a key twice.
    """
    try:
        file = path.open(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise StoreError(f"{path}: there is no such file; check the name") from None
    with file:
        try:
            yield from _Reader(path, file).members()
        except UnicodeDecodeError as error:
            raise StoreError(f"{path}: is not UTF-8 text ({error})") from error


def write_members(path: Path, members: Iterable[tuple[str, object]]) -> None:
    """Write keys and values as one JSON object, whole or not at all.

    Raises:
        StoreError: The disk refuses.
    """
    with writing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        before = "{\n"
        for key, value in members:
            text = json.dumps(value, indent=4).replace("\n", "\n    ")
            file.write(f"{before}    {json.dumps(key)}: {text}")
            before = ",\n"
        file.write("{}" if before == "{\n" else "\n}")


class _Reader:
    """A window on the file: text read but not yet used."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path = path
        self._file = file
        self._text = ""
        self._passed = 0
        self._decoder = json.JSONDecoder(object_pairs_hook=_distinct)

    def members(self) -> Iterator[tuple[str, object]]:
        self._expect("{")
        seen: set[str] = set()
        while self._peek() != "}":
            if seen:
                self._expect(",")
            key = self._value("a name")
            if not isinstance(key, str):
                self._refuse("a name")
            if key in seen:
                raise StoreError(
                    f"{self._path}: {key!r} stands there twice; keep one of them"
                )
            seen.add(key)
            self._expect(":")
            yield key, self._value(f"what {key!r} is")
        self._expect("}")
        if self._peek():
            self._refuse("the end of the file")

    def _value(self, wanted: str) -> object:
        """The next value; more is read until it is there whole."""
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text)
            except _TwiceError as twice:
                raise StoreError(
                    f"{self._path}: {wanted}: {twice.args[0]!r} stands there twice; "
                    "keep one of them"
                ) from None
            except (ValueError, RecursionError):
                if self._read_more():
                    continue
                self._refuse(wanted)
            # A number that ends where the text ends may go on in the file.
            if end < len(self._text) or not self._read_more():
                self._use(end)
                return value

    def _peek(self) -> str:
        """Next character that is not white space; empty at the end."""
        while True:
            stripped = self._text.lstrip(_SPACE)
            self._use(len(self._text) - len(stripped))
            if self._text or not self._read_more():
                return self._text[:1]

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            self._refuse(character)
        self._use(1)

    def _use(self, length: int) -> None:
        self._text = self._text[length:]
        self._passed += length

    def _read_more(self) -> bool:
        more = self._file.read(max(_CHUNK, len(self._text)))
        self._text += more
        return bool(more)

    def _refuse(self, wanted: str) -> NoReturn:
        raise StoreError(
            f"{self._path}: character {self._passed}: expected {wanted}, found "
            f"{self._text[:20]!r}; is this a whole JSON object?"
        )


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _TwiceError(next(key for key in keys if keys.count(key) > 1))
    return found
