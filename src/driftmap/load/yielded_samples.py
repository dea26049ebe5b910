"""Are samples that a person's own code made what they should be?"""

from collections.abc import Iterable
from dataclasses import replace
from typing import get_args

from driftmap.core.errors import DataError
from driftmap.core.quoted import quoted
from driftmap.load.formats.pretokenised import read_tokens
from driftmap.load.formats.shape import Row, checked_text
from driftmap.results.samples import Message, Role, Sample, TokenRow


def checked_samples(name: str, items: Iterable[object]) -> tuple[Sample, ...]:
    """Check samples and give them ids as rows of a file have.

    Args:
        name: First half of the ids.
        items: Samples, in order. An `original_id` names a sample by the id that the
            person's code gave it.

    Raises:
        DataError: One says nothing, says it in the wrong type, or is a version of a
            sample that is not there.
    """
    samples = [item for item in items if isinstance(item, Sample)]
    ids = {sample.id: f"{name}:{row}" for row, sample in enumerate(samples)}
    return tuple(
        _checked(f"{name}:{row}", sample, ids) for row, sample in enumerate(samples)
    )


def _checked(place: str, sample: Sample, ids: dict[str, str]) -> Sample:
    original = place
    if sample.original_id != sample.id:
        if sample.original_id not in ids:
            raise DataError(
                f"{place}: it is a version of `{quoted(str(sample.original_id))}`, "
                "which is no sample's id; yield that one too"
            )
        original = ids[sample.original_id]
    for what in ("label", "plain_prompt"):
        if getattr(sample, what) is not None:
            checked_text(f"{place}: `{what}`", getattr(sample, what))
    return replace(
        sample,
        id=place,
        original_id=original,
        messages=_messages(place, sample),
        tokens=_tokens(place, sample),
    )


def _messages(place: str, sample: Sample) -> tuple[Message, ...]:
    if not isinstance(sample.messages, tuple | list):
        raise DataError(f"{place}: its messages are no list of turns; give a tuple")
    if sample.tokens is None and not sample.messages:
        raise DataError(f"{place}: the sample has neither messages nor tokens")
    for number, turn in enumerate(sample.messages):
        if not isinstance(turn, Message) or turn.role not in get_args(Role):
            raise DataError(
                f"{place}: turn {number} is no `Message` of the roles "
                f"{', '.join(get_args(Role))}"
            )
        checked_text(f"{place}: turn {number}", turn.content)
        if turn.role == "text" and len(sample.messages) > 1:
            raise DataError(
                f"{place}: turn {number} is running text, which stands alone; give it "
                "the role user or assistant"
            )
    return tuple(sample.messages)


def _tokens(place: str, sample: Sample) -> TokenRow | None:
    if sample.tokens is None:
        return None
    if not isinstance(sample.tokens, TokenRow):
        raise DataError(f"{place}: its tokens are no `TokenRow`; make one")
    given = {"input_ids": sample.tokens.token_ids, "labels": sample.tokens.labels}
    cells = {
        name: list(row) if isinstance(row, tuple) else row
        for name, row in given.items()
    }
    return read_tokens(Row(place=place, cells=cells)).tokens
