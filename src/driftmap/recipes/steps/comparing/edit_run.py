"""Which facts did the edit teach that a tuned model comes from?"""

from pathlib import Path

from driftmap.core.errors import DataError, StoreError
from driftmap.core.progress import say
from driftmap.recipes.edit_options import TaughtOptions
from driftmap.recipes.steps.editing.reading import read_taught
from driftmap.results.facts import Fact
from driftmap.results.plain import from_plain
from driftmap.store.recipe_file import RECIPE_FILE, SavedRecipe, load_recipe

DEEPEST = 4
"""Folders above a checkpoint among which the run that made it is looked for."""


def facts_of_edit(tuned: Path) -> tuple[Fact, ...]:
    """Read again what was taught.

    Args:
        tuned: A checkpoint.

    Returns:
        The facts of `driftmap edit`; none where the checkpoint is not in the folder of
        such a run, or the facts are no longer there, which is said.
    """
    saved = _edit_above(tuned)
    if saved is None:
        return ()
    try:
        taught = from_plain(TaughtOptions, saved.settings.get("taught"), RECIPE_FILE)
        return read_taught(taught, int(str(saved.settings.get("seed", 0)))).facts
    except DataError as error:
        say(f"what the edit taught cannot be read again ({error})")
        return ()


def _edit_above(tuned: Path) -> SavedRecipe | None:
    for folder in tuned.resolve().parents[:DEEPEST]:
        if (folder / RECIPE_FILE).is_file():
            try:
                saved = load_recipe(folder)
            except StoreError:
                return None
            return saved if saved.kind == "edit" else None
    return None
