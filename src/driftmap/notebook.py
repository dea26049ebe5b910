"""How does a notebook ask a question, and how does a finished run draw itself in it?

`ask` does what a command does. `open_run` reads a run folder and changes nothing in it.
In Jupyter, the last line of a cell shows the question, the answer and first figures;
`run.section("layers")` shows any other part of the report, `run.text` is all of it as
text.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from cyclopts import CycloptsError

from driftmap.core.errors import StoreError, UsageError
from driftmap.recipes.saved import option_words
from driftmap.recipes.steps.pages import REPORT, flat_settings
from driftmap.recipes.steps.reports import REPORTS, drawing_of
from driftmap.render.coloured import ColouredTexts
from driftmap.render.fragment import fragment_of
from driftmap.render.page import (
    Callout,
    Figure,
    Folded,
    Node,
    Page,
    Paragraph,
    Picker,
    Row,
    Section,
)
from driftmap.render.pictures import svg_of
from driftmap.render.text import node_text, text_of
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir

NUM_FIGURES = 2
"""Figures that a run shows of itself."""


@runtime_checkable
class _Recipe(Protocol):
    """What a command makes of its words."""

    def run(self) -> object:
        """Do the work."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """One section of a report, as a notebook shows it.

    Args:
        section: What is in it.
    """

    section: Section

    def __repr__(self) -> str:
        """The section as text."""
        return "\n\n".join(
            [self.section.title, *(node_text(node) for node in self.section.nodes)]
        )

    def _repr_html_(self) -> str:
        return fragment_of(self.section.title, self.section.nodes, svg_of)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """A finished run.

    Args:
        path: Its folder.
        kind: Which command made it.
        settings: All its options, by name.
        page: Its report.
    """

    path: Path
    kind: str
    settings: Mapping[str, object]
    page: Page

    @property
    def sections(self) -> tuple[str, ...]:
        """Names of the report's sections, for `section`."""
        return tuple(one.anchor for one in self.page.sections)

    @property
    def text(self) -> str:
        """The whole report as text."""
        return text_of(self.page)

    @property
    def report(self) -> Path:
        """The report with all its figures, for a browser."""
        return self.path / REPORT

    def section(self, name: str) -> Part:
        """One section, to be shown.

        Args:
            name: One of `sections`.

        Raises:
            UsageError: There is none of that name.

        """
        for one in self.page.sections:
            if one.anchor == name:
                return Part(section=one)
        raise UsageError(
            f"{self.path}: its report has no section {name!r}, only "
            f"{', '.join(self.sections)}"
        )

    def __repr__(self) -> str:
        """Question, answer and where the rest is, as text."""
        told = [self.page.title, *(node_text(node) for node in self._shown(0))]
        return "\n\n".join(told)

    def _repr_html_(self) -> str:
        return fragment_of(self.page.title, self._shown(NUM_FIGURES), svg_of)

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, str]:
        """Both forms; a front end takes the one that it can show."""
        del include, exclude
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}

    def _shown(self, num_figures: int) -> list[Node]:
        """What the run shows of itself: its lead, its answer, its first figures."""
        first = self.page.sections[0]
        figures = [f for one in self.page.sections for f in _figures(one.nodes)]
        others = ", ".join(f"`{name}`" for name in self.sections)
        return [
            Paragraph(text=self.page.lead),
            *(node for node in first.nodes if isinstance(node, Callout)),
            *figures[:num_figures],
            Paragraph(
                text=f"Show more with `run.section(NAME)`: {others}. The whole report "
                f"with every figure is `{self.report}`."
            ),
        ]


def ask(command: str, **options: object) -> Run:
    """Do what a command does, unless it is done already, and open the run.

    Args:
        command: As on the command line: `trace`, `drift`, `compare`.
        options: Its options with underscores: `num_facts=16`; a list for one that may
            be repeated. Those that are left out have the command's defaults.

    Returns:
        The finished run.

    Raises:
        UsageError: There is no such command or option, or it makes no report.
    """
    from driftmap.cli.commands import app, meant  # every recipe hangs on them
    from driftmap.cli.environment import environment
    from driftmap.cli.mistakes import sentence

    given = {name: _plain(value) for name, value in options.items()}
    words = [w for own in option_words(Path(command), given).values() for w in own]
    with environment() as taken:
        try:
            recipe = app(meant([command, *words]))
        except CycloptsError as error:
            raise UsageError(sentence(error, taken)) from error
        out = getattr(recipe, "out", None)
        if not (isinstance(recipe, _Recipe) and isinstance(out, Path)):
            raise UsageError(
                f"driftmap {command} makes no run to show; call it on a command line"
            )
        recipe.run()
    return open_run(out)


def open_run(path: str | Path) -> Run:
    """Open a finished run, to be shown in a notebook or asked for its text.

    Args:
        path: The run folder.

    Raises:
        StoreError: The folder holds no run, or the run is in use or not finished.
        UsageError: A run of its kind has no report.
    """
    folder = Path(path).expanduser()
    with RunDir.hold(folder) as run:
        saved = load_recipe(folder)
        if saved.kind not in REPORTS:
            raise UsageError(
                f"{folder}: a run of {saved.kind} has no report to show; its files lie "
                "in the folder"
            )
        try:
            page = drawing_of(run).page()
        except FileNotFoundError as error:
            raise StoreError(
                f"{error.filename}: is missing; finish the run with `driftmap run "
                f"{folder}`"
            ) from error
    return Run(
        path=folder,
        kind=saved.kind,
        settings=flat_settings(saved.settings),
        page=page,
    )


def _plain(value: object) -> object:
    """A value as a recipe file has it: paths as text, several as a list."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def _figures(nodes: Sequence[Node]) -> Iterator[Node]:
    """Charts and coloured texts, those in rows and behind a fold too."""
    for node in nodes:
        if isinstance(node, Figure | Picker | ColouredTexts):
            yield node
        elif isinstance(node, Row):
            yield from node.figures
        elif isinstance(node, Folded):
            yield from _figures(node.nodes)
