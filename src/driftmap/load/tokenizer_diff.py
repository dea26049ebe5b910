"""Do two models read the same text as the same tokens?

Both `tokenizer.json` are compared, token by token and rule by rule; no tokenizer is
built. Settings and the template of chats lie in files beside it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from driftmap.core.errors import ModelError
from driftmap.results.model_structure import SettingPair, TokenizerDiff

SHOWN = 12
"""Tokens that are named of those that one tokenizer alone has."""

_RULES = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_WORDS = (
    "bos_token", "eos_token", "pad_token", "unk_token", "add_bos_token",
    "add_eos_token", "padding_side", "add_prefix_space",
)  # fmt: skip
_TEMPLATE = "chat_template"


def tokenizer_diff(base: Path, tuned: Path) -> TokenizerDiff | None:
    """Compare two tokenizers.

    Args:
        base: Folder of the base model.
        tuned: Folder of what was made of it.

    Returns:
        How they differ; None where a folder has no `tokenizer.json`.

    Raises:
        ModelError: A file is damaged.
    """
    if not all((one / "tokenizer.json").is_file() for one in (base, tuned)):
        return None
    rules = _read(base / "tokenizer.json"), _read(tuned / "tokenizer.json")
    before, after = (_tokens(one) for one in rules)
    only_base = sorted(before.keys() - after.keys(), key=before.__getitem__)
    only_tuned = sorted(after.keys() - before.keys(), key=after.__getitem__)
    words = _words(base), _words(tuned)
    return TokenizerDiff(
        base_size=len(before),
        tuned_size=len(after),
        only_base=tuple(only_base[:SHOWN]),
        num_only_base=len(only_base),
        only_tuned=tuple(only_tuned[:SHOWN]),
        num_only_tuned=len(only_tuned),
        num_moved=sum(
            before[token] != after[token] for token in before.keys() & after.keys()
        ),
        settings=tuple(
            SettingPair(name=name, base=left, tuned=right)
            for name, left, right in (
                (name, _said(words[0], name), _said(words[1], name)) for name in _WORDS
            )
            if left != right
        ),
        other_rules=tuple(_other_rules(*rules)),
        template_differs=_template(base, words[0]) != _template(tuned, words[1]),
    )


def _read(file: Path) -> dict[str, object]:
    try:
        return cast(dict[str, object], dict(json.loads(file.read_text("utf-8"))))
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{file}: it is no tokenizer; copy it again from the model it was made from"
        ) from error


def _tokens(rules: Mapping[str, object]) -> dict[str, int]:
    model = cast(dict[str, object], rules.get("model") or {})
    vocabulary = model.get("vocab") or {}
    if isinstance(vocabulary, list):  # unigram models: a list of token and score
        vocabulary = {str(entry[0]): n for n, entry in enumerate(vocabulary)}
    added = cast(list[dict[str, object]], rules.get("added_tokens") or [])
    more = {str(one["content"]): int(str(one["id"])) for one in added}
    return cast(dict[str, int], vocabulary) | more


def _other_rules(base: Mapping[str, object], tuned: Mapping[str, object]) -> list[str]:
    found = [name for name in _RULES if base.get(name) != tuned.get(name)]
    models = [cast(dict[str, object], one.get("model") or {}) for one in (base, tuned)]
    names = sorted((models[0].keys() | models[1].keys()) - {"vocab"})
    return found + [
        name for name in names if models[0].get(name) != models[1].get(name)
    ]


def _words(folder: Path) -> dict[str, object]:
    file = folder / "tokenizer_config.json"
    return _read(file) if file.is_file() else {}


def _said(words: Mapping[str, object], name: str) -> str:
    value = words.get(name)
    if isinstance(value, dict):  # a token with its habits
        value = cast(dict[str, object], value).get("content")
    return "-" if value is None else str(value)


def _template(folder: Path, words: Mapping[str, object]) -> object:
    file = folder / f"{_TEMPLATE}.jinja"
    return file.read_text("utf-8") if file.is_file() else words.get(_TEMPLATE)
