"""How does a sentence quote what a stranger's file says?

Short, on one line, and with nothing in it that a terminal would act on.
"""

LONGEST = 60


def quoted(text: str, longest: int = LONGEST) -> str:
    r"""Shorten a text and write what cannot be printed as escapes.

    Args:
        text: From a file.
        longest: Characters of it that are kept (count).

    >>> quoted("pro\x00mpt\x1b[31m")
    'pro\\x00mpt\\x1b[31m'
    >>> quoted("much " * 30, longest=12)
    'much much...'
    """
    if len(text) > longest:
        text = text[: longest - 3] + "..."
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )
