"""Which layers recognise that two samples mean the same? The page that answers it."""

from driftmap.render.page import Page
from driftmap.render.similarity_answer import answer_section
from driftmap.render.similarity_beside import measures_section, models_section
from driftmap.render.similarity_curves import depth_sections
from driftmap.render.similarity_method import (
    exactness_section,
    method_section,
    model_section,
    words_section,
)
from driftmap.render.similarity_queries import queries_section
from driftmap.render.similarity_selection import selection_section
from driftmap.render.similarity_sets import sets_section
from driftmap.render.similarity_tensors import energy_section, tensor_section
from driftmap.render.similarity_words import (
    as_one,
    full_name,
    is_gradients,
    leading,
    several,
)
from driftmap.render.wording import short_name
from driftmap.results.similarity_study import SimilarityStudy


def similarity_page(study: SimilarityStudy) -> Page:
    """Build the report on samples and their versions."""
    study = as_one(study)
    found = leading(study).study
    has_layers = any(place.layer is not None for place in found.tensors)
    return Page(
        title="Which layers recognise that two samples mean the same?"
        if has_layers
        else "Does a sample's gradient lead back to what it was made from?",
        lead=_lead(study),
        sections=[
            answer_section(study),
            *depth_sections(study),
            *tensor_section(study),
            *selection_section(study),
            *energy_section(study),
            *measures_section(study),
            *models_section(study.comparison),
            *queries_section(study),
            *sets_section(study.sets),
            *exactness_section(study),
            words_section(),
            method_section(),
            model_section(study),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `figures/` holds its charts as PNG and SVG, the run folder every "
        "number. `driftmap report RUN` draws it again.",
    )


def _lead(study: SimilarityStudy) -> str:
    measure = leading(study)
    found = measure.study
    sets = " and ".join(
        several(of.num_queries, f"{of.name} query") for of in found.sets
    )
    of_model = (
        "" if study.model is None else f"Model `{short_name(study.model.source)}`. "
    )
    compared = (
        f"their gradients in {several(len(found.tensors), 'tensor')}"
        if is_gradients(measure)
        else f"their {full_name(measure)} in {several(len(found.tensors), 'place')}"
    )
    if study.model is None:
        compared += ", measured elsewhere"
    return (
        f"{of_model}{several(found.num_originals, 'original')}; {sets}, other versions "
        f"of them. Queries and originals are compared by {compared}."
    )
