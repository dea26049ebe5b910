"""What is a model still good for, as the page on an evaluation shows it?"""

from collections.abc import Iterator, Mapping

from driftmap.render.page import (
    Facts,
    Grid,
    Node,
    Page,
    Paragraph,
    Section,
    Terms,
)
from driftmap.render.wording import (
    interval,
    number,
    percent,
    short_name,
)
from driftmap.results.statistics import Interval
from driftmap.results.usefulness import TaskChange, TaskScore, Usefulness

METHOD = (
    (
        "Score",
        "Mean over the items that were read. `acc` is the share of items whose right "
        "choice is the likeliest; its 95 % interval is Wilson's, that of any other "
        "metric Student's. `chance` is what guessing gives.",
    ),
    (
        "Mean",
        "Each task counts once, however many items it has. Its standard error is the "
        "root of the tasks' summed squared errors, over their number.",
    ),
    (
        "Differences",
        "Taken item by item, so that what is hard for both models cancels: mean "
        "difference with Student's 95 % interval over items, and McNemar's exact test "
        "on the items that changed, corrected for all tasks of this page (Benjamini "
        "and Hochberg).",
    ),
    (
        "Perplexity",
        "exp(mean negative log-likelihood per predicted token) over windows that do "
        "not overlap; the first token of a window is not predicted and the tail that "
        "fills no window is dropped. It compares only at the same window and with the "
        "same tokenizer; bits per byte compare across tokenizers. Intervals are "
        "Student's over windows.",
    ),
)


def utility_sections(found: Usefulness) -> list[Section]:
    """Scores on tasks and perplexity, each with its error; nothing where none was read.

    Args:
        found: The numbers.
    """
    nodes = [*_task_nodes(found), *_text_nodes(found)]
    if not nodes:
        return []
    return [
        Section(
            anchor="utility",
            title="What the model is still good for",
            nodes=[*nodes, Terms(pairs=METHOD)],
        )
    ]


def utility_sentence(found: Usefulness) -> str:
    """What each model is good for, in one sentence per model.

    Args:
        found: The numbers.
    """
    return " ".join(
        f"Utility of `{short_name(name)}`: {'; '.join(said)}."
        for model, name in sorted(found.models.items(), reverse=True)  # this one first
        if (said := [*_said_of_tasks(found, model), *_said_of_texts(found, model)])
    )


def utility_page(found: Usefulness, settings: Mapping[str, str]) -> Page:
    """Build the report on an evaluation of utility alone."""
    name = short_name(found.models["this"])
    other = found.models.get("compared")
    beside = f", beside `{short_name(other)}`" if other else ""
    return Page(
        title="What is the model good for?",
        lead=f"`{name}`{beside}: tasks and perplexity. Refusal was not asked for; name "
        "requests with `--refusal-prompts`.",
        sections=[
            *utility_sections(found),
            Section(
                anchor="settings",
                title="Settings and versions",
                nodes=[Facts(pairs=sorted(settings.items()))],
            ),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `tables/` holds every item and window, `usefulness.json` every number.",
    )


def _said_of_tasks(found: Usefulness, model: str) -> Iterator[str]:
    means = [one for one in found.means if one.model == model]
    for one in means:
        error = _error(one.standard_error)
        yield (
            f"{percent(one.mean)} on {one.num_tasks} tasks (standard error {error} "
            "points)"
        )
    for one in found.scores if not means else ():
        if one.model == model:
            yield f"{_share(one.score)} on `{one.task}`"


def _said_of_texts(found: Usefulness, model: str) -> Iterator[str]:
    for one in found.perplexities:
        if one.model == model:
            yield f"perplexity {number(one.perplexity)} on `{one.text}`"


def _task_nodes(found: Usefulness) -> Iterator[Node]:
    if not found.scores:
        return
    yield Paragraph(text=_what_was_read(found))
    yield _score_grid(found)
    if found.changes:
        yield _change_grid(found)


def _what_was_read(found: Usefulness) -> str:
    num_cut = sum(one.score.num < one.num_available for one in found.scores)
    if found.limit is None or not num_cut:
        how_many = "All items of each task were read"
    else:
        how_many = (
            f"The first {found.limit} items of each task were read (--limit), so "
            "scores compare only with those of the same limit"
        )
    return f"{how_many}, by {found.read_by}."


def _score_grid(found: Usefulness) -> Grid:
    rows = [_score_row(found, one) for one in found.scores]
    rows += [
        (
            short_name(found.models[mean.model]),
            f"mean of {mean.num_tasks} tasks",
            "", "", "",
            percent(mean.mean),
            _error(mean.standard_error),
            "",
        )
        for mean in found.means
    ]  # fmt: skip
    return Grid(
        caption="Score on each task with its 95 % interval, standard error in "
        "percentage points, and what guessing gives.",
        columns=(
            "model", "task", "metric", "shots", "items", "score", "standard error",
            "chance",
        ),
        rows=rows,
        align_right=frozenset({3, 4, 5, 6, 7}),
    )  # fmt: skip


def _score_row(found: Usefulness, one: TaskScore) -> tuple[str, ...]:
    is_whole = one.score.num == one.num_available
    items = f"{one.score.num:,}"
    return (
        short_name(found.models[one.model]),
        f"`{one.task}`",
        one.metric,
        str(one.num_shots),
        items if is_whole else f"{items} of {one.num_available:,}",
        _share(one.score),
        _error(one.standard_error),
        "not known" if one.chance is None else percent(one.chance),
    )


def _change_grid(found: Usefulness) -> Grid:
    other = short_name(found.models["compared"])
    return Grid(
        caption=f"`{short_name(found.models['this'])}` minus `{other}`, on the same "
        "items. The null is that a changed item goes either way with probability one "
        "half.",
        columns=("task", "items", "gained", "lost", "change", "standard error", "p",
                 "p corrected"),
        rows=[_change_row(one) for one in found.changes],
        align_right=frozenset(range(1, 8)),
    )  # fmt: skip


def _change_row(one: TaskChange) -> tuple[str, ...]:
    def counted(value: int | None) -> str:
        return "" if value is None else f"{value:,}"

    return (
        f"`{one.task}`",
        f"{one.num_items:,}",
        counted(one.num_gained),
        counted(one.num_lost),
        _change_of_score(one),
        _error(one.standard_error),
        number(one.p_value),
        number(one.p_adjusted),
    )


def _change_of_score(one: TaskChange) -> str:
    if one.num_gained == one.num_lost == 0:
        return "none on any item"  # an interval of no width would claim certainty
    return "not known" if one.change is None else _points(one.change)


def _text_nodes(found: Usefulness) -> Iterator[Node]:
    if not found.perplexities:
        return
    yield Grid(
        caption="Perplexity with its 95 % interval over windows. Lower is better.",
        columns=("model", "text", "window", "windows", "predicted tokens",
                 "dropped tokens", "perplexity", "bits per byte"),
        rows=[
            (
                short_name(found.models[one.model]),
                f"`{one.text}`",
                f"{one.window:,}",
                f"{one.num_windows:,}",
                f"{one.num_predicted:,}",
                f"{one.num_dropped:,}",
                number(one.perplexity)
                if one.interval is None
                else interval(one.interval),
                number(one.bits_per_byte),
            )
            for one in found.perplexities
        ],
        align_right=frozenset(range(2, 8)),
    )  # fmt: skip
    yield from _ratio_nodes(found)


def _ratio_nodes(found: Usefulness) -> Iterator[Node]:
    if found.ratios:
        yield Grid(
            caption="Perplexity of this model over that of the compared one, window by "
            "window; above 1, this model foresees the text worse. The null is 1.",
            columns=("text", "ratio"),
            rows=[
                (
                    f"`{one.text}`",
                    number(one.ratio)
                    if one.interval is None
                    else interval(one.interval),
                )
                for one in found.ratios
            ],
            align_right=frozenset({1}),
        )
    elif _are_two(found):
        yield Paragraph(
            text="The two models do not read the same texts in the same tokens, so "
            "only bits per byte of the same text compare."
        )


def _are_two(found: Usefulness) -> bool:
    return len({one.model for one in found.perplexities}) > 1


def _share(value: Interval) -> str:
    """A score with its interval; one that is no share stays as it is."""
    if not 0 <= value.estimate <= 1:
        return interval(value)
    middle, low, high = (100 * v for v in (value.estimate, value.low, value.high))
    return f"{middle:.1f} % ({low:.1f} to {high:.1f})"


def _points(value: Interval) -> str:
    """A difference of scores, in points of a hundred."""
    middle, low, high = (100 * v for v in (value.estimate, value.low, value.high))
    return f"{middle:+.1f} points ({low:+.1f} to {high:+.1f})"


def _error(value: float | None) -> str:
    """A standard error of a share, in percentage points."""
    return "not known" if value is None else f"{100 * value:.2g}"
