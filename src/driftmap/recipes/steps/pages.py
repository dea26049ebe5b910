"""Which files is a report made of, and when is it drawn again?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import driftmap
from driftmap.render.html import html_of
from driftmap.render.page import Page, figures_of
from driftmap.render.pictures import save_pictures
from driftmap.render.text import text_of
from driftmap.store.files import write_text
from driftmap.store.provenance import read_provenance
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

REPORT = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What a report is drawn from: a run folder, and nothing else.

    Args:
        of: Finished steps whose files it shows.
        page: Reads them, and makes the page.
        has_pictures: Whether its figures are kept as pictures too.
    """

    of: Sequence[StepOutcome]
    page: Callable[[], Page]
    has_pictures: bool = True


def draw(run: RunDir, drawing: Drawing) -> StepOutcome:
    """Write a run's report, unless one of the same steps and settings is there.

    Args:
        run: The run.
        drawing: What its report is drawn from.
    """
    inputs = {
        "of": [step.key for step in drawing.of],
        "settings": flat_settings(load_recipe(run.path).settings),
        "driftmap": driftmap.__version__,
    }

    def make(folder: Path) -> None:
        page = drawing.page()
        write_text(folder / REPORT, html_of(page))
        write_text(folder / "report.txt", text_of(page))
        if drawing.has_pictures:
            pictures = folder / "figures"
            pictures.mkdir()
            save_pictures(figures_of(page), pictures)

    return run.step("report", inputs, make)


def flat_settings(settings: object) -> dict[str, object]:
    """Settings of a recipe by option, out of their blocks."""
    flat: dict[str, object] = {}
    for name, value in cast(dict[str, object], settings).items():
        if isinstance(value, dict):
            flat |= flat_settings(value)
        else:
            flat[name] = value
    return flat


def versions_of(root: Path) -> dict[str, str]:
    """Package -> version of what a run was last worked on with."""
    environments = read_provenance(root / "provenance.json")["environments"]
    last = cast(list[dict[str, object]], environments)[-1]
    return cast(dict[str, str], last["versions"]) | {"python": str(last["python"])}
