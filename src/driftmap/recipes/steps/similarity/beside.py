"""How does a study of another model come into the same report?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from driftmap.core.errors import StoreError, UsageError
from driftmap.recipes.steps.pages import flat_settings
from driftmap.recipes.steps.similarity.analysing import RESULT_FILE, load_studies
from driftmap.results.retrieval import RetrievalStudy
from driftmap.results.retrieval_models import ModelComparison
from driftmap.results.similarity_study import GRADIENTS, MeasureStudy
from driftmap.stats.retrieval.models import compare_models
from driftmap.store.recipe_file import load_recipe

KINDS = ("similarity", "similarity-json")


def require_beside(folders: Sequence[Path]) -> None:
    """Refuse folders that hold no finished study, before long work begins.

    Raises:
        UsageError: One holds another kind of run, or is named twice.
        StoreError: One holds no run, or an unfinished one.
    """
    for folder in folders:
        kind = load_recipe(folder).kind
        if kind not in KINDS:
            raise UsageError(
                f"--beside {folder}: holds a run of `{kind}`; name one of "
                "`driftmap similarity`"
            )
        if not (folder / RESULT_FILE).is_file():
            raise StoreError(
                f"{folder}: is not finished; finish it with `driftmap run {folder}`"
            )
    if len(set(folders)) < len(folders):
        raise UsageError("--beside names a run twice; name each once")


def compared(
    run: Path, measures: Sequence[MeasureStudy], settings: Mapping[str, object]
) -> ModelComparison | None:
    """Put a run beside those that its settings name.

    Args:
        run: The run.
        measures: Its studies.
        settings: Its settings.

    Returns:
        None where no other run is named.
    """
    named = [Path(str(one)) for one in cast(list[object], settings.get("beside") or [])]
    if not named:
        return None
    own = _title(run, settings)
    studies = {own: _leading(measures)}
    for folder in named:
        found = load_studies(folder / RESULT_FILE)
        other = _title(folder, flat_settings(load_recipe(folder).settings))
        while other in studies:
            other = f"{other} ({folder.name})"
        studies[other] = _leading(found)
    return compare_models(studies)


def _leading(measures: Sequence[MeasureStudy]) -> RetrievalStudy:
    found = [one.study for one in measures if one.name == GRADIENTS]
    return (found or [measures[0].study])[0]


def _title(folder: Path, settings: Mapping[str, object]) -> str:
    model = settings.get("model")
    return folder.name if model is None else Path(str(model)).name
