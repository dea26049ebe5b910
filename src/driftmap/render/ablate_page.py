"""What does the page on an ablation say? Its sections in their order."""

from driftmap.render.ablate_answer import answer_section
from driftmap.render.ablate_curves import curves_sections
from driftmap.render.ablate_directions import directions_sections
from driftmap.render.ablate_words import DONE, method_section, words_section
from driftmap.render.page import Page
from driftmap.render.settings_section import settings_section
from driftmap.render.wording import percent, short_name
from driftmap.results.ablation import Ablated, AblationStudy


def ablate_page(study: AblationStudy) -> Page:
    """Build the report on an ablation."""
    found = study.statistics
    num = found.primary().num_controls
    names = ", ".join(_named(group) for group in found.groups)
    return Page(
        title="What does the model do without these weights?",
        lead=f"{names} of `{short_name(study.model.source)}`, {DONE[found.by]}, a "
        f"growing share at a time, beside {num} control{'s' * (num != 1)} alike in "
        "number and size. What it refuses then, and what it still gets right.",
        sections=[
            answer_section(study),
            *curves_sections(study),
            *directions_sections(study),
            words_section(study),
            method_section(study),
            settings_section(study.model, study.settings, study.versions),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `figures/` holds its charts as PNG and SVG, `tables/` and "
        "`statistics.json` every number. `driftmap report RUN` draws it again.",
    )


def _named(group: Ablated) -> str:
    unit = group.unit if group.num_units != 1 else group.unit.removesuffix("s")
    return f"`{group.name}` ({group.num_units:,} {unit}, {percent(group.share)})"
