"""What can drift logs say at all, and what do these say? The top of their page."""

from collections.abc import Iterator

from driftmap.render.logs_words import (
    ABSOLUTE,
    cohens_d,
    logged_metric_words,
    ratio_makes_sense,
)
from driftmap.render.page import Callout, Grid, Node, Paragraph, Section
from driftmap.render.wording import number, ratio
from driftmap.results.drift_logs import LogsStudy
from driftmap.results.table import Table

NO_NULL = (
    "Drift logs hold summaries: the mean and spread of each group, not its weights. "
    "What chance alone gives cannot be computed from summaries: it takes every weight "
    "of the group, weights of the same size outside it, and several training runs. So "
    "the numbers below describe what was logged, and none of them says that a "
    "difference is more than chance.",
    "What would: the adapters of the checkpoints. `driftmap drift --checkpoints RUN`, "
    "given once per training run (3 or more), with the model and its data, compares "
    "each group with weights of its own size, tests the difference and ends in a "
    "verdict.",
)

TITLES = {
    "half-precision": "These changes look read from 16-bit weights",
    "immobile": "Most weights did not move at all",
    "relative": "Relative change does not compare these groups",
}


def logs_answer_section(study: LogsStudy) -> Section:
    """No test and no verdict, and why; then the main numbers and what is odd."""
    found = study.statistics
    return Section(
        anchor="answer",
        title="What these logs can say",
        nodes=[
            Callout(
                kind="verdict", title="No test, no p-value, no verdict", texts=NO_NULL
            ),
            *_headline(study),
            *logs_cautions(study, "half-precision", "immobile"),
            *(
                [
                    Callout(
                        kind="note",
                        title="What the logs leave out",
                        texts=[f"{gap}." for gap in found.gaps],
                    )
                ]
                if found.gaps
                else []
            ),
        ],
    )


def logs_cautions(study: LogsStudy, *names: str) -> Iterator[Callout]:
    """The cautions of some names, as boxes."""
    for caution in study.statistics.cautions:
        if caution.name in names:
            yield Callout(
                kind="blocking" if caution.is_blocking else "caution",
                title=TITLES[caution.name],
                texts=[caution.sentence],
            )


def last_of(table: Table) -> Table:
    """Rows of the last step."""
    return table.where(step=int(table["step"].max())) if len(table) else table


def _headline(study: LogsStudy) -> Iterator[Node]:
    metrics = study.statistics.metrics
    metric = ABSOLUTE if ABSOLUTE in metrics else metrics[0]
    last = last_of(study.logs.where(metric=metric))
    effects = last_of(study.effects.where(metric=metric))
    step = int(last["step"][0])
    baselines = [str(name) for name in effects.unique("baseline")]
    words = logged_metric_words(metric)
    yield Paragraph(
        text=f"The numbers in short: {words.name}, step {step}, the last one logged. "
        f"{words.direction}"
    )
    yield Grid(
        caption="Mean of each group"
        + (", how many times that of a baseline it is" if baselines else "")
        + (", and Cohen's d with its label (description only)." if baselines else "."),
        columns=(
            "group",
            f"mean ({words.unit})",
            *(
                title
                for name in baselines
                for title in (f"times {name}", f"d against {name}")
            ),
        ),
        rows=[_row(row, effects, baselines, metric) for row in last.rows()],
        align_right=frozenset(range(1, 2 + 2 * len(baselines))),
    )


def _row(
    row: dict[str, str | int | float | bool],
    effects: Table,
    baselines: list[str],
    metric: str,
) -> list[str]:
    name, mean = str(row["group"]), float(row["mean"])
    cells = [f"`{name}`", number(mean) if row["count"] else "no weight"]
    for baseline in baselines:
        pair = effects.where(group=name, baseline=baseline)
        if not len(pair):
            cells += ["", ""]
            continue
        below = float(pair["baseline_mean"][0])
        is_ratio = ratio_makes_sense(metric) and row["count"] and below > 0
        label = str(pair["label"][0]) or str(pair["undefined"][0])
        cells += [
            (ratio(mean / below) or "0") if is_ratio else "–",
            f"{cohens_d(float(pair['cohens_d'][0]))} ({label})",
        ]
    return cells
