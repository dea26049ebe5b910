"""Which facts do ParaRel's wordings and pairs make, for a model that reads forwards?

A wording is usable where the answer ends the sentence: what follows it cannot be read
before it. Files of one relation share their name in two folders.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.load.formats.shape import Row
from driftmap.load.rows import Rows, read_rows
from driftmap.results.facts import Fact

PATTERNS = Path("pattern_data/graphs_json")
PAIRS = Path("trex_lms_vocab")
NAME = "ParaRel"
_ENDS_IN_ANSWER = re.compile(r"(.*\[X\].*?)\s*\[Y\]\s*\.?\s*", re.DOTALL)


def pararel_folder(folder: Path) -> Path | None:
    """Find the folder that holds ParaRel's two: this one, or its `data`."""
    for home in (folder, folder / "data"):
        if (home / PATTERNS).is_dir() and (home / PAIRS).is_dir():
            return home
    return None


def read_pararel(home: Path) -> tuple[tuple[Fact, ...], str]:
    """Read every fact in its first usable wording; the others are its paraphrases.

    Args:
        home: As `pararel_folder` finds it.

    Returns:
        Facts by relation, then as filed; and a hash of all files that were read.

    Raises:
        DataError: A file of a pair is missing, or a row lacks what it must have.
    """
    facts: list[Fact] = []
    digest = hashlib.sha256()
    used = read = 0
    for path in sorted((home / PATTERNS).glob("*.jsonl")):
        patterns, pairs = read_rows(str(path)), _pairs_of(path, home)
        digest.update((patterns.sha256 + pairs.sha256).encode())
        wordings = usable(
            [row.text("pattern") for row in _rows(path.stem, patterns.rows)]
        )
        used, read = used + len(wordings), read + len(patterns.rows)
        if wordings:
            rows = _rows(path.stem, pairs.rows)
            facts += [_fact(row, path.stem, wordings) for row in rows]
    say(f"{home}: {used} of {read} wordings end in the answer; the others are left out")
    if not facts:
        raise DataError(f"{home}: no wording ends in `[Y]`; is it the right folder?")
    return tuple(facts), digest.hexdigest()


def usable(patterns: Sequence[str]) -> tuple[str, ...]:
    """Keep wordings whose last word is the answer, without it.

    >>> usable(["[X] works in [Y].", "[Y] is where [X] works.", "[X], a [Y]-born man."])
    ('[X] works in',)
    """
    found = (_ENDS_IN_ANSWER.fullmatch(pattern) for pattern in patterns)
    return tuple(one[1] for one in found if one)


def _pairs_of(path: Path, home: Path) -> Rows:
    pairs = home / PAIRS / path.name
    if not pairs.is_file():
        raise DataError(f"{pairs}: is missing; {path} has wordings for its facts")
    return read_rows(str(pairs))


def _rows(relation: str, rows: Sequence) -> list[Row]:
    return [
        Row(place=f"{relation}:{number}", cells=cells)
        for number, cells in enumerate(rows)
    ]


def _fact(row: Row, relation: str, wordings: Sequence[str]) -> Fact:
    subject = row.text("sub_label")
    first, *others = (wording.replace("[X]", subject) for wording in wordings)
    return Fact(
        id=row.place,
        subject=subject,
        prompt=first,
        relation=relation,
        answer=row.text("obj_label").strip(),
        paraphrases=tuple(others),
    )
