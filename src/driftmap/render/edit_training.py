"""What of the models was trained, what did it take, and what do they know now?"""

from collections.abc import Iterator, Sequence

from driftmap.core.units import format_bytes, format_seconds
from driftmap.render.charts import Line, Lines
from driftmap.render.page import (
    Callout,
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Section,
)
from driftmap.render.wording import interval, number, percent
from driftmap.results.edit_study import (
    EditedModel,
    EditFindings,
    EditPoint,
    TensorChange,
)
from driftmap.results.statistics import Interval

LAYERS_CAUTION = (
    "Where a trace peaks does not tell where editing works best: localisation explains "
    "almost none of the variation in edit success (Hase et al. 2023, "
    "arXiv:2301.04213). Sets of blocks were given, and are reported as they came out; "
    "none was derived from a trace."
)

OF_ROUNDED = (
    "QLoRA rounds the base's matrices to 4 bits; its adapters are not rounded. It is "
    "compared with the rounded base, which is what it was trained on."
)

MEASURES = ("efficacy", "paraphrase", "neighbourhood", "score")
"""What is weighed in every model, in this order."""


def models_section(found: EditFindings) -> Section:
    """All models of the run side by side: what they know, and what they took."""
    nodes: list[Node] = []
    if found.points:
        nodes += [Paragraph(text=which_worked(found)), _weighed(found)]
    nodes += [Paragraph(text=text) for text in _said_of_models(found)]
    nodes.append(_costs(found.models))
    if any(model.layers is not None for model in found.models):
        nodes.append(
            Callout(
                kind="caution", title="What a layer list says", texts=[LAYERS_CAUTION]
            )
        )
    nodes += [_what_trained(found.models), *_tensors(found.models)]
    return Section(anchor="training", title="What was trained", nodes=nodes)


def _weighed(found: EditFindings) -> Grid:
    measures = [
        name for name in MEASURES if any(name in point.values for point in found.points)
    ]
    return Grid(
        caption="What every model says of the facts, with 95 % intervals over facts: "
        "shares of prompts on which the wanted answer is likelier (neighbourhood: the "
        "present one), and their harmonic mean",
        columns=["model", *measures],
        rows=[
            [
                _named(point, found),
                *(_cell(point.values.get(name)) for name in measures),
            ]
            for point in found.points
        ],
        align_right=frozenset(range(1, 1 + len(measures))),
    )


def _cell(value: Interval | None) -> str:
    return "not available" if value is None else interval(value)


def _named(point: EditPoint, found: EditFindings) -> str:
    if not point.model:
        rounded = " (blocks rounded to 4 bits)" if point.base == "rounded" else ""
        return f"before tuning{rounded}"
    return next(m.in_words for m in found.models if m.name == point.model)


def which_worked(found: EditFindings) -> str:
    """Which model weighs the answers best, and which cannot be told from it."""
    scores = {
        point.model: point.values["score"]
        for point in found.points
        if point.model and "score" in point.values
    }
    if not scores:
        return (
            "Which model worked best is not said: without other wordings and "
            "neighbours there is no score."
        )
    best = max(scores, key=lambda name: scores[name].estimate)
    words = {model.name: model.in_words for model in found.models}
    alike = [
        words[name]
        for name, score in scores.items()
        if name != best and score.high >= scores[best].low
    ]
    told = (
        f"Highest score: {words[best]}, {scores[best].estimate:.0f} "
        f"({scores[best].low:.0f} to {scores[best].high:.0f}, "
        f"{scores[best].num} facts)."
    )
    if not alike:
        return f"{told} No other model's interval reaches it."
    which = "intervals" if len(alike) > 1 else "interval"
    reach = "reach" if len(alike) > 1 else "reaches"
    return (
        f"{told} The {which} of {'; '.join(alike)} {reach} it, so that which is best "
        "cannot be told."
    )


def _said_of_models(found: EditFindings) -> Iterator[str]:
    same = [model.in_words for model in found.models[1:] if model.is_identical]
    if same:
        yield (
            f"Identical with the base on every row: {'; '.join(same)}. Nothing was "
            "compared."
        )
    if any(model.tune == "qlora" for model in found.models):
        yield OF_ROUNDED


def _costs(models: Sequence[EditedModel]) -> Grid:
    kinds = {model.cost.memory for model in models}
    where = "of the machine" if kinds == {"machine"} else "of the accelerator"
    return Grid(
        caption="What was trained, counted in what trains, and what training took. "
        f"Peak memory {where} is what training added to what was in use before it; "
        "the first model's holds what libraries load, too",
        columns=[
            "model", "parameters trained", "tensors moved", "steps", "time",
            "peak memory", "loss, first to last step (nats)",
        ],
        rows=[_cost(model) for model in models],
        align_right=frozenset(range(1, 7)),
    )  # fmt: skip


def _cost(model: EditedModel) -> list[str]:
    cost = model.cost
    peak = "not available" if cost.peak_bytes is None else format_bytes(cost.peak_bytes)
    return [
        model.in_words,
        f"{cost.num_trained:,} ({percent(cost.num_trained / cost.num_total)})",
        f"{len(model.tensors):,} of {model.num_tensors:,}",
        f"{cost.num_steps:,}",
        format_seconds(cost.seconds),
        peak,
        f"{number(cost.first_loss)} to {number(cost.last_loss)}",
    ]


def _what_trained(models: Sequence[EditedModel]) -> Paragraph:
    first = models[0]
    parts = ", ".join(f"`{part}`" for part in first.parts) or "everything"
    kind = (
        "Whole tensors were trained"
        if first.tune == "full"
        else (
            f"Adapters were trained on {parts}; embeddings, norms and the head were "
            "not touched"
        )
    )
    return Paragraph(
        text=f"{first.in_words[0].upper()}{first.in_words[1:]}: {kind}. The name of a "
        "way of tuning is taken from what trains, not from what a command was called."
    )


def _tensors(models: Sequence[EditedModel]) -> list[Node]:
    nodes: list[Node] = []
    for number_, model in enumerate(models):
        if not model.tensors:
            continue
        chart = _by_layer(model.tensors)
        shown: list[Node] = []
        if chart is not None:
            shown.append(
                Figure(
                    name=f"moved_{model.name.replace('-', '_')}",
                    title=f"How far training moved the tensors of each block "
                    f"({model.in_words})",
                    reading="|dW| / |W|, Frobenius norms, mean of the part's tensors "
                    "in the block. A large change need not be one that matters.",
                    chart=chart,
                )
            )
        shown.append(_most_moved(model.tensors))
        if number_:
            nodes.append(Folded(summary=f"Tensors of {model.in_words}", nodes=shown))
        else:
            nodes += shown
    return nodes


def _by_layer(tensors: Sequence[TensorChange]) -> Lines | None:
    inside: dict[str, dict[int, list[float]]] = {}
    for one in tensors:
        if one.layer is not None:
            inside.setdefault(one.part, {}).setdefault(one.layer, []).append(
                one.relative
            )
    if not inside or max(len(by_layer) for by_layer in inside.values()) < 2:
        return None
    lines = [
        Line(
            name=part,
            x=sorted(by_layer),
            y=[sum(by_layer[n]) / len(by_layer[n]) for n in sorted(by_layer)],
            role=part,
        )
        for part, by_layer in sorted(inside.items())
    ]
    return Lines(
        x_title="block", y_title="|dW| / |W| (ratio)", lines=lines, y_from_zero=True
    )


def _most_moved(tensors: Sequence[TensorChange]) -> Folded:
    rows = [
        [one.name, "–" if one.layer is None else str(one.layer), number(one.relative)]
        for one in tensors[:20]
    ]
    more = f", the first 20 of {len(tensors)}" if len(tensors) > 20 else ""
    grid = Grid(
        caption=f"Tensors by how far they moved{more}",
        columns=["tensor", "block", "|dW| / |W|"],
        rows=rows,
        align_right=frozenset((1, 2)),
    )
    return Folded(summary="Tensor by tensor", nodes=[grid])
