"""What did many runs find? A page that lists them and lays them side by side."""

from collections import Counter
from collections.abc import Iterator, Sequence

from driftmap.core.units import format_bytes
from driftmap.render.columns import Column, Columns, Listing
from driftmap.render.page import Page, Paragraph, Section
from driftmap.render.wording import short_name
from driftmap.results.run_index import RunSummary

_MISSING = "–"


def index_page(runs: Sequence[RunSummary]) -> Page:
    """Build the page over some runs.

    Args:
        runs: In the order in which they are listed.
    """
    return Page(
        title="What did these runs find?",
        lead=_lead(runs),
        sections=[_listed(runs), *_side_by_side(runs)],
        footer="Made by driftmap from the folders of the runs alone. Their reports "
        "hold the numbers, and what to doubt in them.",
    )


def _lead(runs: Sequence[RunSummary]) -> str:
    states = Counter(run.state for run in runs)
    counted = ", ".join(f"{num} {state}" for state, num in states.most_common())
    return f"{_several(len(runs), 'run')}: {counted}."


def _listed(runs: Sequence[RunSummary]) -> Section:
    return Section(
        anchor="runs",
        title="Runs",
        nodes=[
            Listing(
                caption="Every run that was found; its name leads to its report.",
                columns=[
                    "run", "kind", "what it found", "model",
                    "last worked on (UTC)", "state", "size",
                ],
                rows=[_row(run) for run in runs],
                addresses=[run.report for run in runs],
                align_right=frozenset({6}),
            )
        ],
    )  # fmt: skip


def _row(run: RunSummary) -> list[str]:
    return [
        run.name,
        run.kind,
        _plain(run.verdict) or run.title or _MISSING,
        short_name(run.model) if run.model else _MISSING,
        run.date,
        _state(run),
        format_bytes(run.num_bytes),
    ]


def _state(run: RunSummary) -> str:
    if run.state == "interrupted":
        return f"interrupted {run.stage}"
    return f"{run.state}: {run.stage}" if run.stage else run.state


def _side_by_side(runs: Sequence[RunSummary]) -> Iterator[Section]:
    kinds = dict.fromkeys(run.kind for run in runs)
    for kind in kinds:
        alike = [run for run in runs if run.kind == kind and run.state != "damaged"]
        if len(alike) > 1:
            yield _of_one_kind(kind, alike)


def _of_one_kind(kind: str, runs: Sequence[RunSummary]) -> Section:
    names = _differing(runs)
    same = len({name for run in runs for name in run.settings}) - len(names)
    return Section(
        anchor=f"kind-{kind}",
        title=f"Side by side: {kind}",
        nodes=[
            Columns(
                caption=f"{_several(len(runs), 'run')} of `{kind}`: what each found, "
                "and the settings that differ. Choose two or more.",
                rows=["what it found", "its numbers", "state", "model", *names],
                kept=4,
                columns=[_column(run, names) for run in runs],
            ),
            Paragraph(
                text=f"Settings that are equal in all of them, and not shown: {same}."
            ),
        ],
    )


def _column(run: RunSummary, names: Sequence[str]) -> Column:
    return Column(
        title=run.name,
        address=run.report,
        cells=[
            _plain(run.verdict) or _MISSING,
            " ".join(map(_plain, run.points)) or _MISSING,
            _state(run),
            run.model or _MISSING,
            *(run.settings.get(name, _MISSING) for name in names),
        ],
    )


def _differing(runs: Sequence[RunSummary]) -> list[str]:
    """Options that differ in any two of the runs, in the order of their settings."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return [name for name in names if len({run.settings.get(name) for run in runs}) > 1]


def _plain(text: str) -> str:
    """Reports mark names by backticks; nothing here is read as a mark."""
    return text.replace("`", "")


def _several(num: int, what: str) -> str:
    return f"{num:,} {what}" if num == 1 else f"{num:,} {what}s"
