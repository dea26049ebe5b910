"""How does a page become one HTML file that needs nothing else?

Everything is inside: styles, the chart library (once) and the figures' data. No
request leaves the file. Text is escaped by the template engine; figure data is
JSON with `<` escaped, so that no text can end the script it stands in.
"""

import json
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from driftmap.render.page import (
    Callout,
    Facts,
    Figure,
    Folded,
    Grid,
    Node,
    Page,
    Paragraph,
    figures_of,
)
from driftmap.render.plotly_charts import plotly_spec

MACROS = {
    Paragraph: "paragraph",
    Callout: "callout",
    Facts: "facts",
    Grid: "grid",
    Figure: "figure",
    Folded: "folded",
}


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
    figures = figures_of(page)
    return environment.get_template("page.html.jinja").render(
        page=page,
        macro_of=_macro_of,
        chart_library=get_plotlyjs() if figures else "",
        chart_data=_script_json({f.name: plotly_spec(f.chart) for f in figures}),
    )


def _macro_of(node: Node) -> str:
    return MACROS[type(node)]


def _script_json(value: dict[str, dict[str, object]] | Sequence[object]) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False).replace("<", "\\u003c")
