"""Which model are differences taken to, and does it fit the one that is scored?"""

from functools import partial
from typing import cast

from driftmap.core.errors import FamilyError, ModelError
from driftmap.core.progress import phase
from driftmap.families.matrices import site_weight
from driftmap.families.modules import base_model
from driftmap.load.checkpoint import check_model_folder, find_folder
from driftmap.load.identity import weights_sha256
from driftmap.load.model import LoadedModel, load_model
from driftmap.load.source import Dtype, ModelSource
from driftmap.recipes.options import ScoringOptions
from driftmap.signals.scores import WeightOf


def base_sha256(loaded: LoadedModel, scoring: ScoringOptions) -> str:
    """Hash of the weights that are subtracted; empty where none are.

    Raises:
        ModelError: They are missing, or they are those of the scored model.
    """
    if scoring.base is None:
        return ""
    folder = find_folder(scoring.base, with_code=_has_own_code(loaded))
    check_model_folder(folder)
    found = weights_sha256(folder)
    if (
        found == loaded.identity.base_sha256
        and base_model(loaded.model) is loaded.model
    ):
        raise ModelError(
            f"--base {scoring.base}: it holds the weights that are scored, so that "
            "every difference is 0; give the model that they were trained from"
        )
    return found


def base_weights(loaded: LoadedModel, scoring: ScoringOptions) -> WeightOf | None:
    """Load the other model beside the scored one, in the machine's memory.

    Args:
        loaded: The scored model.
        scoring: Names the other one.

    Returns:
        Gives its matrices; None where no score needs them.

    Raises:
        ModelError: It cannot be loaded, or its matrices are of other shapes.
    """
    if scoring.base is None:
        return None
    source = ModelSource(
        model=scoring.base,
        dtype=cast(Dtype, loaded.identity.dtype),
        device="cpu",
        trust_remote_code=_has_own_code(loaded),
    )
    with phase("load the model that differences are taken to"):
        base = load_model(source).model
    try:
        for site in loaded.layout.sites:
            site_weight(base, site)
    except FamilyError as error:
        raise ModelError(
            f"--base {scoring.base}: its matrices are not those of the scored model "
            f"({error}); give the model that it was trained from"
        ) from error
    return partial(site_weight, base)


def _has_own_code(loaded: LoadedModel) -> bool:
    """The scored model came with code that the user trusts; so may its base."""
    return type(base_model(loaded.model)).__module__.startswith("transformers_modules")
