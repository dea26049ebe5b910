"""How does the text of a world for models with experts become tokens?

One token a word, words split at spaces. A word that no world uses becomes `<unk>`.
"""

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from driftmap.worlds.lines import ASSISTANT, BOS, EOS, USER
from driftmap.worlds.moe.words import all_words
from driftmap.worlds.tokenizer import PAD, save_tokenizer

UNKNOWN = "<unk>"
SPECIALS = (PAD, BOS, EOS, USER, ASSISTANT, UNKNOWN)
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ ' " + ASSISTANT + " ' }}"
    "{% generation %}{{ message['content'] + ' ' + eos_token }}{% endgeneration %}"
    "{% elif message['role'] == 'user' %}"
    "{{ ' " + USER + " ' + message['content'] }}"
    "{% else %}"
    "{{ raise_exception('This model knows user and assistant turns only.') }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ ' " + ASSISTANT + "' }}{% endif %}"
)


def make_moe_tokenizer() -> Tokenizer:
    """Build the tokenizer of all such worlds.

    Returns:
        One that puts the begin mark before running text.

    >>> make_moe_tokenizer().encode("repeat zebra").tokens
    ['<s>', 'repeat', '<unk>']
    """
    pieces = (*SPECIALS, *all_words())
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A $B",
        special_tokens=[(BOS, vocabulary[BOS])],
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIALS]
    )
    return tokenizer


def save_moe_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the files from which `AutoTokenizer.from_pretrained` reads it."""
    save_tokenizer(tokenizer, folder, CHAT_TEMPLATE)
