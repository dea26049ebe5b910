"""Which replies were paid for already? A file that only grows, one line a reply.

A process that is killed while it writes leaves half a line at the end. It is no reply:
it was not kept, and is cut off before the next one is written.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from driftmap.core.errors import StoreError
from driftmap.store.files import explaining


class Replies:
    """Values by key, kept the moment they are added."""

    def __init__(self, path: Path) -> None:
        """Read what is there.

        Args:
            path: The file; it need not exist yet.

        Raises:
            StoreError: A line that is not the last one is no reply.
        """
        self.path = path
        self._found: dict[str, list[Mapping[str, object]]] = {}
        self._size = 0
        if path.exists():
            self._read()

    def of(self, key: str) -> list[Mapping[str, object]]:
        """All replies under a key, oldest first; empty where there is none."""
        return self._found.get(key, [])

    def add(self, key: str, value: Mapping[str, object]) -> None:
        """Keep a reply: when this returns, the disk has it.

        Raises:
            StoreError: The disk is full or the file may not be written to.
        """
        line = json.dumps({"key": key, **value}, ensure_ascii=False) + "\n"
        with explaining(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.truncate(self._size)
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        self._size += len(line.encode())
        self._found.setdefault(key, []).append(dict(value))

    def _read(self) -> None:
        with explaining(self.path):
            content = self.path.read_bytes()
        *lines, half = content.split(b"\n")
        self._size = len(content) - len(half)
        for number, line in enumerate(lines, 1):
            row = _row(line)
            if row is None:
                raise StoreError(
                    f"{self.path}: line {number} is no reply; put the file back as it "
                    "was, or remove it, and what it held is asked again"
                )
            key = str(row.pop("key"))
            self._found.setdefault(key, []).append(row)


def _row(line: bytes) -> dict[str, object] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("key"), str) else None
