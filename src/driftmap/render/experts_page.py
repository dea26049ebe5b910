"""Which experts must change for a model to refuse? The page that answers it."""

from driftmap.render.experts_answer import answer_section
from driftmap.render.experts_causal import causal_sections, swap_sections
from driftmap.render.experts_maps import maps_section
from driftmap.render.experts_method import method_section, model_section, words_section
from driftmap.render.experts_routing import routing_sections
from driftmap.render.experts_stability import agreement_sections, stability_sections
from driftmap.render.experts_tokens import company_sections, token_sections
from driftmap.render.experts_tuning import price_sections, tuning_sections
from driftmap.render.experts_words import listed, method_name, several
from driftmap.render.page import Page
from driftmap.render.wording import short_name
from driftmap.results.expert_study import ExpertStudy


def experts_page(study: ExpertStudy) -> Page:
    """Build the report on experts."""
    found = study.findings
    mark = "Trial run: " if study.settings.get("quick") else ""
    return Page(
        title=f"{mark}Which experts must change for the model to refuse?",
        lead=_lead(study),
        sections=[
            answer_section(found),
            maps_section(found),
            *stability_sections(found),
            *agreement_sections(found),
            *causal_sections(found),
            *tuning_sections(found),
            *swap_sections(found),
            *price_sections(found),
            *routing_sections(found),
            *token_sections(found),
            *company_sections(found),
            words_section(),
            method_section(study),
            model_section(study),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `figures/` holds its charts as PNG and SVG, `tables/experts.parquet` "
        "every number of every expert. `driftmap report RUN` draws it again.",
    )


def _lead(study: ExpertStudy) -> str:
    found = study.findings
    group = found.identified[0].group
    rounds = max(one.round for one in found.identified)
    names = listed([method_name(method) for method in found.methods])
    done = (
        f"tuned in {several(rounds, 'round')}"
        if found.rounds
        else "identified and not tuned"
    )
    return (
        f"Model `{short_name(found.model.source)}` answers prompts that it should "
        f"refuse. {several(len(group.experts), 'expert')} of "
        f"{found.facts.num_experts:,}, chosen by {names}, {done}."
    )
