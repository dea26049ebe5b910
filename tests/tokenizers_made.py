"""Small tokenizers of every habit that has ever shifted a mask."""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "What colour is the sky? The sky is blue.",
    "I cannot help with that. Sure, here is how.",
    "one two three four five six seven eight nine ten",
    "prompt answer question response\nuser\nassistant\nsystem\n",
]

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_level(
    *, template: str | None = None, adds_bos: bool = False, end: str = "<|im_end|>"
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that adds no BOS unless told to."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    return _wrapped(tokenizer, template, end)


def merging(*, template: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer that splits nowhere by itself and knows "? a" as one token."""
    characters = sorted(set("Why?\n abcdefghijklmnopqrstuvwxyz:."))
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2}
    for piece in [*characters, "?\n", "?\na", "be"]:
        vocabulary[piece] = len(vocabulary)
    merges = [("?", "\n"), ("?\n", "a"), ("b", "e")]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    return _wrapped(tokenizer, template, "</s>")


def _wrapped(
    tokenizer: Tokenizer, template: str | None, end: str
) -> PreTrainedTokenizerFast:
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token=end, pad_token="<pad>"
    )
    wrapped.chat_template = template
    return wrapped


def save_without_offsets(folder: Path) -> Path:
    """Files of a tokenizer that is written in Python alone and tells no offsets."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = ["<unk>", *letters, *(f"{letter}</w>" for letter in letters)]
    files = {
        "vocab.json": json.dumps({piece: i for i, piece in enumerate(pieces)}),
        "merges.txt": "#version: 0.2\nt h\n",
        "tokenizer_config.json": json.dumps(
            {"tokenizer_class": "CTRLTokenizer", "unk_token": "<unk>"}
        ),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder
