"""Which columns of a file stand for which? What `--columns` says, and what it means.

A source that has one of the named columns is read by those alone, under the names that
the shapes know; a source that has none of them is read by its own columns.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from driftmap.core.errors import UsageError
from driftmap.load.formats.known import SHAPES
from driftmap.load.formats.shape import LABEL_COLUMNS

LABEL = LABEL_COLUMNS[0]
AS_THEY_ARE: Mapping[str, str] = MappingProxyType({})
"""Every source is read by its own columns."""


@runtime_checkable
class HasColumns(Protocol):
    """What is needed of a shape to know what its columns are called."""

    @property
    def needs(self) -> frozenset[str]:
        """Columns that must be there."""
        ...

    @property
    def takes(self) -> frozenset[str]:
        """Columns that are read as well where they are there."""
        ...


def parse_columns(
    text: str, shapes: Sequence[HasColumns] = SHAPES
) -> Mapping[str, str]:
    """Read what `--columns` says.

    Args:
        text: `KNOWN=YOURS`, several with commas between them.
        shapes: Whose columns are known.

    Returns:
        The file's column by the name that a shape knows it under.

    Raises:
        UsageError: A part is no pair, a name is known to no shape, or a name or a
            column is there twice.

    >>> dict(parse_columns("prompt=question, response=answer"))
    {'prompt': 'question', 'response': 'answer'}
    """
    columns: dict[str, str] = {}
    for pair in text.split(","):
        target, equals, column = (part.strip() for part in pair.partition("="))
        if not (target and equals and column):
            raise UsageError(
                f"--columns: {pair.strip()!r} is no pair of names; write KNOWN=YOURS, "
                "as in prompt=question,response=answer"
            )
        _must_be_known(target, shapes)
        if target in columns:
            raise UsageError(f"--columns: {target!r} is given twice; leave one out")
        if column in columns.values():
            raise UsageError(
                f"--columns: your column {column!r} is given twice; leave one out"
            )
        columns[target] = column
    return columns


def columns_to_take(
    present: Sequence[str], columns: Mapping[str, str]
) -> Mapping[str, str] | None:
    """Decide which columns of one source are read, and under which names.

    Args:
        present: Columns of the source.
        columns: What `--columns` says.

    Returns:
        Column by name; None where the source has none of the named ones. A label
        alone adds to the columns that are recognised and replaces none of them.

    >>> columns_to_take(["question", "text", "category"], {"prompt": "question"})
    {'prompt': 'question', 'category': 'category'}
    >>> columns_to_take(["prompt", "kind"], {"label": "kind"})
    {'prompt': 'prompt', 'label': 'kind'}
    """
    named = {name: own for name, own in columns.items() if own in present}
    if not named:
        return None
    if named.keys() == {LABEL}:
        others = [own for own in present if own != named[LABEL]]
        return {own: own for own in others if own not in LABEL_COLUMNS} | named
    if LABEL in named:
        return named
    labels = (own for own in LABEL_COLUMNS if own in present)
    return named | {own: own for own in labels if own not in named.values()}


def _must_be_known(target: str, shapes: Sequence[HasColumns]) -> None:
    known = {name for shape in shapes for name in shape.needs | shape.takes} | {LABEL}
    if target not in known:
        raise UsageError(
            f"--columns: {target!r} is read by no shape; known are "
            f"{', '.join(sorted(known))} (known on the left, yours on the right)"
        )
