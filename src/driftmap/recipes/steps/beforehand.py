"""What is refused before a model is loaded? A folder, and what was made elsewhere."""

from collections.abc import Collection, Mapping
from pathlib import Path

from driftmap.load.training_runs import TrainingRun, find_runs
from driftmap.recipes.options import ElsewhereOptions
from driftmap.store.border import refuse_foreign, refuse_other
from driftmap.store.group_folder import find_groups
from driftmap.store.recipe_file import plain_recipe


def require_folder(
    settings: Mapping[str, object], kind: str, may_change: Collection[str]
) -> None:
    """Refuse a run folder that cannot take this run.

    Args:
        settings: The resolved recipe, with its `out`.
        kind: Which recipe: the name of its command.
        may_change: Settings that may differ from those the run was begun with.

    Raises:
        StoreError: It holds something else, or a run with other settings.
    """
    out = Path(str(settings["out"]))
    refuse_foreign(out)
    refuse_other(out, plain_recipe(settings), kind, may_change)


def found_elsewhere(named: ElsewhereOptions) -> tuple[TrainingRun, ...]:
    """Find groups and training runs, without reading what they hold.

    Args:
        named: What the user named.

    Returns:
        The training runs; none where the model is tuned here.

    Raises:
        StoreError: There is no group where one is named.
        ModelError: There is no adapter where one is named.
    """
    if named.groups is not None:
        find_groups(named.groups)
    return find_runs(named.checkpoints) if named.checkpoints else ()
