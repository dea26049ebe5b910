"""What do drift logs that another program wrote say? The page on them."""

from collections.abc import Sequence

from driftmap.render.logs_answer import logs_answer_section
from driftmap.render.logs_metrics import logs_metric_section
from driftmap.render.logs_source import source_sections
from driftmap.render.logs_words import logs_words_section
from driftmap.render.page import (
    Callout,
    Facts,
    Folded,
    Grid,
    Page,
    Paragraph,
    Section,
    Terms,
)
from driftmap.render.wording import short_name
from driftmap.results.drift_logs import ComparisonCheck, LogsStudy

METHOD = (
    (
        "What is read",
        "Per step, metric and group: mean, standard deviation, least, quartiles, "
        "greatest and count. No model, no data and no weight is read.",
    ),
    (
        "What they count",
        "In the published convention all matrices are pooled, weights that nothing "
        "tuned count as 0, a relative change is 0 where |W| is at most 1e-8, and an "
        "empty group is all zeros. Changes are per weight; cosines and distances per "
        "row, over the group's weights in it. Logs of another program may differ.",
    ),
    (
        "Cohen's d",
        "(mean of the group - mean of the baseline) / sqrt((variance of the group + "
        "variance of the baseline) / 2), variances with ddof 0. Undefined where "
        "neither group varies or one is empty.",
    ),
)


def logs_page(study: LogsStudy) -> Page:
    """Build the report on drift logs."""
    found = study.statistics
    steps, source = found.steps, short_name(study.source)
    span = " to ".join(str(step) for step in sorted({min(steps), max(steps)}))
    return Page(
        title="How far did groups of weights drift, by the logs alone?",
        lead=f"Drift logs of `{source}`: {_counted(len(steps), 'training step')} "
        f"({span}), {_counted(len(found.metrics), 'metric')} and "
        f"{_counted(len(found.groups), 'group')} of weights, as another program "
        "summed them up.",
        sections=[
            logs_answer_section(study),
            logs_words_section(found.groups),
            *(
                logs_metric_section(study, place, metric)
                for place, metric in enumerate(found.metrics, 1)
            ),
            _check_section(found.checks),
            *source_sections(study),
            _method_section(study),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `figures/` holds its charts as PNG and SVG, `tables/` and "
        "`statistics.json` every number. `driftmap report RUN` draws it again.",
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _check_section(checks: Sequence[ComparisonCheck]) -> Section:
    title = "Against the published comparisons"
    if not checks:
        text = (
            "No `statistical_results.json` lies beside the logs, so there is no "
            "published Cohen's d to compare with."
        )
        return Section(anchor="check", title=title, nodes=[Paragraph(text=text)])
    differ = [check for check in checks if not check.agrees]
    steps = sorted({check.step for check in checks if check.step is not None})
    places = " and ".join(f"step {step}" for step in steps) or "no step"
    agree = (
        f"All {len(checks)} values of Cohen's d in it follow from these logs."
        if not differ
        else f"{len(differ)} of its {len(checks)} values of Cohen's d do not follow."
    )
    return Section(
        anchor="check",
        title=title,
        nodes=[
            Callout(
                kind="caution" if differ else "note",
                title="It disagrees" if differ else "It agrees",
                texts=[
                    "`statistical_results.json` repeats the means and deviations of "
                    f"{places}. {agree}"
                ],
            ),
            _check_grid(checks),
        ],
    )


def _check_grid(checks: Sequence[ComparisonCheck]) -> Grid:
    return Grid(
        caption="Cohen's d as the file has it, and as it follows from means and "
        "deviations: of the step whose numbers the file repeats, or of its own "
        "numbers where no step has those.",
        columns=("metric", "group", "against", "step", "in the file", "here", "agrees"),
        rows=[
            (
                f"`{c.metric}`", f"`{c.group}`", f"`{c.baseline}`",
                "none" if c.step is None else str(c.step),
                f"{c.published:.6g}",
                "undefined" if c.computed is None else f"{c.computed:.6g}",
                "yes" if c.agrees else "no",
            )
            for c in checks
        ],
        align_right=frozenset({3, 4, 5}),
    )  # fmt: skip


def _method_section(study: LogsStudy) -> Section:
    files = Facts(pairs=sorted((n, d[:16]) for n, d in study.statistics.sha256.items()))
    return Section(
        anchor="method",
        title="How it was read",
        nodes=[
            Terms(pairs=METHOD),
            Facts(pairs=[("logs", study.source)]),
            Folded(summary="Files that were read, with their sha256", nodes=[files]),
        ],
    )
