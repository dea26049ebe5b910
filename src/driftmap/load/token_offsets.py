"""Which characters of a text does each of its tokens stand for?

Fast tokenizers tell. For others it is the length of what their first tokens decode to;
bytes that are no whole character yet count for the character they begin.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from driftmap.core.errors import ModelError

_HALF = "\ufffd"
"""What a decoder writes for bytes that are no whole character."""

_SPACES = ("\u2581", "\u0120")
"""How pieces write a space alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """One text as tokens.

    Args:
        ids: With what the tokenizer puts before the text, without what it puts after.
        offsets: First character of each and one past its last; an empty span for what
            stands for none.
        texts: Each as a person reads it; pieces of one character are numbered.
    """

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    texts: tuple[str, ...]


def tokens_of(
    text: str, tokenizer: PreTrainedTokenizerBase, *, is_complete: bool = False
) -> Tokens:
    """Tokenise a text; one that begins with the BOS token gets no second one.

    Args:
        text: Any text.
        tokenizer: With character offsets or without.
        is_complete: The text holds all special tokens that belong in it, as what a
            chat template writes does.

    Raises:
        ModelError: It has no offsets and does not give the text back.
    """
    bos = tokenizer.bos_token
    begins = isinstance(bos, str) and bool(bos) and text.startswith(bos)
    adds = not (is_complete or begins)
    if tokenizer.is_fast:
        ids, offsets = _told(text, tokenizer, adds=adds)
    else:
        ids, offsets = _by_prefixes(text, tokenizer, adds=adds)
    while (
        ids
        and ids[-1] in tokenizer.all_special_ids
        and offsets[-1][0] == offsets[-1][1]
    ):
        # A template that opens a text with one is all that an empty text is.
        if len(ids) == 1:
            break
        ids, offsets = ids[:-1], offsets[:-1]
    return Tokens(
        ids=tuple(ids),
        offsets=tuple(offsets),
        texts=tuple(_texts(text, ids, offsets, tokenizer)),
    )


def _told(
    text: str, tokenizer: PreTrainedTokenizerBase, *, adds: bool
) -> tuple[list[int], list[tuple[int, int]]]:
    encoded = tokenizer(
        text, add_special_tokens=adds, return_offsets_mapping=True, verbose=False
    )
    ids = list(encoded["input_ids"])
    offsets = [(int(start), int(stop)) for start, stop in encoded["offset_mapping"]]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    return ids, [
        # A space that the tokenizer adds before a text is said to be its first letter.
        (start, start)
        if piece in _SPACES and text[start:stop].strip()
        else (start, stop)
        for piece, (start, stop) in zip(pieces, offsets, strict=True)
    ]


def _by_prefixes(
    text: str, tokenizer: PreTrainedTokenizerBase, *, adds: bool
) -> tuple[list[int], list[tuple[int, int]]]:
    ids = list(tokenizer(text, add_special_tokens=adds, verbose=False)["input_ids"])
    special = set(tokenizer.all_special_ids)
    ends, read = [], ""
    for count in range(1, len(ids) + 1):
        shown = [one for one in ids[:count] if one not in special]
        read = str(tokenizer.decode(shown, clean_up_tokenization_spaces=False))
        ends.append(len(read.rstrip(_HALF)))
    lead = len(text) - len(text.lstrip())
    if read.strip() != text.strip():
        raise ModelError(
            f"{tokenizer.name_or_path}: its tokenizer ({type(tokenizer).__name__}) "
            "tells no offsets and does not give a text back as it was, so that no "
            "subject can be found in it; give it a tokenizer.json",
            topic="tokenizer-without-offsets",
        )
    shift = lead - (len(read) - len(read.lstrip()))
    return ids, _spans(ids, ends, special, shift)


def _spans(
    ids: Sequence[int], ends: Sequence[int], special: set[int], shift: int
) -> list[tuple[int, int]]:
    spans = []
    start = 0
    for number, end in enumerate(ends):
        if ids[number] in special:
            spans.append((max(start + shift, 0),) * 2)
            continue
        # A piece of a character reaches to where that character ends.
        whole = next((later for later in ends[number:] if later > start), end)
        spans.append((max(start + shift, 0), max(whole + shift, 0)))
        start = end
    return spans


def _texts(
    text: str,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    tokenizer: PreTrainedTokenizerBase,
) -> list[str]:
    spans = [_without_spaces(text, *span) for span in offsets]
    count = Counter(spans)
    seen: Counter[tuple[int, int]] = Counter()
    texts = []
    for token_id, whole, span in zip(ids, offsets, spans, strict=True):
        if whole[0] >= whole[1]:
            texts.append(str(tokenizer.convert_ids_to_tokens(int(token_id))))
            continue
        seen[span] += 1
        several = count[span] > 1 and span[0] < span[1]
        pieces = f"[{seen[span]}/{count[span]}]" if several else ""
        texts.append((text[slice(*span)] or text[slice(*whole)]) + pieces)
    return texts


def _without_spaces(text: str, start: int, stop: int) -> tuple[int, int]:
    """The span of what remains of a token when spaces around it are gone."""
    inner = text[start:stop]
    return start + len(inner) - len(inner.lstrip()), start + len(inner.rstrip())
