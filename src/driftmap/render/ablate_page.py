"""What does the page on an ablation say? Its sections in their order."""

from driftmap.render.ablate_answer import answer_section
from driftmap.render.ablate_curves import curves_sections
from driftmap.render.ablate_words import DONE, method_section, words_section
from driftmap.render.page import Facts, Folded, Page, Section
from driftmap.render.wording import short_name
from driftmap.results.ablation import AblationStudy


def ablate_page(study: AblationStudy) -> Page:
    """Build the report on an ablation."""
    found = study.statistics
    names = ", ".join(f"`{group.name}`" for group in found.groups)
    return Page(
        title="What does the model do without these weights?",
        lead=f"{names} of `{short_name(study.model.source)}`, {DONE[found.by]}, a "
        "growing share at a time, beside "
        f"{found.primary().num_controls} controls that are alike in number and size.",
        sections=[
            answer_section(study),
            *curves_sections(study),
            words_section(study),
            method_section(study),
            _settings_section(study),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `figures/` holds its charts as PNG and SVG, `tables/` and "
        "`statistics.json` every number. `driftmap report RUN` draws it again.",
    )


def _settings_section(study: AblationStudy) -> Section:
    model = study.model
    identity = Facts(
        pairs=[
            ("model", model.source),
            ("sha256", model.sha256[:16]),
            ("family", model.family),
            ("dtype", model.dtype),
            ("device", model.device),
            ("scored weights", f"{model.num_weights:,}"),
        ]
    )
    settings = Facts(pairs=[(k, _plain(v)) for k, v in study.settings.items()])
    versions = Facts(pairs=sorted(study.versions.items()))
    return Section(
        anchor="settings",
        title="Settings",
        nodes=[
            identity,
            Folded(summary="All settings, as in run.yaml", nodes=[settings]),
            Folded(summary="Versions", nodes=[versions]),
        ],
    )


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "not set" if value is None else str(value)
