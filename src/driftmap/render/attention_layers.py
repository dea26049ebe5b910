"""What does each layer and each head look at, averaged over prompts?"""

from collections.abc import Iterator
from math import nan

from driftmap.render.attention_words import (
    CRITERIA_WORDS,
    IS_EFFECT,
    UNITS,
    main_query,
    query_words,
    several,
)
from driftmap.render.bands import banded
from driftmap.render.charts import Lines
from driftmap.render.page import Choices, Figure, Node, Picker, Section
from driftmap.render.token_charts import TokenMap
from driftmap.results.attention import CRITERIA, Criterion, QueryFindings
from driftmap.results.attention_study import AttentionFindings

READINGS: dict[Criterion, str] = {
    "loss": "What was changed: edges to the subject were cut in a window of layers. "
    "What chance gives: other layers, since no other edges stand beside it here. What "
    "it does not show: other paths by which the subject reaches the answer.",
    "knock-out": "What was changed: edges to the subject, and beside it edges to as "
    "many other tokens, were cut in a window of layers. What chance gives: 0, where "
    "edges to the subject matter as much as others. What it does not show: other paths "
    "by which the subject reaches the answer.",
    "agreement": "Nothing was changed in the attention itself: its row is ranked "
    "beside what each token causes. What chance gives: 0. What it does not show: that "
    "the head carries what it looks at.",
}
DESCRIBED = (
    "Nothing was changed. What it does not show: that the answer depends on any of it."
)


def layer_section(found: AttentionFindings) -> Section:
    """Every criterion by layer, and all heads."""
    query = main_query(found)
    nodes: list[Node] = [*_lines(found, query)]
    nodes.append(_heads(found))
    return Section(anchor="layers", title="Layers and heads", nodes=nodes)


def _lines(found: AttentionFindings, query: QueryFindings) -> Iterator[Figure]:
    for name in CRITERIA:
        own = [one for one in query.layers if one.criterion == name]
        if not own:
            continue
        window = f", {several(found.window or 1, 'layer')} at once"
        yield Figure(
            name=f"attention-{name.replace(' ', '-')}",
            title=f"{CRITERIA_WORDS[name].capitalize()} by layer, mean of "
            f"{several(max(one.value.num for one in own), 'prompt')}"
            + (window if name in IS_EFFECT else ""),
            reading=READINGS.get(name, DESCRIBED),
            chart=Lines(
                x_title="layer",
                y_title=f"{CRITERIA_WORDS[name]} ({UNITS[name]})",
                lines=[
                    banded(
                        query.query.name,
                        [one.layer for one in own],
                        [one.value for one in own],
                        "attention",
                    )
                ],
                y_from_zero=name != "agreement",
            ),
        )


def _heads(found: AttentionFindings) -> Picker:
    """Layers by heads, for each kind of row and each number."""
    measures = ("weight on the first token", "weight on the subject", "sharpness")
    return Picker(
        name="attention-heads",
        title=f"All heads, mean of {several(found.num_read, 'prompt')}",
        reading="Layers downwards, heads across. The weight on the subject is without "
        "the first token, renormalised, minus that on the control span; it is empty "
        f"without a subject. {DESCRIBED}",
        choices=[
            Choices(name="row", options=[query_words(q.query) for q in found.queries]),
            Choices(name="shown", options=measures),
        ],
        charts=[
            _head_map(found, query, measure)
            for query in found.queries
            for measure in measures
        ],
        first=1,
    )


def _head_map(found: AttentionFindings, query: QueryFindings, measure: str) -> TokenMap:
    most = max(place.num_heads for place in found.places)
    values = [[nan] * most for _ in found.places]
    for one in query.heads:
        own = {
            "weight on the first token": one.first_mass,
            "weight on the subject": one.subject_mass,
            "sharpness": one.sharpness,
        }[measure]
        values[one.place][one.head] = nan if own is None else own
    is_signed = measure == "weight on the subject"
    return TokenMap(
        tokens=[str(place.layer) for place in found.places],
        x_labels=[str(head) for head in range(most)],
        x_title="head",
        y_title="layer",
        values=values,
        value_title="share" if measure != "sharpness" else measure,
        hue="difference" if is_signed else "weight",
        ends=None if is_signed else (0.0, 1.0),
    )
