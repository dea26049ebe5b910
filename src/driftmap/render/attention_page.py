"""What does a model look at when it answers? The page that shows it."""

from driftmap.core.quoted import quoted
from driftmap.render.attention_answer import answer_section
from driftmap.render.attention_layers import layer_section
from driftmap.render.attention_tokens import token_sections
from driftmap.render.attention_words import several, told
from driftmap.render.page import Page, Paragraph, Section
from driftmap.render.settings_section import settings_section
from driftmap.render.wording import short_name
from driftmap.results.attention_study import AttentionFindings, AttentionStudy

ROWS = (
    "Rows are read beside the model's own attention, in float32; its output stays as "
    "it is, bit for bit. The last prompt token is the row that produces the answer's "
    "first token; the row of an answer token itself is another reading, named as such."
)
SPANS = (
    "The control span has as many tokens as the subject, right after it or else before "
    "it, neither the first nor the last token of the prompt. The first token is "
    "counted apart from both, and its edges are never cut."
)
LENGTHS = (
    "Value lengths are |v W_O| of each head (Kobayashi et al. 2020, arXiv:2004.10102), "
    "before any gate that a model puts on heads. Rollout is the product of (A + I) / 2 "
    "over layers (Abnar and Zuidema 2020, arXiv:2005.00928)."
)


def attention_page(study: AttentionStudy) -> Page:
    """Build the report on attention."""
    found = study.findings
    return Page(
        title="What does the model look at when it answers?",
        lead=_lead(found),
        sections=[
            answer_section(found),
            layer_section(found),
            *token_sections(found),
            _method(found),
            settings_section(found.model, study.settings, study.versions),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `figures/` holds its charts as PNG and SVG. `driftmap report RUN` draws "
        "it again.",
    )


def _lead(found: AttentionFindings) -> str:
    asked = several(found.num_read, "prompt")
    if found.num_read == 1 and found.prompts:
        asked = f"one prompt, {quoted(told(found.prompts[0]))}"
    attends = several(len(found.places), "place")
    cut = "its edges to the subject were cut to see what the answer loses"
    return (
        f"Model `{short_name(found.model.source)}` "
        f"({several(found.num_layers, 'layer')}, {attends} that attend) completes "
        f"{asked}. Where each head looks was read"
        + (f"; {cut}." if found.num_cut else ".")
    )


def _method(found: AttentionFindings) -> Section:
    texts = [ROWS, SPANS, LENGTHS]
    if found.num_cut:
        texts.append(
            f"Edges were cut in windows of {several(found.window or 1, 'layer')} "
            "around each layer, and in each third as a whole, from every position that "
            "produces a token of the answer (as in Geva et al. 2023, "
            f"arXiv:2304.14767). Tokens of {several(found.num_traced, 'prompt')} were "
            "traced with noise on the subject; prompts on which it takes less than .05 "
            "of the answer's probability say nothing of causes."
        )
    return Section(
        anchor="method",
        title="Method",
        nodes=[Paragraph(text=text) for text in texts],
    )
