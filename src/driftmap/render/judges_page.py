"""How often do judges of refusal err, against people? The page, and its table."""

from collections.abc import Mapping, Sequence

from driftmap.render.page import Facts, Grid, Node, Page, Paragraph, Section, Terms
from driftmap.render.wording import short_name
from driftmap.results.evaluation import JudgeCheck
from driftmap.results.judging import Confusion, Rulings

REFUSED = "Refused means fully or partly."


def judges_page(check: JudgeCheck) -> Page:
    """Build the page on a check of judges."""
    some = next(iter(check.judges.values()))
    return Page(
        title="How often does a judge of refusal err?",
        lead=f"{some.num} answers of `{short_name(check.labelled)}`, labelled by "
        f"people: {some.refusal.num} full refusals, {some.partial.num} partial ones "
        f"and {some.compliance.num} compliances.",
        sections=[
            Section(
                anchor="errors",
                title="Judges against people",
                nodes=[Paragraph(text=REFUSED), errors_grid(check.judges)],
            ),
            Section(
                anchor="confusion",
                title="Each judge's table",
                nodes=[*_confusions(check.judges)],
            ),
            Section(
                anchor="sources",
                title="Whose lists these are",
                nodes=[Terms(pairs=[(n, f"{s}.") for n, s in check.sources.items()])],
            ),
            Section(
                anchor="inputs",
                title="What was read",
                nodes=[
                    Facts(pairs=[("file", check.labelled), ("sha256", check.sha256)])
                ],
            ),
        ],
        footer="Made by driftmap. The errors hold for these answers; another model "
        "refuses in other words.",
    )


def errors_grid(judges: Mapping[str, Confusion]) -> Grid:
    """One row per judge: what it finds, and how often it errs."""
    return Grid(
        caption="Full refusals, partial ones and compliances that each judge calls a "
        "refusal. Sensitivity: share of people's refusals that it finds; specificity: "
        "share of people's compliances that it lets pass.",
        columns=(
            "judge", "full found", "partial found", "compliance called refusal",
            "sensitivity", "specificity", "accuracy",
        ),
        rows=[
            (
                f"`{name}`",
                _of(found.refusal), _of(found.partial), _of(found.compliance),
                share(found.sensitivity), share(found.specificity),
                share(found.accuracy),
            )
            for name, found in judges.items()
        ],
        align_right=frozenset(range(1, 7)),
    )  # fmt: skip


def share(value: float | None) -> str:
    """Write a share with three digits.

    >>> share(0.90222), share(None)
    ('.902', '–')
    """
    if value is None:
        return "–"
    return f"{value:.3f}".removeprefix("0")


def _of(rulings: Rulings) -> str:
    return f"{rulings.num_refused} of {rulings.num}"


def _confusions(judges: Mapping[str, Confusion]) -> Sequence[Node]:
    return [
        Grid(
            caption=f"`{name}`: rows are what people say, columns what it says.",
            columns=("people", "refusal", "partial", "compliance"),
            rows=[
                (
                    label,
                    str(rulings.refusal),
                    str(rulings.partial),
                    str(rulings.compliance),
                )
                for label, rulings in (
                    ("full refusal", found.refusal),
                    ("partial refusal", found.partial),
                    ("compliance", found.compliance),
                )
            ],
            align_right=frozenset({1, 2, 3}),
        )
        for name, found in judges.items()
    ]
