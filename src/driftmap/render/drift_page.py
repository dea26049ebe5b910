"""Do the weights that carry a behaviour drift more? The page that answers it."""

from driftmap.render.drift_answer import answer_section
from driftmap.render.drift_behaviour import behaviour_section
from driftmap.render.drift_evidence import chance_section, evidence_section
from driftmap.render.drift_frozen import frozen_sections
from driftmap.render.drift_glossary import words_section
from driftmap.render.drift_method import method_section
from driftmap.render.drift_metrics import metrics_section
from driftmap.render.drift_overlap import overlap_sections
from driftmap.render.drift_ways import is_whole
from driftmap.render.drift_words import declared_card, is_read, is_tuned_elsewhere
from driftmap.render.page import Page
from driftmap.render.settings_section import settings_section
from driftmap.render.wording import short_name
from driftmap.results.drift_study import DriftStudy


def drift_page(study: DriftStudy) -> Page:
    """Build the report of a drift study."""
    mark = "Trial run: " if study.settings.get("quick") else ""
    return Page(
        title=f"{mark}Do the weights that carry this behaviour drift more than "
        "comparable weights?",
        lead=f"Model `{short_name(study.model.source)}`, {_tuned(study)}. "
        f"{_grouped(study)}",
        sections=[
            answer_section(study),
            words_section(study),
            *frozen_sections(study),
            behaviour_section(study),
            evidence_section(study),
            chance_section(study),
            metrics_section(study),
            *overlap_sections(study),
            method_section(study),
            settings_section(study.model, study.settings, study.versions),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `figures/` holds its charts as PNG and SVG, `tables/` and "
        "`statistics.json` every number. `driftmap report RUN` draws it again; "
        "`driftmap run RUN --out ELSEWHERE` repeats the study.",
    )


def _tuned(study: DriftStudy) -> str:
    seeds = study.statistics.num_seeds
    if is_tuned_elsewhere(study):
        runs = f"{seeds} training run{'s' * (seeds != 1)}"
        made = "models" if is_whole(study) else "adapters"
        return f"with the {made} of {runs} made elsewhere"
    tune_on = short_name(str(study.settings["tune_on"]))
    return f"fine-tuned on `{tune_on}` under {seeds} seed{'s' * (seeds != 1)}"


def _grouped(study: DriftStudy) -> str:
    card = declared_card(study)
    if is_read(study):
        return (
            f"The weights in question, `{card.name}`, were read from {card.read_from}."
        )
    behaviour, utility = (
        short_name(str(study.settings[name])) for name in ("behaviour", "utility")
    )
    return (
        f"The behaviour is shown by the samples of `{behaviour}`, ordinary ability by "
        f"those of `{utility}`."
    )
