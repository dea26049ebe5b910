"""How is a row of one prompt and one response read?

Published calibration sets hold prompts that already wear the wrapper of one model:
`[INST] ... [/INST]`, with a system text between `<<SYS>>` marks in some. The wrapper
is taken off, so that the tokenizer's own chat template puts on the right one exactly
once. A tokenizer without a template gets the prompt in its published wrapper.

White space around a wrapped row's response belongs to the wrapper and is dropped with
it. Between prompt and response stands one space, as the template of Llama 2 writes it;
so a row is the same text with that template and without any. The `text` column of the
published safety set has two there: one that joins, and one that its model began every
answer with. A `<s>` before the wrapper is left to the
tokenizer, which adds its own where it has one.
"""

import re

from driftmap.core.errors import DataError
from driftmap.load.formats.shape import Content, Row, Shape, question_and_answer
from driftmap.results.samples import Message

_WRAPPED = re.compile(
    r"\s*(?:<s>)?\s*(?P<published>\[INST\](?P<inside>.*)\[/INST\])\s*", re.DOTALL
)
_SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>(.*)", re.DOTALL)


def read_prompt_response(row: Row, response_column: str) -> Content:
    """Read one row, without the wrapper if the prompt wears one.

    >>> row = Row(place="a:0", cells={"prompt": "[INST] Hi [/INST]", "response": " Yo"})
    >>> [m.content for m in read_prompt_response(row, "response").messages]
    ['Hi', 'Yo']
    """
    prompt = row.text("prompt")
    response = row.text_or_empty(response_column, default=row.value(response_column))
    wrapped = _WRAPPED.fullmatch(prompt)
    if wrapped is None:
        return Content(messages=question_and_answer(prompt, response))
    return _unwrapped(row, wrapped, response.strip())


def _unwrapped(row: Row, wrapped: re.Match[str], response: str) -> Content:
    inside = wrapped["inside"]
    if "[INST]" in inside or "[/INST]" in inside:
        raise DataError(
            f"{row.where('prompt')} wraps several turns in [INST]; "
            "give them as a list of `messages`"
        )
    system = _SYSTEM.fullmatch(inside)
    opening: tuple[Message, ...] = ()
    if system is not None:
        opening = (Message(role="system", content=system.group(1).strip()),)
        inside = system.group(2)
    return Content(
        messages=opening + question_and_answer(inside.strip(), response),
        plain_prompt=f"{wrapped['published']} ",
    )


def _shape(response_column: str) -> Shape:
    return Shape(
        name=f"prompt/{response_column}",
        needs=frozenset({"prompt", response_column}),
        read=lambda row: read_prompt_response(row, response_column),
        example={"prompt": "Name a colour.", response_column: "Blue."},
    )


SHAPES = (_shape("response"), _shape("completion"))
