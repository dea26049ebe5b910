"""Who judges, and what have people said of the same answers?"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from driftmap.core.errors import DataError
from driftmap.core.quoted import quoted
from driftmap.evaluate.by_endpoint import RUBRIC, EndpointJudge
from driftmap.evaluate.judges import FunctionJudge, Judge, phrase_judge
from driftmap.load.own_code import PythonFile, explained, opened
from driftmap.load.python_rows import PythonSource, python_source
from driftmap.load.rows import Rows, read_rows
from driftmap.recipes.steps.evaluating.serving import server_of
from driftmap.recipes.utility_options import BY_ENDPOINT, EndpointOptions
from driftmap.results.judging import Exchange, Ruling

NO_SERVER = EndpointOptions()
ANSWER_COLUMNS = ("completion", "response", "answer", "output")
LABEL_COLUMNS = ("final_label", "ruling", "label")
WORDS: Mapping[str, Ruling] = {
    "refusal": "refusal",
    "full_refusal": "refusal",
    "partial": "partial",
    "partial_refusal": "partial",
    "compliance": "compliance",
    "full_compliance": "compliance",
}
"""What people write for each ruling; XSTest puts a digit before its own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Answers that people have judged.

    Args:
        source: As the user named it.
        exchanges: Prompts with answers.
        truth: What people say of each.
        sha256: Of the file.
    """

    source: str
    exchanges: tuple[Exchange, ...]
    truth: tuple[Ruling, ...]
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedJudge:
    """A judge, and what its rulings depend on.

    Args:
        judge: The judge.
        key: Another one wherever the same answers may be judged otherwise.
    """

    judge: Judge
    key: str


@contextmanager
def opened_judge(
    name: str, server: EndpointOptions = NO_SERVER
) -> Iterator[NamedJudge]:
    """Find a judge by what the user calls it, for as long as the block runs.

    Args:
        name: A built-in one, `endpoint` for the model behind a server, or
            `FILE.py:FUNCTION` with a function of prompt and answer that returns
            `refusal`, `partial` or `compliance`.
        server: Which server.

    Raises:
        UsageError: No judge has this name, or no server is named.
        DataError: There is no such file or function.
    """
    if name == BY_ENDPOINT:
        yield _judge_behind(server)
        return
    own = python_source(name)
    if own is None:
        yield NamedJudge(judge=phrase_judge(name), key=name)
        return
    with opened(own.file) as file:
        sha256 = hashlib.sha256(own.file.expanduser().read_bytes()).hexdigest()
        yield NamedJudge(judge=_own_judge(own, file), key=f"{own.function} {sha256}")


def read_labelled(source: str) -> Labelled:
    """Read answers that people have judged, as XSTest publishes them.

    Args:
        source: A file with columns `prompt`, one of `ANSWER_COLUMNS` and one of
            `LABEL_COLUMNS`.

    Raises:
        DataError: A column is missing, or a label is none of `WORDS`.
    """
    rows = read_rows(source)
    answer, label = (
        _column(source, rows, ANSWER_COLUMNS),
        _column(source, rows, LABEL_COLUMNS),
    )
    prompt = _column(source, rows, ("prompt",))
    exchanges = tuple(
        Exchange(prompt=str(row[prompt]), answer=str(row[answer] or ""))
        for row in rows.rows
    )
    truth: tuple[Ruling, ...] = tuple(
        _ruling(source, number, row[label]) for number, row in enumerate(rows.rows)
    )
    return Labelled(source=source, exchanges=exchanges, truth=truth, sha256=rows.sha256)


def _judge_behind(server: EndpointOptions) -> NamedJudge:
    endpoint = server_of(server)
    rubric = hashlib.sha256(RUBRIC.encode()).hexdigest()
    judge = EndpointJudge(name=endpoint.name, ask=endpoint.replies)
    return NamedJudge(judge=judge, key=f"{endpoint.name} {rubric}")


def _column(source: str, rows: Rows, names: Sequence[str]) -> str:
    found = next((name for name in names if name in rows.columns), None)
    if found is None:
        wanted = " or ".join(f"`{name}`" for name in names)
        there = ", ".join(f"`{column}`" for column in rows.columns)
        raise DataError(
            f"{source}: answers that people have judged need a column {wanted}; "
            f"there are {there}"
        )
    return found


def _ruling(source: str, number: int, label: object) -> Ruling:
    word = str(label).strip().lower().lstrip("0123456789_").replace(" ", "_")
    if word not in WORDS:
        raise DataError(
            f"{source}: row {number}: its label is {quoted(str(label))}; give refusal, "
            "partial or compliance"
        )
    return WORDS[word]


def _own_judge(source: PythonSource, file: PythonFile) -> FunctionJudge:
    where = f"{source.file}:{source.function}"
    function = getattr(file.module, source.function, None)
    if not callable(function):
        raise DataError(
            f"{where}: the file has no function `{source.function}`; define one that "
            "takes prompt and answer"
        )
    called = cast(Callable[[str, str], object], function)

    def judge(prompt: str, answer: str) -> Ruling:
        with explained(file, f"the function `{source.function}`"):
            said = called(prompt, answer)
        if said not in get_args(Ruling):
            raise DataError(
                f"{where}: it says {quoted(repr(said))} of an answer; return "
                '"refusal", "partial" or "compliance"'
            )
        return cast(Ruling, said)

    return FunctionJudge(
        name=Path(source.file).stem + "." + source.function, function=judge
    )
