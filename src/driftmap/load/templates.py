"""What text does a model see for a sample, and where in it is the response?

With a chat template the tokenizer's own one is used. Without, the wording that the
data set publishes; and where it has none, the turns one below the other:

    prompt
    response

The response is found by rendering the turns a second time with a mark in its place:
what is the same before and after the mark is template, what is left is the response.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from driftmap.core.errors import DataError, ModelError
from driftmap.core.quoted import quoted
from driftmap.results.samples import Message, Sample

# Between two turns, and before the response, where there is no template: a base model
# has seen lines follow lines, and no mark it would have to learn first.
PLAIN_JOINT = "\n"

# Some templates write today's date into the system turn unless they are given one;
# the same command must give the same tokens tomorrow. It is the date that those
# templates fall back to themselves.
TEMPLATE_DATE = "26 Jul 2024"

_MARK = "RESPONSEqzSTANDSqzHERE"

TemplateName = Literal["tulu"]
TEMPLATES: Mapping[TemplateName, str] = {
    "tulu": (
        "{% for message in messages %}"
        "{{ '<|' + message['role'] + '|>\n' + message['content'] }}"
        "{{ eos_token if message['role'] == 'assistant' else '\n' }}"
        "{% if message['role'] == 'assistant' and not loop.last %}{{ '\n' }}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    )
}
"""Chat templates that have a name here. `tulu` (Ivison et al. 2023) writes no begin
token: `<|user|>`, the question, `<|assistant|>`, the answer and the end token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One sample as text.

    Args:
        text: All of it.
        start: First character of the response.
        stop: One past its last character.
        complete: The text already holds the special tokens that belong in it, so the
            tokenizer must add none.
    """

    text: str
    start: int
    stop: int
    complete: bool


def with_template(
    tokenizer: PreTrainedTokenizerBase, name: TemplateName | None
) -> PreTrainedTokenizerBase:
    """Give a copy of a tokenizer that has another chat template.

    Args:
        tokenizer: It stays as it is.
        name: A template of `TEMPLATES`; the tokenizer itself comes back for None.

    Raises:
        ModelError: The template needs an end token and the tokenizer has none.
    """
    if name is None:
        return tokenizer
    if tokenizer.eos_token is None:
        raise ModelError(
            f"{tokenizer.name_or_path}: its tokenizer has no end token, which the "
            f"template `{name}` writes; set `eos_token` in tokenizer_config.json",
            topic="chat-template",
        )
    other = deepcopy(tokenizer)
    other.chat_template = TEMPLATES[name]
    return other


def render(sample: Sample, tokenizer: PreTrainedTokenizerBase) -> Rendered:
    """Write prompt and response as the model sees them.

    Args:
        sample: Ends with an assistant turn, or is one running text.
        tokenizer: Brings the chat template, if there is one.

    Returns:
        The text; the whole of a running text counts as its response.

    Raises:
        DataError: The template refuses these turns.
        ModelError: The template does not show the response as it is.
    """
    if is_running_text(sample):
        text = sample.messages[0].content
        return _plain(text, 0, tokenizer)
    if tokenizer.chat_template:
        return _templated(sample, tokenizer)
    opening = _plain_opening(sample, sample.messages[:-1])
    return _plain(opening + sample.response, len(opening), tokenizer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How a prompt is put, and what the answer to it begins with.

    Args:
        template: The tokenizer's chat template where it has one, or bare text.
        prefill: Words that are put into the model's mouth.
    """

    template: Literal["chat", "bare"] = "chat"
    prefill: str = ""


AS_USUAL = Opening()
"""By the chat template, with nothing put into the model's mouth."""


def render_prompt(
    sample: Sample, tokenizer: PreTrainedTokenizerBase, opening: Opening = AS_USUAL
) -> Rendered:
    """Write the prompt alone, up to where the model goes on.

    An answer that the sample holds is left out. Spaces at the end are dropped where
    there is no template, since tokenizers put them into the response's first token.

    Raises:
        DataError: The template refuses these turns.
        ModelError: The template does not show the words of a prefill as they are.
    """
    if is_running_text(sample):
        text = sample.messages[0].content + opening.prefill
        return _plain(text, len(text), tokenizer)
    turns = sample.messages
    if turns[-1].role == "assistant":
        turns = turns[:-1]
    if tokenizer.chat_template and opening.template == "chat":
        text = _templated_opening(sample, tokenizer, turns, opening.prefill)
        return Rendered(text=text, start=len(text), stop=len(text), complete=True)
    text = (_plain_opening(sample, turns) + opening.prefill).rstrip(" ")
    return _plain(text, len(text), tokenizer)


def is_running_text(sample: Sample) -> bool:
    """Whether the sample is one text that no template touches."""
    return len(sample.messages) == 1 and sample.messages[0].role == "text"


def _plain_opening(sample: Sample, turns: tuple[Message, ...]) -> str:
    if sample.plain_prompt is not None:
        return sample.plain_prompt
    return "".join(turn.content + PLAIN_JOINT for turn in turns)


def _plain(text: str, start: int, tokenizer: PreTrainedTokenizerBase) -> Rendered:
    bos = tokenizer.bos_token
    complete = bool(bos) and text.startswith(str(bos))
    return Rendered(text=text, start=start, stop=len(text), complete=complete)


def _templated(sample: Sample, tokenizer: PreTrainedTokenizerBase) -> Rendered:
    *turns, last = sample.messages
    said = last.content.strip()
    text = _apply(sample, tokenizer, (*turns, last), generate=False)
    marked_turn = Message(role=last.role, content=_MARK)
    marked = _apply(sample, tokenizer, (*turns, marked_turn), generate=False)
    before, mark, after = marked.rpartition(_MARK)
    stop = len(text) - len(after)
    framed = text.startswith(before) and text.endswith(after) and len(before) < stop
    # White space at its ends may go: many templates trim.
    if not mark or not framed or text[len(before) : stop].strip() != said:
        raise ModelError(
            f"{sample.id}: the chat template of {tokenizer.name_or_path} changes the "
            "response, so its tokens cannot be told apart; give the sample as "
            "`input_ids` and `labels`",
            topic="chat-template",
        )
    return Rendered(text=text, start=len(before), stop=stop, complete=True)


def _templated_opening(
    sample: Sample,
    tokenizer: PreTrainedTokenizerBase,
    turns: tuple[Message, ...],
    prefill: str,
) -> str:
    if not prefill:
        return _apply(sample, tokenizer, turns, generate=True)
    said = Message(role="assistant", content=prefill)
    rendered = _templated(replace(sample, messages=(*turns, said)), tokenizer)
    return rendered.text[: rendered.stop].rstrip(" ")


def _apply(
    sample: Sample,
    tokenizer: PreTrainedTokenizerBase,
    turns: tuple[Message, ...],
    *,
    generate: bool,
) -> str:
    conversation = [{"role": t.role, "content": t.content} for t in turns]
    try:
        text = tokenizer.apply_chat_template(
            conversation,
            tokenize=False,
            add_generation_prompt=generate,
            date_string=TEMPLATE_DATE,
        )
    except (TemplateError, TypeError, ValueError, LookupError) as error:
        reason = str(error).rstrip(".")
        raise DataError(
            f"{sample.id}: the chat template of {tokenizer.name_or_path} refuses these "
            f"turns ({quoted(reason, longest=200)}); change the order of turns or "
            "leave the system turn out",
            topic="chat-template",
        ) from error
    assert isinstance(text, str)
    return text
