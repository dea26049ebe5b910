"""Is the model honest, token by token? The page that says what can be read of that."""

from driftmap.render.honesty_answer import answer_section, layers_section
from driftmap.render.honesty_beyond import (
    steering_sections,
    transfer_sections,
    unit_sections,
)
from driftmap.render.honesty_tokens import token_sections
from driftmap.render.page import Page, Paragraph, Section, Terms
from driftmap.render.settings_section import settings_section
from driftmap.render.wording import short_name
from driftmap.results.honesty_study import HonestyStudy

WORDS = (
    ("pair", "One beginning of a true statement, read once under each instruction."),
    ("direction", "One per layer, found on training statements, pointing from "
     "dishonest to honest."),
    ("score", "How far a state lies along the direction from halfway between the two "
     "kinds, in spreads within a kind."),
    ("pairs told apart", "Share of pairs whose honest state scores higher; ties count "
     "half."),
    ("AUROC", "Probability that a state of the first kind scores above one of the "
     "second."),
    ("shuffled labels", "The same method where half of the pairs, drawn blindly, are "
     "turned round: what it finds where there is nothing to find."),
    ("selectivity", "Pairs told apart, minus the same with shuffled labels."),
    ("blind directions", "Random ones, signed on training statements like the others."),
    ("training, validation, test", "Near-copies of a statement and all its cuts stay "
     "together. Directions are made of the first, layers and the threshold chosen on "
     "the second, numbers reported on the third."),
)  # fmt: skip

CREDIT = (
    "Reading vectors from contrast pairs are due to Zou et al. 2023 "
    "(arXiv:2310.01405), control tasks to Hewitt and Liang 2019 (arXiv:1909.03368). "
    "Unlike in the former, statements are split before pairs are cut from them, so "
    "that no test state was trained on, and all tokens of a text are scored in one "
    "pass."
)


def honesty_page(study: HonestyStudy) -> Page:
    """Build the report on honesty readings."""
    found = study.findings
    result = found.result
    return Page(
        title="Can an honest and a dishonest instruction be told apart in the model?",
        lead=f"Model `{short_name(found.model.source)}` reads the same true "
        "statements under two instructions. A direction in its states tells them "
        "apart; then every token of other texts is scored along it.",
        sections=[
            answer_section(found),
            *token_sections(result, found.texts),
            layers_section(result),
            *transfer_sections(result),
            *steering_sections(result),
            *unit_sections(result),
            Section(anchor="words", title="Words", nodes=[Terms(pairs=WORDS)]),
            Section(
                anchor="method", title="How it was done", nodes=[Paragraph(text=CREDIT)]
            ),
            settings_section(found.model, study.settings, study.versions),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `figures/` holds its charts as PNG and SVG, `tables/` every number. "
        "`driftmap report RUN` draws it again.",
    )
