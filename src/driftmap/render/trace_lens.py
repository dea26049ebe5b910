"""When does the answer appear in what the model's own head reads from each block?"""

from collections.abc import Iterator

from driftmap.core.quoted import quoted
from driftmap.render.bands import banded
from driftmap.render.charts import Line, Lines
from driftmap.render.page import Choices, Figure, Node, Paragraph, Picker, Section
from driftmap.render.token_charts import TokenMap
from driftmap.results.statistics import Interval
from driftmap.results.trace_study import LensView, TracedFact, TraceFindings

DESCRIPTION = (
    "A description, not an effect: nothing is changed here. After each block the "
    "model's own final norm and head read its output, as if the model ended there. A "
    "layer that shows the answer late may still have decided it earlier, in a form "
    "that the head does not read."
)


def lens_sections(found: TraceFindings) -> Iterator[Section]:
    """The answer along depth over facts, and token by token in single prompts."""
    nodes: list[Node] = []
    if found.lens:
        nodes.append(_lines(found))
    views = [fact for fact in found.shown if fact.lens is not None]
    if views:
        nodes.append(_map(views[0]))
        nodes += _pickers(views)
    if nodes:
        opening = Paragraph(text=DESCRIPTION)
        yield Section(
            anchor="lens", title="What the head reads", nodes=[opening, *nodes]
        )


def _lines(found: TraceFindings) -> Figure:
    layers = found.lens
    lines = [
        _line(found, "probability of the answer", [a.probability for a in layers], "q"),
        _line(found, "answer is first choice", [a.first_choice for a in layers], "up"),
    ]
    foils = [one.foil_probability for one in layers if one.foil_probability is not None]
    if len(foils) == len(layers):
        lines.append(_line(found, "probability of the foil", foils, "random"))
    return Figure(
        name="lens",
        title="The answer at the last token of the prompt, block by block",
        reading=f"Mean over {layers[0].probability.num:,} facts. Bands: 95 % intervals "
        "over subjects. What chance gives: one in the size of the vocabulary. What it "
        "does not show: what the model does with the state afterwards.",
        chart=Lines(
            x_title="layer", y_title="share or probability", lines=lines,
            y_ends=(0.0, 1.0),
        ),
    )  # fmt: skip


def _line(found: TraceFindings, name: str, values: list[Interval], role: str) -> Line:
    return banded(name, [one.layer for one in found.lens], values, role)


def _map(fact: TracedFact) -> Figure:
    assert fact.lens is not None
    return Figure(
        name="lens-map",
        title=f"{quoted(fact.prompt)}: probability of `{_answer(fact.lens)}` after "
        "each block",
        reading="Each row is what the head would say after that token if the model "
        "ended at that layer. Only the last row is asked for the answer.",
        chart=_chart(fact.lens),
    )


def _pickers(views: list[TracedFact]) -> Iterator[Picker]:
    if len(views) < 2:
        return
    lenses = [fact.lens for fact in views if fact.lens is not None]
    yield Picker(
        name="lens-any",
        title=f"The same for any of {len(views)} prompts",
        reading=DESCRIPTION,
        choices=[
            Choices(name="prompt", options=[quoted(fact.prompt) for fact in views])
        ],
        charts=[_chart(lens) for lens in lenses],
        notes=[_note(lens) for lens in lenses],
        first=1,
    )


def _chart(lens: LensView) -> TokenMap:
    return TokenMap(
        tokens=lens.tokens,
        x_labels=[str(layer) for layer in range(lens.probability.shape[1])],
        x_title="layer",
        values=lens.probability.tolist(),
        value_title="probability",
        hue="weight",
        ends=(0.0, 1.0),
    )


def _note(lens: LensView) -> str:
    """From which layer on the answer is the first choice, at the last token."""
    first = lens.rank[-1] == 0
    if not first[-1]:
        return f"`{_answer(lens)}` is not the model's first choice."
    others = (~first).nonzero()[0]
    since = int(others[-1]) + 1 if len(others) else 0
    return f"`{_answer(lens)}` is the first choice from layer {since} on."


def _answer(lens: LensView) -> str:
    return quoted(lens.answer.strip(), 30)
