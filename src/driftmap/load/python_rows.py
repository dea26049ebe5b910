"""Which rows does a function in a person's own Python file yield?

`FILE.py:FUNCTION` names it. The file is run for that reason alone, under a module name
that nothing else has, with its own folder first on the path, as Python itself runs a
file: modules beside it can be imported. Path and modules are put back afterwards.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from driftmap.core.errors import DataError
from driftmap.core.quoted import quoted
from driftmap.load.own_code import PythonFile, explained, opened
from driftmap.load.rows import Rows, rows_of, rows_sha256
from driftmap.load.yielded_samples import checked_samples
from driftmap.results.samples import Sample

MOST_ROWS = 1_000_000
"""Rows after which a function is taken to have no end."""

_SOURCE = re.compile(r"(?P<file>.+\.py):(?P<function>[^:/\\]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonSource:
    """A function, as the user named it.

    Args:
        file: Where it is.
        function: Its name.
    """

    file: Path
    function: str

    @property
    def name(self) -> str:
        """Short name, the first half of every sample id."""
        return f"{self.file.stem}.{self.function}"


@dataclass(frozen=True, slots=True, kw_only=True)
class YieldedSamples:
    """Samples that a function made itself.

    Args:
        samples: With ids `NAME:row`.
        sha256: Of the samples.
    """

    samples: tuple[Sample, ...]
    sha256: str


def python_source(source: str) -> PythonSource | None:
    """Tell whether a source names a function of a Python file.

    >>> python_source("data/mine.py:rows").name
    'mine.rows'
    >>> python_source("mine.csv") is None
    True
    """
    match = _SOURCE.fullmatch(source)
    if match is None or Path(source).expanduser().exists():
        return None
    return PythonSource(file=Path(match["file"]), function=match["function"])


def read_python(source: PythonSource) -> Rows | YieldedSamples:
    """Run the file, call the function and take all that it yields.

    Args:
        source: A function without required arguments that yields or returns rows
            (mappings with columns as in any file) or `Sample`s.

    Raises:
        DataError: There is no such file or function, its code raises, it yields no
            rows, something else than rows, or more than `MOST_ROWS`.
    """
    with opened(source.file) as file:
        items = _must_be_of_one_kind(source, _items(source, file))
    if isinstance(items[0], Sample):
        samples = checked_samples(source.name, items)
        sha256 = rows_sha256([asdict(sample) for sample in samples])
        return YieldedSamples(samples=samples, sha256=sha256)
    rows = tuple(item for item in items if isinstance(item, Mapping))
    return rows_of(source.name, rows, rows_sha256(rows))


def _items(source: PythonSource, file: PythonFile) -> Iterator[object]:
    where = f"{source.file}:{source.function}"
    function = _function(source, file)
    with explained(file, f"the function `{source.function}`"):
        given = function()
    if not isinstance(given, Iterable) or isinstance(given, str | Mapping):
        raise DataError(
            f"{where}: it gives {_kind(given)}, not rows; yield one mapping per row, "
            'as in yield {"prompt": ..., "response": ...}'
        )
    with explained(file, f"the function `{source.function}`"):
        iterator = iter(given)
    for number in range(MOST_ROWS + 1):
        with explained(file, f"the function `{source.function}`, at row {number},"):
            try:
                item = next(iterator)
            except StopIteration:
                return
            # The function may fill one and the same mapping again for every row.
            item = dict(item) if isinstance(item, Mapping) else item
        yield _plain(source, number, item)
    raise DataError(
        f"{where}: it still yields after {MOST_ROWS:,} rows; let it end, or write so "
        "many rows into a file"
    )


def _function(source: PythonSource, file: PythonFile) -> Callable[[], object]:
    where = f"{source.file}:{source.function}"
    missing = object()
    function = getattr(file.module, source.function, missing)
    if function is missing:
        raise DataError(
            f"{where}: the file has no function `{source.function}`; it has "
            f"{_functions(file)}"
        )
    if not callable(function):
        raise DataError(
            f"{where}: it is {_kind(function)}, not a function; write "
            f"`def {source.function}():` and yield the rows in it"
        )
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise DataError(
            f"{where}: it is an `async def`, which nothing here waits for; write "
            f"`def {source.function}():` and yield the rows in it"
        )
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return function
    needed = [
        f"`{p.name}`"
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needed:
        raise DataError(
            f"{where}: it needs arguments ({', '.join(needed)}), and none are given; "
            "give them defaults"
        )
    return function


def _functions(file: PythonFile) -> str:
    own = [
        f"`{name}`"
        for name, value in vars(file.module).items()
        if inspect.isfunction(value) and value.__module__ == file.module.__name__
    ]
    return ", ".join(own[:8]) + (", ..." if len(own) > 8 else "") if own else "none"


def _plain(source: PythonSource, number: int, item: object) -> object:
    """A row as JSON would give it back; a sample as it is."""
    if isinstance(item, Sample):
        return item
    if not isinstance(item, dict) or not all(isinstance(key, str) for key in item):
        what = _kind(item) if not isinstance(item, dict) else "a mapping without names"
        raise DataError(
            f"{source.name}:{number}: it is {what}, not a row with columns; yield "
            '{"prompt": ..., "response": ...}'
        )
    try:
        return json.loads(json.dumps(item))
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{source.name}:{number}: a column holds what no file could "
            f"({quoted(str(error))}); give text, numbers, lists or mappings"
        ) from error


def _must_be_of_one_kind(
    source: PythonSource, items: Iterable[object]
) -> tuple[object, ...]:
    kept: list[object] = []
    for number, item in enumerate(items):
        kept.append(item)
        if isinstance(item, Sample) != isinstance(kept[0], Sample):
            raise DataError(
                f"{source.name}:{number}: rows and `Sample`s come in turn; yield one "
                "kind only"
            )
    if not kept:
        raise DataError(
            f"{source.file}:{source.function}: it yields no rows; is something to "
            "yield there?"
        )
    return tuple(kept)


def _kind(value: object) -> str:
    name = type(value).__name__
    article = "an" if name[0].lower() in "aeiou" else "a"
    return "nothing (None)" if value is None else f"{article} {name}"
