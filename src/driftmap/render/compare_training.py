"""When did behaviour change, and when did the weights move? Curves over checkpoints."""

from collections.abc import Iterator, Sequence

from driftmap.render.bands import banded
from driftmap.render.charts import Line, Lines, Mosaic
from driftmap.render.page import (
    Callout,
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Row,
    Section,
)
from driftmap.render.wording import number
from driftmap.results.over_training import Course, OverTraining, Quantity
from driftmap.results.statistics import Interval
from driftmap.stats.claims.training import WORDS, training_claims

STEP = "training step"
SHARES: tuple[Quantity, ...] = ("refusal", "over-refusal", "accuracy", "foil first")
NATS: tuple[Quantity, ...] = ("answer nll", "foil nll", "surprise")
EXPLAINED = (
    "Both weights and behaviour are put on one scale: the share of their final change "
    "that each checkpoint has reached. The step at which a curve first passes one half "
    "is read off a straight line between checkpoints, so that it is known no better "
    "than these lie apart. Intervals draw probes anew, each with all its checkpoints. "
    "That one came first does not make it the cause of the other."
)


def training_section(found: OverTraining) -> Section:
    """The page's section on checkpoints."""
    claims = training_claims(found)
    nodes: list[Node] = [
        Callout(
            kind="note",
            title="When did it change?",
            texts=[claim.says for claim in claims],
        ),
        Paragraph(text=EXPLAINED),
    ]
    if found.weight_half is not None:
        nodes += [_shares(found), _halves(found)]
    nodes.append(_drift(found))
    nodes += _levels(found)
    nodes.append(
        Folded(summary="Every quantity at every checkpoint", nodes=[_every(found)])
    )
    return Section(anchor="training", title="Over training", nodes=nodes)


def _shares(found: OverTraining) -> Figure:
    steps = found.readings.steps
    lines = [Line(name="weights", x=steps, y=found.weight_shares, role="matched")]
    lines += [
        banded(WORDS[one.quantity], steps, one.shares)
        for one in found.courses
        if one.shares
    ]
    return Figure(
        name="training_shares",
        title="How much of the final change is there, step by step",
        reading="0 is the base, 1 the last checkpoint. A line of behaviour below that "
        "of the weights says that the weights moved first. Band: 95 % over probes. "
        "Only changes that can be told from none have a line.",
        chart=Lines(x_title=STEP, y_title="share of the final change", lines=lines),
    )


def _halves(found: OverTraining) -> Grid:
    rows = [
        [
            WORDS[one.quantity],
            _cell(one.levels[0].value),
            _cell(one.levels[-1].value),
            _signed(one.change),
            "yes" if one.is_settled else "no",
            _step(one.half),
            _step(one.lag, signed=True),
        ]
        for one in found.courses
    ]
    half = found.weight_half or 0.0
    return Grid(
        caption=f"The weights had moved half their way by step {half:.0f}. Changes and "
        "distances to that step at a level corrected for the number of quantities",
        columns=[
            "quantity", "base", "last checkpoint", "change", "told from none",
            "half at step", "steps after the weights",
        ],
        rows=rows,
        align_right=frozenset((1, 2, 3, 5, 6)),
    )  # fmt: skip


def _drift(found: OverTraining) -> Figure:
    read = found.readings
    return Figure(
        name="training_drift",
        title="How far each layer moved",
        reading="|dW| / |W| over all matrices of a layer, at each checkpoint. How far "
        "weights move does not say what they do.",
        chart=Mosaic(
            x_labels=[f"{step:,}" for step in read.steps],
            y_labels=[f"layer {layer}" for layer in read.layers],
            x_title=STEP,
            y_title="",
            values=read.drift.T.tolist(),
            value_title="|dW| / |W|",
        ),
    )


def _levels(found: OverTraining) -> Iterator[Node]:
    titles = (
        ("training_rates", "Rates", "share of probes", SHARES),
        ("training_nats", "Surprise", "nats per token", NATS),
        ("training_kl", "Distance from the base on texts", "KL (nats per token)",
         ("kl",)),
    )  # fmt: skip
    figures = [
        Figure(
            name=name,
            title=title,
            reading="Mean over probes at each checkpoint; step 0 is the base. Band: "
            "95 % interval over probes.",
            chart=Lines(
                x_title=STEP,
                y_title=unit,
                lines=[_line(one) for one in chosen],
                y_from_zero=True,
            ),
        )
        for name, title, unit, names in titles
        if (chosen := [one for one in found.courses if one.quantity in names])
    ]
    if figures:
        yield Row(figures=figures)


def _line(one: Course) -> Line:
    steps = [level.step for level in one.levels]
    return banded(WORDS[one.quantity], steps, [level.value for level in one.levels])


def _every(found: OverTraining) -> Grid:
    columns = ["step", *(WORDS[one.quantity] for one in found.courses)]
    rows: list[Sequence[str]] = [
        [f"{step:,}", *(_cell(one.levels[at].value) for one in found.courses)]
        for at, step in enumerate(found.readings.steps)
    ]
    return Grid(
        caption="Means with 95 % intervals over probes; surprise and divergence in "
        "nats per token, the rest shares",
        columns=columns,
        rows=rows,
        align_right=frozenset(range(len(columns))),
    )


def _cell(value: Interval) -> str:
    return f"{number(value.estimate)} ({number(value.low)} to {number(value.high)})"


def _signed(value: Interval) -> str:
    return f"{value.estimate:+.3g} ({value.low:+.3g} to {value.high:+.3g})"


def _step(value: Interval | None, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    sign = "+" if signed else ""
    low, high = f"{value.low:{sign}.0f}", f"{value.high:{sign}.0f}"
    return f"{value.estimate:{sign}.0f} ({low} to {high})"
