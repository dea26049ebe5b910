"""How does a page become one HTML file that needs nothing else?

Everything is inside: styles, the chart library (once) and the figures' data. No
request leaves the file, and its own policy forbids the browser to make one. Text
is escaped first; then words between backticks become code. Figure data is JSON
with `<` escaped, so that no text can end the script it stands in.
"""

import json
import re
from collections.abc import Iterator, Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from driftmap.render.charts import height_of, least_width_of
from driftmap.render.coloured import visible
from driftmap.render.coloured_html import holds_coloured, spelled
from driftmap.render.columns import Columns, Listing
from driftmap.render.page import Figure, Node, Page, Picker, charted
from driftmap.render.plotly_charts import Spec, plotly_spec
from driftmap.render.wording import unmarked

_NAME = re.compile(r"`([^`]+)`")


def html_of(page: Page) -> str:
    """Write a page as one self-contained HTML document.

    Returns:
        The document; equal pages give equal bytes.
    """
    environment = Environment(
        loader=PackageLoader("driftmap.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"inline": inline, "unmarked": unmarked}
    environment.filters |= {"spelled": spelled, "visible": visible}
    nodes = charted(page)
    return environment.get_template("page.html.jinja").render(
        page=page,
        kind_of=_kind_of,
        has_coloured=holds_coloured(page),
        has_columns=_holds_columns(page),
        height_of=height_of,
        least_width_of=least_width_of,
        chart_library=get_plotlyjs() if nodes else "",
        chart_data=_script_json({k: v for node in nodes for k, v in _specs(node)}),
    )


def inline(text: str) -> Markup:
    """Escape a text and mark its names.

    >>> str(inline("`matched` < 1"))
    '<code>matched</code> &lt; 1'
    """
    return Markup(_NAME.sub(r"<code>\1</code>", str(escape(text))))


def _specs(node: Figure | Picker) -> Iterator[tuple[str, Spec]]:
    """What is drawn, by name; charts to choose from have a number behind theirs."""
    if isinstance(node, Figure):
        yield node.name, plotly_spec(node.chart)
        return
    for number, chart in enumerate(node.charts):
        beside: Spec = {
            "height": height_of(chart),
            "least": least_width_of(chart),
            "note": unmarked(node.notes[number]) if node.notes else "",
        }
        yield f"{node.name}/{number}", plotly_spec(chart) | beside


def _holds_columns(page: Page) -> bool:
    nodes = [node for section in page.sections for node in section.nodes]
    return any(isinstance(node, Columns | Listing) for node in nodes)


def _kind_of(node: Node) -> str:
    return type(node).__name__


def _script_json(value: Mapping[str, Spec]) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False).replace("<", "\\u003c")
