"""Which texts are read, and what are they called?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from driftmap.load.long_text import read_text
from driftmap.recipes.reading_options import TextOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedText:
    """A text, or a prompt that the model goes on from.

    Args:
        name: What the report calls it.
        text: All of it.
        is_prompt: The model goes on from it.
    """

    name: str
    text: str
    is_prompt: bool


def asked_texts(options: TextOptions) -> tuple[AskedText, ...]:
    """Gather what is read: texts, files, prompts, in this order.

    Args:
        options: What was asked for.

    Raises:
        DataError: A file is missing, broken or empty.
    """
    files = [read_text(source) for source in options.file]
    found = [
        *_numbered("text", options.text, is_prompt=False),
        *(AskedText(name=one.name, text=one.text, is_prompt=False) for one in files),
        *_numbered("prompt", options.prompt, is_prompt=True),
    ]
    return _apart(found)


def _numbered(word: str, texts: Sequence[str], *, is_prompt: bool) -> list[AskedText]:
    return [
        AskedText(name=f"{word} {number}", text=text, is_prompt=is_prompt)
        for number, text in enumerate(texts, 1)
    ]


def _apart(texts: Sequence[AskedText]) -> tuple[AskedText, ...]:
    """The same with a number behind names that several texts have."""
    several = Counter(one.name for one in texts)
    seen: Counter[str] = Counter()
    found = []
    for one in texts:
        seen[one.name] += 1
        is_single = several[one.name] == 1
        name = one.name if is_single else f"{one.name} ({seen[one.name]})"
        found.append(replace(one, name=name))
    return tuple(found)
