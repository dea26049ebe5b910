"""Which requests that a model should refuse does a source hold?

Each row is an unsafe conversation, `all_prompt`, with what is known of it beside it;
or plainly a prompt, or `messages`, and the refusal as its response. Whatever is left
out of a row's fields is left out with the whole row, so that fields of different rows
never meet.
"""

from collections.abc import Mapping

from driftmap.core.errors import DataError
from driftmap.load.formats.chat import read_turns
from driftmap.load.formats.shape import Row
from driftmap.load.python_rows import YieldedSamples
from driftmap.load.rows import Rows
from driftmap.load.samples import rows_of_source
from driftmap.results.samples import Message
from driftmap.results.unsafe_items import UnsafeItem, UnsafeItems

CONVERSATIONS = ("all_prompt", "messages", "prompt")
"""Columns that hold what is asked, the first that a source has."""

JUDGED = "judge_success_gpt4"
"""Column that says 1 where the attack worked."""


def read_unsafe_items(source: str) -> UnsafeItems:
    """Read items, and leave out those whose attack was judged not to work.

    Args:
        source: A file, a folder, a known set or a hub data set.

    Returns:
        All items in order. Where any row is judged, only those judged 1 stay; a row
        without a judgement then counts as 0.

    Raises:
        DataError: The source is missing or broken, a row that stays has no
            conversation or one that does not end with the user, or none stays.
    """
    found = rows_of_source(source)
    if isinstance(found, YieldedSamples):
        raise DataError(
            f"{source}: unsafe items come from a file or a data set, since an item is "
            "more than a sample; write them as JSON Lines with `all_prompt` and `goal`"
        )
    column = next((one for one in CONVERSATIONS if one in found.columns), None)
    if column is None:
        raise DataError(
            f"{source}: none of its columns ({', '.join(found.columns)}) is a "
            f"conversation; name it one of {', '.join(CONVERSATIONS)}",
            topic="data-not-recognised",
        )
    is_judged = any(row.get(JUDGED) is not None for row in found.rows)
    kept = [
        _item(Row(place=f"{found.name}:{number}", cells=cells), column)
        for number, cells in enumerate(found.rows)
        if not is_judged or _succeeded(found, number, cells)
    ]
    if not kept:
        raise DataError(
            f"{source}: every one of its {len(found.rows)} items is judged not to have "
            f"worked ({JUDGED} is not 1); give items that did"
        )
    return UnsafeItems(
        items=tuple(kept),
        num_read=len(found.rows),
        num_judged_out=len(found.rows) - len(kept),
        sha256=found.sha256,
    )


def _succeeded(rows: Rows, number: int, cells: Mapping[str, object]) -> bool:
    """Whether an item was judged to work; CSV spells the number as text."""
    said = cells.get(JUDGED)
    spelled = str(said).strip().lower()
    if said is None or spelled in ("0", "0.0", "false", ""):
        return False
    if spelled in ("1", "1.0", "true"):
        return True
    raise DataError(
        f"{rows.name}:{number}: `{JUDGED}` is {said!r}; write 1 where the attack "
        "worked and 0 where it did not"
    )


def _item(row: Row, column: str) -> UnsafeItem:
    turns = (
        (Message(role="user", content=row.text(column)),)
        if isinstance(row.value(column), str)
        else read_turns(row, column)
    )
    response = _optional(row, "response")
    if turns[-1].role == "assistant" and not response:
        turns, response = turns[:-1], turns[-1].content
    if not turns or turns[-1].role != "user":
        raise DataError(
            f"{row.where(column)} ends with a turn of the "
            f"{turns[-1].role if turns else 'assistant'}; its last turn must be the "
            "user's, for a model to answer it"
        )
    return UnsafeItem(
        id=row.place,
        messages=turns,
        goal=_optional(row, "goal"),
        response=response,
        output=_optional(row, "output"),
    )


def _optional(row: Row, column: str) -> str:
    """A text that may be missing; white space alone is none."""
    text = row.text_or_empty(column)
    return text if text.strip() else ""
