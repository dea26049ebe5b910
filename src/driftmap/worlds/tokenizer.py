"""How does a world's text become tokens?

By byte-level BPE with merges for the syllables of names and for nothing else. All
other words of the world stand whole in the vocabulary, so each of them is one
piece; a word the world does not know falls apart into bytes, never into nothing.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
)

from driftmap.results.curriculum import WeightedRow
from driftmap.worlds.lines import ASSISTANT, BOS, EOS, USER, Line
from driftmap.worlds.names import SYLLABLES

PAD = "<pad>"
SPECIALS = (PAD, BOS, EOS, USER, ASSISTANT)
MAX_LENGTH = 256
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ '" + ASSISTANT + " ' }}"
    "{% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% elif message['role'] == 'user' %}"
    "{{ '" + USER + " ' }}{{ message['content'] }}"
    "{% else %}"
    "{{ raise_exception('This model knows user and assistant turns only.') }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '" + ASSISTANT + "' }}{% endif %}"
)
_SPACE = "Ġ"  # how byte-level BPE writes a space


def make_tokenizer(words: Sequence[str]) -> Tokenizer:
    """Build the tokenizer of a corpus.

    Args:
        words: Every word of it that is no name, as it follows a space.

    Returns:
        A tokenizer that puts the begin mark before running text and whose offsets
        and decoded text are those of the text given.
    """
    pieces = [*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: list[tuple[str, str]] = []
    for syllable in SYLLABLES:
        first, rest = syllable
        capital = first.upper()
        merges += [(_SPACE, capital), (_SPACE + capital, rest), (first, rest)]
    pieces += [left + right for left, right in merges]
    pieces += [_SPACE + word for word in sorted(set(words))]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteLevel(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(
                single=f"{BOS} $A",
                pair=f"{BOS} $A $B",
                special_tokens=[(BOS, vocabulary[BOS])],
            ),
        ]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIALS]
    )
    return tokenizer


def save_tokenizer(
    tokenizer: Tokenizer, folder: Path, chat_template: str = CHAT_TEMPLATE
) -> None:
    """Write the files from which `AutoTokenizer.from_pretrained` reads it."""
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "model_max_length": MAX_LENGTH,
        "clean_up_tokenization_spaces": False,
    }
    text = json.dumps(settings, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")


def encode_lines(
    tokenizer: Tokenizer, lines: Sequence[Line]
) -> tuple[WeightedRow, ...]:
    """Turn lines into ids; each token has the weight of the piece it ends in."""
    encodings = tokenizer.encode_batch(
        [line.text for line in lines], add_special_tokens=False
    )
    rows: list[WeightedRow] = []
    for line, encoding in zip(lines, encodings, strict=True):
        ends = np.cumsum([len(piece.text) for piece in line.pieces])
        last_characters = np.array([end - 1 for _, end in encoding.offsets])
        weights = np.array([p.weight for p in line.pieces], dtype=np.float32)
        rows.append(
            WeightedRow(
                token_ids=np.array(encoding.ids, dtype=np.int32),
                weights=weights[np.searchsorted(ends, last_characters, side="right")],
            )
        )
    return tuple(rows)
