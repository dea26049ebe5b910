"""How do readings become a report and what a terminal shows, from a folder alone?"""

import os
import sys
from typing import cast

import numpy as np

from driftmap.measure.tokens import confident_and_wrong, stretches, text_summary
from driftmap.recipes.steps.pages import Drawing, flat_settings, versions_of
from driftmap.recipes.steps.readings.files import (
    LENS_STEP,
    READ_STEP,
    load_identity,
    load_lenses,
    load_readings,
)
from driftmap.render.coloured_text import Wish, colours_for
from driftmap.render.read_page import read_page
from driftmap.render.read_texts import terminal_texts
from driftmap.results.reading_study import ReadingStudy, ReadText, Shown
from driftmap.results.readings import TokenReadings
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir


def reading_report(run: RunDir) -> Drawing:
    """What the page on readings is drawn from."""
    steps = [run.require(READ_STEP)]
    if _settings(run)["lens"]:
        steps.append(run.require(LENS_STEP))
    return Drawing(of=steps, page=lambda: read_page(_study(run)))


def terminal_report(run: RunDir, wish: Wish) -> str:
    """The texts as a terminal shows them, in colours where it has any.

    Args:
        run: With finished readings.
        wish: When colours are wanted.
    """
    colours = colours_for(os.environ, is_terminal=sys.stdout.isatty(), wish=wish)
    return terminal_texts(_study(run), colours)


def _study(run: RunDir) -> ReadingStudy:
    read, settings = run.require(READ_STEP), _settings(run)
    lenses = ()
    if settings["lens"]:
        lenses = load_lenses(run.require(LENS_STEP)).lenses
    sure_below, wrong_above = (
        float(str(settings[name])) for name in ("sure_below", "wrong_above")
    )
    return ReadingStudy(
        texts=tuple(
            _read_text(one, sure_below, wrong_above)
            for one in load_readings(read).readings
        ),
        lenses=lenses,
        shown=cast(Shown, settings["by"]),
        sure_below=sure_below,
        wrong_above=wrong_above,
        model=load_identity(read),
        settings=settings,
        versions=versions_of(run.path),
    )


def _read_text(
    readings: TokenReadings, sure_below: float, wrong_above: float
) -> ReadText:
    wrong = confident_and_wrong(
        readings, sure_below=sure_below, wrong_above=wrong_above
    )
    return ReadText(
        readings=readings,
        summary=text_summary(readings),
        characters=stretches(readings, "character"),
        words=stretches(readings, "word"),
        sentences=stretches(readings, "sentence"),
        wrong=tuple(np.flatnonzero(wrong).tolist()),
    )


def _settings(run: RunDir) -> dict[str, object]:
    return flat_settings(load_recipe(run.path).settings)
