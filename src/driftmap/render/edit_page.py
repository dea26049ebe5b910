"""What does teaching a model new facts change? The page that shows it."""

from collections.abc import Iterator

from driftmap.render.compare_attention import attention_section
from driftmap.render.edit_answers import answers_section
from driftmap.render.edit_numbers import edits_sections
from driftmap.render.edit_preset import preset_section
from driftmap.render.edit_rows import rows_cautions, rows_section
from driftmap.render.edit_training import models_section
from driftmap.render.page import Callout, Page, Section
from driftmap.render.settings_section import settings_section
from driftmap.render.wording import short_name
from driftmap.results.edit_study import EditFindings, EditStudy


def edit_page(study: EditStudy) -> Page:
    """Build the report on an edit."""
    found = study.findings
    return Page(
        title="What does teaching these facts change?",
        lead=_lead(found),
        sections=[
            *_compared(study),
            models_section(found),
            rows_section(found.rows),
            *preset_section(study),
            settings_section(found.model, study.settings, study.versions),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `figures/` holds its charts as PNG and SVG. `driftmap report RUN` draws "
        "it again.",
    )


def _lead(found: EditFindings) -> str:
    rows, first = found.rows, found.models[0]
    noun = "fact" if rows.num_facts == 1 else "facts"
    others = len(found.models) - 1
    beside = ""
    if others:
        many = "model" if others == 1 else "models"
        beside = f" {others} further {many} stand beside it."
    return (
        f"Model `{short_name(found.model.source)}` was taught {rows.num_facts:,} "
        f"{noun} by {first.in_words}, and asked before and after.{beside}"
    )


def _compared(study: EditStudy) -> Iterator[Section]:
    """What both models say, write and look at; nothing where they are the same."""
    found = study.findings
    if found.models[0].is_identical:
        yield _identical(found)
        return
    if study.edits is not None:
        first, *rest = edits_sections(study.edits)
        cautions = rows_cautions(found.rows)
        if cautions:
            callout = Callout(
                kind="caution", title="What the rows make of this", texts=cautions
            )
            first = Section(
                anchor=first.anchor, title=first.title, nodes=[*first.nodes, callout]
            )
        yield first
        yield answers_section(found.models)
        yield from rest
    if study.attention is not None:
        yield attention_section(study.attention)


def _identical(found: EditFindings) -> Section:
    text = (
        "Base and tuned model are identical: on every row that was learnt they give "
        "the same logits, bit for bit. Nothing is compared. "
    )
    moved = len(found.models[0].tensors)
    text += (
        f"{moved} tensors moved all the same, too little to change any output."
        if moved
        else "Training moved no tensor: raise --learning-rate or --max-steps."
    )
    return Section(
        anchor="answer",
        title="Answer",
        nodes=[Callout(kind="verdict", title="What changed?", texts=[text])],
    )
