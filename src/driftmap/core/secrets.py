"""What must never be written down, and how is it kept out of what is said?

Secrets come from the environment and are looked up there each time, so that one that
is set later is known as well. Everything a person reads or a run logs goes through
`redacted`.
"""

import os
from urllib.parse import urlsplit

SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY")
"""Environment variables whose values stay there."""

_URLS = ("OPENAI_BASE_URL",)

# Servers at home take any key, and people give them "x" or "none": to hide such a word
# would hide half of what is said.
_SHORTEST = 8


def redacted(text: str) -> str:
    """Put the names of secrets in place of their values.

    Args:
        text: Anything that is about to be shown or written.

    Returns:
        The text, without the value of any secret of 8 characters or more.

    >>> os.environ["HF_TOKEN"] = "hf_of_the_example"
    >>> redacted("401 for hf_of_the_example")
    '401 for <HF_TOKEN>'
    >>> del os.environ["HF_TOKEN"]
    """
    for name, value in _values():
        text = text.replace(value, f"<{name}>")
    return text


def secret_in(text: str) -> str | None:
    """Name the secret whose value a text holds, if it holds one.

    >>> secret_in("alpaca.json") is None
    True
    """
    return next((name for name, value in _values() if value in text), None)


def _values() -> list[tuple[str, str]]:
    """Names and values, longest first: one may be a part of another."""
    known = [(name, os.environ.get(name, "").strip()) for name in SECRETS]
    known += [(name, _password(os.environ.get(name, ""))) for name in _URLS]
    told = [(name, value) for name, value in known if len(value) >= _SHORTEST]
    return sorted(told, key=lambda one: -len(one[1]))


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""
