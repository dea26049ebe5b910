"""How are the spaces and breaks of a coloured text seen on a page?

Signs for them are drawn by the page's style and are no part of its text: with tags
stripped, what is written is the text itself, but for characters that `visible` shows.
"""

from collections.abc import Mapping

from markupsafe import Markup, escape

from driftmap.render.coloured import ColouredTexts, visible
from driftmap.render.page import Folded, Node, Page

_SIGNS: Mapping[str, str] = {" ": "space", "\n": "break", "\t": "tab"}


def spelled(text: str) -> Markup:
    r"""Escape a piece of text and give spaces, tabs and line breaks a class each.

    >>> str(spelled(" <b>"))
    '<i class="space"> </i>&lt;b&gt;'
    """
    return Markup("").join(map(_spelled, visible(text)))


def holds_coloured(page: Page) -> bool:
    """Whether a page has a coloured text anywhere."""
    return any(_holds(node) for section in page.sections for node in section.nodes)


def _spelled(character: str) -> Markup:
    sign = _SIGNS.get(character)
    if sign is None:
        return escape(character)
    return Markup(f'<i class="{sign}">{character}</i>')


def _holds(node: Node) -> bool:
    if isinstance(node, Folded):
        return any(_holds(child) for child in node.nodes)
    return isinstance(node, ColouredTexts)
