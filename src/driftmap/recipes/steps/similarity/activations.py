"""How alike are samples by what the model makes of them, without any gradient?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from driftmap.capture.hidden import HiddenPlace, hidden_places, pooled_hidden
from driftmap.core.errors import MeasureError
from driftmap.core.places import TensorPlace
from driftmap.core.progress import say
from driftmap.measure.pooled import Vectors, pooled_products
from driftmap.recipes.similarity_options import ProductOptions
from driftmap.recipes.steps.similarity.analysing import Measured
from driftmap.recipes.steps.similarity.compared import Compared
from driftmap.recipes.steps.similarity.files import products_file
from driftmap.results.samples import EncodedSample
from driftmap.store.pair_products import save_pairs

STEP = "activations"
ACTIVATIONS: Mapping[str, bool] = {"activations": False, "centred-activations": True}
"""Measures of hidden states: as they are, and without the mean of the originals."""


def activation_step(compared: Compared, options: ProductOptions) -> dict[str, Measured]:
    """Multiply hidden states of queries and originals: `products/activations...`.

    Args:
        compared: Samples and candidates.
        options: Which hidden states, and how they are averaged over tokens.

    Returns:
        Measure -> its products.
    """
    model = compared.study.loaded.model
    places = hidden_places(model, options.hidden)
    if options.pool == "mean":
        say(
            "--pool mean averages over the first token too, whose hidden states are "
            "large and alike in all samples: read the centred products"
        )

    def make(folder: Path) -> None:
        queries = _vectors(compared, compared.encoded.queries, places, options)
        originals = _vectors(compared, compared.encoded.originals, places, options)
        for name, center in ACTIVATIONS.items():
            products = pooled_products(
                (compared.query_ids, queries),
                (compared.original_ids, originals),
                compared.candidates,
                center=center,
            )
            file = folder / products_file(name)
            file.parent.mkdir(exist_ok=True)
            save_pairs(file, products, compared.encoded.truth)

    inputs = {**compared.inputs(), "pool": options.pool, "hidden": list(options.hidden)}
    step = compared.study.run.step(STEP, inputs, make)
    return {name: Measured(step=step, names=(name,)) for name in ACTIVATIONS}


def _vectors(
    compared: Compared,
    samples: Sequence[EncodedSample],
    places: Sequence[HiddenPlace],
    options: ProductOptions,
) -> Vectors:
    batches = compared.batches(samples)
    loaded = compared.study.loaded
    vectors = pooled_hidden(loaded.model, places, batches, options.pool)
    _require_direction(vectors)
    return vectors


def _require_direction(vectors: Vectors) -> None:
    empty = [place for place, rows in vectors.items() if not rows.any()]
    if empty:
        raise MeasureError(
            f"{_listed(empty)}: the hidden states of all samples are zero; is the "
            "model whole?"
        )


def _listed(places: Sequence[TensorPlace]) -> str:
    return ", ".join(place.name for place in places)
