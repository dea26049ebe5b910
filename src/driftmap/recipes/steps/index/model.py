"""Which model was an index built with, and is this the one?"""

from driftmap.core.errors import DataError, StoreError
from driftmap.core.progress import phase
from driftmap.load.model import LoadedModel, load_model
from driftmap.recipes.index_options import IndexModel
from driftmap.recipes.steps.index.reading import Fed
from driftmap.results.index import IndexSettings


def model_of(settings: IndexSettings, asked: IndexModel, index: object) -> LoadedModel:
    """Load the model that an index was built with.

    Args:
        settings: What the index says of it.
        asked: Where it lies and where it goes.
        index: The index, as errors name it.

    Raises:
        ModelError: It cannot be loaded.
        StoreError: It is another one.
    """
    source = asked.source(settings)
    with phase("load the model"):
        loaded = load_model(source)
    if loaded.identity.sha256 != settings.model_sha256:
        raise StoreError(
            f"{index}: was built with other weights than those of {source.model}; name "
            "the model that it was built with by --model and --adapter"
        )
    return loaded


def require_same_rule(settings: IndexSettings, fed: Fed, index: object) -> None:
    """Refuse tokens that were made by another template or tokenizer.

    Raises:
        DataError: They were.
    """
    if fed.rule_sha256 != settings.template_sha256:
        raise DataError(
            f"{index}: its samples became tokens by another chat template or "
            "tokenizer; use the model's folder as it was when the index was built"
        )
