"""What does the page on freezing say? Its sections in their order."""

from driftmap.render.freeze_answer import answer_section
from driftmap.render.freeze_curves import curves_section
from driftmap.render.freeze_overlap import overlap_section
from driftmap.render.freeze_words import DONE, method_section, words_section
from driftmap.render.page import Page
from driftmap.render.settings_section import settings_section
from driftmap.render.wording import short_name
from driftmap.results.freeze_study import FreezeStudy


def freeze_page(study: FreezeStudy) -> Page:
    """Build the report on an experiment."""
    found = study.statistics
    return Page(
        title="Does freezing these weights keep the behaviour?",
        lead=f"`{found.group.name}` of `{short_name(study.model.source)}`, "
        f"{DONE[found.group.way]}, a growing share at a time, through fine-tuning with "
        f"{found.num_seeds} training seeds, beside matched controls frozen instead.",
        sections=[
            answer_section(study),
            curves_section(study),
            overlap_section(study),
            words_section(study),
            method_section(),
            settings_section(study.model, study.settings, study.versions),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `figures/` holds its charts as PNG and SVG, `tables/` and "
        "`statistics.json` every number. `driftmap report RUN` draws it again.",
    )
