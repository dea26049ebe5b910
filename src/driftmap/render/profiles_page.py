"""Do wordings of one fact use the same layers? The page."""

from driftmap.render.page import Page, Paragraph, Section, Terms
from driftmap.render.profiles_answer import (
    answer_section,
    classes_section,
    published_section,
)
from driftmap.render.profiles_charts import matrix_section, profiles_section
from driftmap.render.profiles_words import several
from driftmap.render.settings_section import settings_section
from driftmap.render.wording import short_name
from driftmap.results.trace_comparison import CompareReport, TraceComparison

MOST_SHOWN = 60

_WORDS = [
    (
        "profile",
        "IE / TE at one row, layer by layer: the outcome with that "
        "state put back less the corrupted one, over the clean less "
        "the corrupted one. A constant added to all outcomes does not "
        "change it.",
    ),
    (
        "under other noise",
        "Prompts about one subject would see the same draws. So "
        "likeness is taken between profiles of different draws, also "
        "that of a prompt with itself, which is the ceiling.",
    ),
    (
        "chance",
        "Pairs are not independent. For two wordings of a fact, facts "
        "exchange their prompts, wording by wording; for facts of one "
        "subject, whole facts exchange their subjects within a "
        "relation; for one relation, whole subjects exchange "
        "relations, and facts within a subject; for reversals, facts "
        "exchange their reversed prompts. p = (1 + those that reach "
        "the AUC) / (1 + all).",
    ),
    (
        "interval",
        "Subjects are drawn with replacement, with all their prompts.",
    ),
    (
        "reversed",
        "Subject and object change places, and the row is the other "
        "one's last token. Compared only where the model predicts "
        "both directions.",
    ),
    (
        "earth-mover distance",
        "By how many layers the positive part of one profile must be "
        "moved, on average, to become the other's.",
    ),
]


def profiles_page(report: CompareReport) -> Page:
    """Build the report on compared traces."""
    compared = report.comparison
    most = report.settings.get("show", MOST_SHOWN)
    return Page(
        title="Do wordings of one fact use the same layers?",
        lead=_lead(compared),
        sections=[
            answer_section(compared),
            profiles_section(compared),
            matrix_section(compared, int(str(most))),
            classes_section(compared),
            *published_section(compared),
            _method_section(compared),
            settings_section(compared.model, report.settings, report.versions),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `figures/` holds its charts as PNG and SVG, the run folder every "
        "number. `driftmap report RUN` draws it again.",
    )


def _lead(compared: TraceComparison) -> str:
    return (
        f"Model `{short_name(compared.model.source)}`. "
        f"{several(compared.num_prompts, 'prompt')} that say "
        f"{several(compared.num_facts, 'fact')} of `{short_name(compared.facts)}`, "
        "compared by their causal traces."
    )


def _method_section(compared: TraceComparison) -> Section:
    noise = compared.noise
    level = "" if noise.level is None else f" of level {noise.level:.4g}"
    return Section(
        anchor="method",
        title="How it was done",
        nodes=[
            Paragraph(
                text=f"Noise: {noise.kind.replace('_', ' ')}{level} "
                f"({compared.noise_source}), {several(noise.num_draws, 'draw')}, seed "
                f"{noise.seed}. Outcome: {compared.outcome.replace('_', ' ')} of the "
                "answer. A trace shows what a state can do when it is put back, not "
                "that nothing else could; where it peaks does not tell where editing "
                "works best (arXiv:2301.04213)."
            ),
            Terms(pairs=_WORDS),
        ],
    )
