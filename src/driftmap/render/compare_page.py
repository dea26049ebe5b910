"""What did this fine-tune change? The page that shows it, part by part."""

from collections.abc import Iterator

from driftmap.render.attention_words import several
from driftmap.render.compare_answer import answer_section
from driftmap.render.compare_attention import attention_section
from driftmap.render.compare_behaviour import behaviour_section
from driftmap.render.compare_edits import edits_section
from driftmap.render.compare_readings import readings_section
from driftmap.render.compare_structure import structure_section
from driftmap.render.compare_training import training_section
from driftmap.render.compare_weights import weights_section
from driftmap.render.compare_where import where_section
from driftmap.render.page import Facts, Page, Section
from driftmap.render.settings_section import folded_settings
from driftmap.render.wording import short_name
from driftmap.results.compare_study import ComparedModels, CompareStudy


def compare_page(study: CompareStudy) -> Page:
    """Build the report of a comparison."""
    return Page(
        title="What did this fine-tune change?",
        lead=_lead(study),
        sections=[answer_section(study), *_parts(study), _settings(study)],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `figures/` holds its charts as PNG and SVG. `driftmap report RUN` draws "
        "it again.",
    )


def _parts(study: CompareStudy) -> Iterator[Section]:
    """The parts that were made, in the order in which a person asks."""
    if study.structure is not None:
        yield structure_section(study.structure)
    if study.weights is not None:
        yield weights_section(study.weights)
    if study.behaviour is not None:
        yield behaviour_section(study.behaviour)
    if study.edits is not None:
        yield edits_section(study.edits)
    if study.where is not None:
        yield where_section(study.where)
    if study.attention is not None:
        yield attention_section(study.attention)
    if study.readings is not None:
        yield readings_section(study.readings)
    if study.training is not None:
        yield training_section(study.training)


def _lead(study: CompareStudy) -> str:
    models = study.models
    made = f"the {models.made} `{short_name(models.tuned)}`"
    said = f"{made[0].upper()}{made[1:]} beside its base `{short_name(models.base)}`."
    if study.probes is None:
        return said
    probes = study.probes
    num = len(probes.harmful) + len(probes.harmless) + len(probes.held_out)
    return (
        f"{said} Both models were asked the same by the same code: "
        f"{several(len(probes.facts), 'fact')}, {several(len(probes.texts), 'text')} "
        f"and {several(num, 'request')}."
    )


def _settings(study: CompareStudy) -> Section:
    return Section(
        anchor="settings",
        title="Settings",
        nodes=[
            Facts(pairs=_named(study.models)),
            *folded_settings(study.settings, study.versions),
        ],
    )


def _named(models: ComparedModels) -> list[tuple[str, str]]:
    return [
        ("base", models.base),
        ("tuned", models.tuned),
        ("tuned is", models.made),
        ("checkpoints", str(models.num_checkpoints)),
    ]
