"""Where in the model is a fact read? The page that answers it."""

from driftmap.core.quoted import quoted
from driftmap.render.page import Page
from driftmap.render.settings_section import settings_section
from driftmap.render.trace_answer import answer_section
from driftmap.render.trace_facts import fact_sections
from driftmap.render.trace_lens import lens_sections
from driftmap.render.trace_method import method_section, words_section
from driftmap.render.trace_roles import role_sections, severed_sections
from driftmap.render.trace_words import several
from driftmap.render.wording import short_name
from driftmap.results.trace_study import TraceFindings, TraceStudy


def trace_page(study: TraceStudy) -> Page:
    """Build the report on causal traces."""
    found = study.findings
    this = "a" if found.effects or not found.shown else "this"
    return Page(
        title=f"Where in the model is {this} fact read?",
        lead=_lead(found),
        sections=[
            answer_section(found),
            *role_sections(found),
            *severed_sections(found),
            *fact_sections(found),
            *lens_sections(found),
            words_section(),
            method_section(found),
            settings_section(found.model, study.settings, study.versions),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `figures/` holds its charts as PNG and SVG, `tables/` every number. "
        "`driftmap report RUN` draws it again.",
    )


def _lead(found: TraceFindings) -> str:
    model = short_name(found.model.source)
    if found.effects or not found.shown:
        asked = several(found.counts.num_read, "fact")
    else:
        asked = f"one prompt, {quoted(found.shown[0].prompt, 300)}"
    return (
        f"Model `{model}` ({several(found.num_layers, 'layer')}) completes {asked}. "
        "The subject's words are disturbed until the answer is lost; then one state "
        "after another is put back as it was, to see which of them bring the answer "
        "back."
    )
