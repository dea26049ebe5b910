"""Which few tensors say the same as all of them?"""

from collections.abc import Iterator

from driftmap.render.charts import Line, Lines
from driftmap.render.page import (
    Facts,
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Row,
    Section,
)
from driftmap.render.similarity_words import (
    NONE,
    leading,
    several,
    slug,
    titled,
)
from driftmap.render.wording import number, percent
from driftmap.results.retrieval import SetStudy
from driftmap.results.selection import (
    SelectionGoal,
    SelectionPath,
    SelectionScore,
    SelectionStep,
)
from driftmap.results.similarity_study import MeasureStudy, SimilarityStudy

GOALS: dict[SelectionGoal, str] = {
    "agreement": "Few tensors that say what the full gradient says",
    "accuracy": "Few tensors that find the original",
}
UNITS: dict[SelectionGoal, str] = {
    "agreement": "agreement with full (cosine)",
    "accuracy": "right one first (share)",
}
SHORT: dict[SelectionGoal, str] = {
    "agreement": "to agree with full",
    "accuracy": "to find the original",
}
INTRODUCTION = (
    "Tensors are taken one at a time, each time the one that helps most: greedy "
    "forward selection. The first goal is to rank pairs as the full gradient does, the "
    "second to find the original, which can do better than all tensors together. What "
    "is chosen on one half of the ids is judged on the other."
)


def selection_section(study: SimilarityStudy) -> Iterator[Section]:
    """Greedy curves with what they spend, and random projection beside them."""
    measure = leading(study)
    sets = [of for of in measure.study.sets if of.selections]
    if not sets:
        return
    nodes: list[Node] = [Paragraph(text=INTRODUCTION)]
    for of in sets:
        paths = [path for path in of.selections if path.steps]
        if paths:
            nodes.append(Row(figures=[_figure(measure, of, path) for path in paths]))
        for path in paths:
            nodes += _path(measure, of, path)
    yield Section(anchor="selection", title="A few tensors instead of all", nodes=nodes)


def _path(measure: MeasureStudy, of: SetStudy, path: SelectionPath) -> Iterator[Node]:
    smallest = path.steps[max(0, path.num_smallest - 1)]
    pairs = [
        (
            f"{SHORT[path.goal]}: smallest set within one standard error of the best",
            f"{several(path.num_smallest, 'tensor')} of {len(measure.study.tensors)}"
            + _share(smallest),
        ),
        ("its score, other half", _score(path.goal, smallest.reported_on)),
        ("full, other half", _score(path.goal, path.full.reported_on)),
    ]
    pairs += [
        (
            f"tensors to agree to {mark.agreement:g}",
            "not reached" if mark.num_steps is None else f"{mark.num_steps}",
        )
        for mark in path.num_to_reach
    ]
    pairs += [
        (
            f"random projection, {point.num_stored:,} numbers, other half",
            _score(path.goal, point.reported_on),
        )
        for point in of.projections
    ]
    yield Facts(pairs=pairs)
    yield Folded(
        summary=titled(f"Every step: {GOALS[path.goal].lower()}", of,
                       len(measure.study.sets)),
        nodes=[_grid(of, path)],
    )  # fmt: skip


def _figure(measure: MeasureStudy, of: SetStudy, path: SelectionPath) -> Figure:
    by_share = all(step.share_of_weights for step in path.steps)
    x = [_place(step, n, by_share=by_share) for n, step in enumerate(path.steps)]
    lines = [
        Line(
            name="chosen on this half", x=x, role="random",
            y=[_value(path.goal, step.chosen_on) for step in path.steps],
        ),
        Line(
            name="other half", x=x, role="difference",
            y=[_value(path.goal, step.reported_on) for step in path.steps],
        ),
    ]  # fmt: skip
    full = _value(path.goal, path.full.reported_on)
    shares = [p.share_of_weights for p in of.projections if p.share_of_weights]
    ends = [min([*x, *shares]), max([*x, *shares])] if by_share else [x[0], x[-1]]
    lines.append(Line(name="full, other half", x=ends, y=[full] * 2, role="matched"))
    for point in of.projections:
        value = _value(path.goal, point.reported_on)
        # Without the number of weights, all that can be drawn of it is its height.
        at = [point.share_of_weights] if by_share and point.share_of_weights else ends
        lines.append(Line(name=f"projection: {point.name}", x=at, y=[value] * len(at)))
    spent = "share of all weights (log scale)" if by_share else "tensors chosen (count)"
    drawn = by_share and len(of.projections) > 0
    beside = " A random projection stands at as many numbers as it stores." * drawn
    return Figure(
        name=slug("selection", path.goal, of.name),
        title=titled(GOALS[path.goal], of, len(measure.study.sets)),
        reading=f"Left is cheap, up is good. {of.num_chosen_on:,} ids to choose on, "
        f"{of.num_reported_on:,} to judge on.{beside}",
        chart=Lines(
            x_title=spent, y_title=UNITS[path.goal], lines=lines, is_log_x=by_share
        ),
    )


def _grid(of: SetStudy, path: SelectionPath) -> Grid:
    return Grid(
        caption="Scores are of all tensors up to that step, joined. `smallest` marks "
        "the smallest set within one standard error "
        f"({number(path.standard_error)}) of the best, which has {path.num_best} "
        f"tensors; `tied` counts tensors that were as good at that step. "
        f"{of.num_reported_on:,} ids to judge on.",
        columns=("step", "tensor", "share of weights", "chosen on", "other half",
                 "tied", ""),
        rows=[
            (
                f"{n}",
                f"`{step.name}`",
                NONE
                if step.share_of_weights is None
                else percent(step.share_of_weights),
                _score(path.goal, step.chosen_on),
                _score(path.goal, step.reported_on),
                "" if step.num_tied == 1 else f"{step.num_tied}",
                "smallest" if n == path.num_smallest else "",
            )
            for n, step in enumerate(path.steps, 1)
        ],
        align_right=frozenset({0, 2, 3, 4, 5}),
    )  # fmt: skip


def _share(step: SelectionStep) -> str:
    if step.share_of_weights is None:
        return ""
    return f", {percent(step.share_of_weights)} of the weights"


def _place(step: SelectionStep, number_before: int, *, by_share: bool) -> float:
    if by_share and step.share_of_weights is not None:
        return step.share_of_weights
    return float(number_before + 1)


def _value(goal: SelectionGoal, score: SelectionScore) -> float:
    if goal == "accuracy":
        return score.accuracy
    return float("nan") if score.agreement is None else score.agreement


def _score(goal: SelectionGoal, score: SelectionScore) -> str:
    value = _value(goal, score)
    return percent(value) if goal == "accuracy" else number(value)
