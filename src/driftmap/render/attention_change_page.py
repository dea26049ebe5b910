"""What do a model and what was made of it look at? The page that shows it alone."""

from collections.abc import Mapping

from driftmap.render.attention_words import several
from driftmap.render.compare_attention import attention_section
from driftmap.render.page import Facts, Page, Section
from driftmap.render.settings_section import folded_settings
from driftmap.render.wording import short_name
from driftmap.results.attention_change import AttentionChange


def attention_change_page(
    found: AttentionChange, settings: Mapping[str, object], versions: Mapping[str, str]
) -> Page:
    """Build the report.

    Args:
        found: What both models look at.
        settings: The resolved recipe, option -> value.
        versions: Package -> version.
    """
    return Page(
        title="What do both models look at?",
        lead=f"`{short_name(found.tuned)}` beside its base `{short_name(found.base)}` "
        f"({several(found.num_layers, 'layer')}), read with the same code on the same "
        "tokens.",
        sections=[
            attention_section(found),
            Section(
                anchor="settings",
                title="Settings",
                nodes=[
                    Facts(pairs=[("base", found.base), ("tuned", found.tuned)]),
                    *folded_settings(settings, versions),
                ],
            ),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `figures/` holds its charts as PNG and SVG. `driftmap report RUN` draws "
        "it again.",
    )
