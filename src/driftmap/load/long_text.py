"""How does a file, or a data set with a name, become one long text and its tokens?

A `.txt` file is one text as it stands. Of any other file, and of a data set, the
column `text` is read, and its rows are joined by blank lines.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from transformers import PreTrainedTokenizerBase

from driftmap.core.errors import DataError, ModelError
from driftmap.load.known_rows import known_set, read_known
from driftmap.load.rows import Rows, read_rows
from driftmap.results.perplexity import EncodedText

COLUMN = "text"
JOINT = "\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class LongText:
    """One running text.

    Args:
        name: What it is called.
        text: All of it.
        sha256: Of the text itself.
    """

    name: str
    text: str
    sha256: str


def read_text(source: str) -> LongText:
    """Read a text.

    Args:
        source: A file, a data set on the hub or the name of a known one.

    Raises:
        DataError: The source is missing, broken or of an unknown kind, has no column
            `text`, or holds nothing but blank space.
    """
    known = known_set(source)
    path = Path(source).expanduser()
    if known is not None:
        name, text = known.name, _joined(source, read_known(known))
    elif path.suffix == ".txt" and path.is_file():
        name, text = path.stem, _plain(path)
    else:
        rows = read_rows(source)
        name, text = rows.name, _joined(source, rows)
    if not text.strip():
        raise DataError(f"{source}: it holds no text; is it the right file?")
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{source}: character {error.start} of its text is half of a surrogate "
            "pair and stands for nothing; write the file again as UTF-8"
        ) from error
    return LongText(name=name, text=text, sha256=hashlib.sha256(content).hexdigest())


def encode_text(text: LongText, tokenizer: PreTrainedTokenizerBase) -> EncodedText:
    """Turn a text into tokens, with those that the tokenizer adds to any text.

    Args:
        text: The text.
        tokenizer: The model's, with character offsets (a "fast" one).

    Returns:
        Its tokens and the bytes up to the end of each.

    Raises:
        ModelError: The tokenizer has no offsets.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"{tokenizer.name_or_path}: its tokenizer ({type(tokenizer).__name__}) "
            "does not tell which characters a token stands for, by which bytes are "
            "counted; load a fast tokenizer, or convert it to one",
            topic="tokenizer-without-offsets",
        )
    # Not verbose: that a text is longer than the context is why there are windows.
    encoding = tokenizer(text.text, return_offsets_mapping=True, verbose=False)
    ids = np.array(encoding["input_ids"], dtype=np.int64)
    offsets = np.array(encoding["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    # Tokens that stand for no character, as the one that begins a text, end at 0.
    ends = np.maximum.accumulate(_bytes_before(text.text)[offsets[:, 1]])
    return EncodedText(name=text.name, token_ids=ids, byte_ends=ends)


def _plain(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(
            f"{path}: it cannot be read ({error.strerror}); check its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from error


def _joined(source: str, rows: Rows) -> str:
    if COLUMN not in rows.columns:
        raise DataError(
            f"{source}: it has no column `{COLUMN}` (its columns: "
            f"{', '.join(rows.columns[:8])}); perplexity is read on running text"
        )
    return JOINT.join(_texts(source, [row.get(COLUMN) for row in rows.rows]))


def _texts(source: str, cells: Sequence[object]) -> list[str]:
    texts: list[str] = []
    for number, cell in enumerate(cells, 1):
        if not isinstance(cell, str):
            raise DataError(
                f"{source}: `{COLUMN}` of row {number} is no text; mend or remove it"
            )
        texts.append(cell)
    return texts


def _bytes_before(text: str) -> Int64[np.ndarray, " character"]:
    """Bytes of UTF-8 before each character, and at the end."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    widths = 1 + sum(
        (codes >= first).astype(np.int64) for first in (0x80, 0x800, 2**16)
    )
    return np.concatenate([[0], np.cumsum(widths)])
