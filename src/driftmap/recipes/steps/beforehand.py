"""What is refused before a model is loaded? A folder, and what was made elsewhere."""

from collections.abc import Collection, Mapping
from pathlib import Path

from driftmap.core.errors import UsageError
from driftmap.load.training_runs import TrainingRun, find_runs
from driftmap.recipes.options import ElsewhereOptions
from driftmap.results.training import ROUNDED_BASE
from driftmap.store.border import refuse_foreign, refuse_other
from driftmap.store.group_folder import find_groups
from driftmap.store.recipe_file import plain_recipe
from driftmap.tune.settings import TuningSettings


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


def found_elsewhere(
    named: ElsewhereOptions, tuning: TuningSettings
) -> tuple[TrainingRun, ...]:
    """Find groups and training runs, without reading what they hold.

    Args:
        named: What the user named.
        tuning: Which weights are under the adapters.

    Returns:
        The training runs; none where the model is tuned here.

    Raises:
        StoreError: There is no group where one is named.
        ModelError: There is no adapter where one is named.
        UsageError: It was trained on other weights than the study would have.
    """
    if named.groups is not None:
        find_groups(named.groups)
    runs = find_runs(named.checkpoints) if named.checkpoints else ()
    for run in runs:
        _require_same_base(run, tuning)
    return runs


def _require_same_base(run: TrainingRun, tuning: TuningSettings) -> None:
    if tuning.is_four_bit and run.is_full:
        raise UsageError(
            f"--tune qlora rounds the weights under adapters, and {run.last} is a "
            "whole model; leave it out"
        )
    if not tuning.is_four_bit and (run.last / ROUNDED_BASE).is_file():
        raise UsageError(
            f"{run.last}: its adapter was trained on weights rounded to 4 bits; give "
            "--tune qlora as well, so that drift is counted from those"
        )
