"""How alike are gradients, when only a short form of each is ever kept?"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64
from torch import nn

from driftmap.capture.gradients import show_gradients
from driftmap.core.progress import say
from driftmap.families.tensors import TensorRule
from driftmap.measure.sketch import Sketches
from driftmap.results.sketches import (
    SketchedProducts,
    SketchedSamples,
    SketchSettings,
)
from driftmap.signals.batch import Batch
from driftmap.stats.sketch_errors import told_error, told_errors
from driftmap.stats.sketch_sizes import LEGACY_WARNING
from driftmap.stats.sketched_pairs import pair_up, weighed


def sketch_samples(
    model: nn.Module,
    rules: Sequence[TensorRule],
    batches: Sequence[Batch],
    settings: SketchSettings,
) -> SketchedSamples:
    """Sketch every sample's gradient of every tensor, in one pass.

    Args:
        model: Left as it was found.
        rules: The tensors (`find_tensors`).
        batches: All samples.
        settings: How gradients are made short.

    Raises:
        MeasureError: A gradient is not finite, or a sample has none.
    """
    sketches = Sketches([place for rule in rules for place in rule.places], settings)
    show_gradients(model, rules, batches, sketches.take)
    return sketches.result()


def pair_estimates(
    model: nn.Module,
    rules: Sequence[TensorRule],
    queries: Sequence[Batch],
    originals: Sequence[Batch],
    candidates: Int64[np.ndarray, "query candidate"],
    settings: SketchSettings,
) -> SketchedProducts:
    """Estimate the products of gradients of queries and originals, tensor by tensor.

    Energies are exact; in a legacy projection each tensor's numbers are multiplied by
    its size, so that sums over tensors mean what that projection means. Says how far
    cosines are off, as the sketches tell it.

    Args:
        model: Left as it was found.
        rules: The tensors (`find_tensors`).
        queries: All queries.
        originals: All originals.
        candidates: Numbers of the originals that each query is compared with.
        settings: How gradients are made short.

    Returns:
        The products, with what tells their standard errors.

    Raises:
        MeasureError: A gradient is not finite, or a sample has none.
    """
    if settings.kind == "legacy":
        say(LEGACY_WARNING)
    sketched = weighed(
        pair_up(
            sketch_samples(model, rules, queries, settings),
            sketch_samples(model, rules, originals, settings),
            candidates,
        )
    )
    say(error_line(sketched))
    return sketched


def error_line(sketched: SketchedProducts) -> str:
    """Say how far cosines of sketches are off, in one sentence."""
    how = sketched.products.provenance["projection"]
    told = told_errors(sketched)
    estimated = told[np.isfinite(told) & ~np.array(sketched.is_exact)]
    if not len(estimated):
        return f"projection {how}: every tensor is kept whole, so cosines are exact"
    return (
        f"projection {how}: standard error of a tensor's cosine "
        f"{np.median(estimated):.2g} (median of {len(estimated)} tensors, largest "
        f"{estimated.max():.2g}), of the whole gradient's {told_error(sketched):.2g}"
    )
