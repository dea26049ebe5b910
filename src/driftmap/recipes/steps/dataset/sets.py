"""Is a set of versions there already, and was it made as this run would make it?

Beside `NAME.jsonl` lies `NAME.settings.json`: what the set was made with, what it
lacks and what was found odd. `NAME.replies.jsonl` holds every reply that was paid for.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from driftmap.core.errors import StoreError
from driftmap.core.quoted import quoted
from driftmap.results.plain import from_plain
from driftmap.results.samples import Message
from driftmap.store.files import explaining, write_text
from driftmap.store.plain import load_json, save_json
from driftmap.store.replies import Replies

SetName = Literal["originals", "paraphrased", "generated"]
KIND = "driftmap.versions"
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRecord:
    """What is known of a set of versions.

    Args:
        settings: What decides its rows, in words by name.
        of: Hash of what its rows are versions of.
        num_rows: Rows that it should have (count).
        lacking: Ids of originals of which a version is missing; the same command fills
            them in.
        left_out: Why a row cannot be made at all, by its id.
        rejected: Why the last reply was not taken, by the row's id.
        flagged: What is odd about a row that was kept, by its id.
        tokens_in: Tokens that were read for it so far (count).
        tokens_out: Tokens that were written for it so far (count).
    """

    settings: Mapping[str, str]
    of: str
    num_rows: int
    lacking: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    rejected: Mapping[str, str] = field(default_factory=dict)
    flagged: Mapping[str, str] = field(default_factory=dict)
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPlace:
    """Where a set lies.

    Args:
        folder: What `--out` says.
        name: Which set.
    """

    folder: Path
    name: SetName

    @property
    def rows(self) -> Path:
        """Its samples."""
        return self.folder / f"{self.name}.jsonl"

    @property
    def settings(self) -> Path:
        """What it was made with."""
        return self.folder / f"{self.name}.settings.json"

    def replies(self) -> Replies:
        """What was paid for."""
        return Replies(self.folder / f"{self.name}.replies.jsonl")

    def found(self, settings: Mapping[str, str]) -> SetRecord | None:
        """Look for the set.

        Args:
            settings: What this run would make it with.

        Returns:
            What is there; None where there is nothing.

        Raises:
            StoreError: It was made in another way, or nothing says how.
        """
        if not self.settings.exists():
            if not self.rows.exists():
                return None
            raise StoreError(
                f"{self.rows}: it is there, but not {self.settings.name}, which says "
                "what it was made with; choose another --out"
            )
        plain = load_json(self.settings, KIND)
        record = from_plain(SetRecord, plain, str(self.settings))
        for name, asked in settings.items():
            made = record.settings.get(name, "none")
            if made != asked:
                raise StoreError(
                    f"{self.rows.name} was made with {name} {made}, this run asks "
                    f"{asked}: choose another --out"
                )
        return record

    def save(self, record: SetRecord, rows: Sequence[Mapping[str, object]]) -> None:
        """Write the set, then what it was made with; each whole or not at all."""
        self.save_rows(rows)
        self.begin(record)

    def begin(self, record: SetRecord) -> None:
        """Write what the set is made with, by which a killed run is known."""
        save_json(self.settings, record, KIND)

    def save_rows(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Write samples, one a line."""
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        write_text(self.rows, "".join(lines))

    def lacks(self, record: SetRecord, num_ids: int) -> str:
        """Say which originals have no version yet."""
        ids = record.lacking
        return (
            f"{self.rows.name} lacks {len(ids)} of {num_ids} ids: {listed(ids)}; run "
            "the same command again to fill them"
        )


def needed(folder: Path, prompts: Literal["paraphrased", "original"]) -> SetPlace:
    """Find the set whose prompts are answered.

    Raises:
        StoreError: It is not there.
    """
    name: SetName = "paraphrased" if prompts == "paraphrased" else "originals"
    place = SetPlace(folder=folder, name=name)
    if not place.rows.exists():
        raise StoreError(
            f"generated needs {place.rows.name}, which is not in {folder}: run "
            "`driftmap data paraphrase` first"
        )
    return place


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a second command from writing to the same folder.

    Raises:
        StoreError: There is one, or the folder may not be written to.
    """
    with explaining(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".versions.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise StoreError(
                f"{folder}: another command makes versions here; wait for it, or "
                "choose another --out"
            ) from error
    try:
        yield
    finally:
        lock.release()


def turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Turns as a row holds them."""
    return [{"role": turn.role, "content": turn.content} for turn in messages]


def listed(ids: Sequence[str]) -> str:
    """The first few ids, as sentences name them."""
    shown = ", ".join(quoted(one) for one in ids[:_NAMED])
    return shown if len(ids) <= _NAMED else f"{shown}, ..."


def version_id(original_id: str, name: SetName, number: int) -> str:
    """The id of one version of an original, counted from 1.

    >>> version_id("s4", "paraphrased", 1), version_id("s4", "paraphrased", 2)
    ('s4/paraphrased', 's4/paraphrased-2')
    """
    return f"{original_id}/{name}" + (f"-{number}" if number > 1 else "")
