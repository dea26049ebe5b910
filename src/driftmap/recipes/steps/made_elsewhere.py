"""Is what was made elsewhere there? Looked up before a model is loaded."""

from driftmap.load.training_runs import TrainingRun, find_runs
from driftmap.recipes.options import ElsewhereOptions
from driftmap.store.group_folder import find_groups


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
