"""How are products of gradients computed and kept, exactly or from projections?"""

from pathlib import Path

import numpy as np

from driftmap.core.errors import UsageError
from driftmap.core.shortage import explained
from driftmap.recipes.similarity_options import ProductOptions
from driftmap.recipes.steps.similarity.analysing import Measured
from driftmap.recipes.steps.similarity.compared import Compared
from driftmap.recipes.steps.similarity.files import ERRORS, products_file
from driftmap.recipes.steps.similarity.gradients import (
    EncodedSides,
    GradientSettings,
    chosen_rules,
    say_directionless,
)
from driftmap.recipes.steps.similarity.sharing import Sharing
from driftmap.recipes.steps.similarity.sketches import pair_estimates
from driftmap.results.similarity_study import GRADIENTS
from driftmap.results.sketches import SketchSettings
from driftmap.stats.sketch_errors import dot_errors
from driftmap.store.pair_products import save_pairs

STEP = "gradients"
REMEDIES = (
    "give less --batch-tokens, a smaller --memory, fewer tensors with --only, or "
    "--candidates bm25"
)


def gradient_step(
    compared: Compared, options: ProductOptions, sharing: Sharing
) -> dict[str, Measured]:
    """Write `products/gradients.safetensors`, unless it is there.

    Args:
        compared: Samples and candidates.
        options: How gradients are compared.
        sharing: Where.

    Returns:
        The measure -> its products.
    """
    inputs = _inputs(compared, options)

    def make(folder: Path) -> None:
        (folder / products_file(GRADIENTS)).parent.mkdir()
        with explained("comparing gradients", REMEDIES):
            if options.projection == "none":
                _exact(compared, options, sharing, folder)
            else:
                _estimated(compared, options, folder)

    step = compared.study.run.step(STEP, inputs, make)
    sharing.finish()
    return {GRADIENTS: Measured(step=step, names=(GRADIENTS,))}


def share_part(compared: Compared, options: ProductOptions, sharing: Sharing) -> None:
    """Compare a part of the originals, for `driftmap merge` to join with others.

    Raises:
        UsageError: Gradients are not compared, or not exactly.
    """
    if not options.has_gradients or options.projection != "none":
        raise UsageError(
            "--partition divides exact products of gradients, and none are asked for; "
            "leave it out, or build an index in parts with `driftmap index build`"
        )
    with explained("comparing gradients", REMEDIES):
        sharing.make(
            compared.study.loaded,
            _sides(compared),
            _settings(options),
            _inputs(compared, options),
        )


def _exact(
    compared: Compared, options: ProductOptions, sharing: Sharing, folder: Path
) -> None:
    loaded, sides = compared.study.loaded, _sides(compared)
    inputs = _inputs(compared, options)
    found = sharing.join(sharing.make(loaded, sides, _settings(options), inputs), sides)
    say_directionless(found)
    file = folder / products_file(GRADIENTS)
    save_pairs(file, found, compared.encoded.truth)


def _sides(compared: Compared) -> EncodedSides:
    return EncodedSides(
        queries=compared.encoded.queries,
        originals=compared.encoded.originals,
        candidates=compared.candidates,
    )


def _settings(options: ProductOptions) -> GradientSettings:
    memory = options.memory
    return GradientSettings(
        products=options.products,
        schedule=options.schedule,
        only=options.only,
        batch_tokens=options.batch_tokens,
        memory_bytes=None if memory is None else int(memory * 2**30),
        scratch=options.scratch,
    )


def _estimated(compared: Compared, options: ProductOptions, folder: Path) -> None:
    loaded = compared.study.loaded
    assert options.projection != "none"
    found = pair_estimates(
        loaded.model,
        chosen_rules(loaded, options.only),
        compared.batches(compared.encoded.queries),
        compared.batches(compared.encoded.originals),
        compared.candidates,
        SketchSettings(
            kind=options.projection,
            size=options.projection_size,
            seed=compared.study.seed,
            share=options.projection_share,
        ),
    )
    file = folder / products_file(GRADIENTS)
    save_pairs(file, found.products, compared.encoded.truth)
    np.save(folder / ERRORS, dot_errors(found))


def _inputs(compared: Compared, options: ProductOptions) -> dict[str, object]:
    inputs = {**compared.inputs(), "only": list(options.only), **_projection(options)}
    if options.projection != "none":
        inputs |= {"seed": compared.study.seed}
    return inputs


def _projection(options: ProductOptions) -> dict[str, object]:
    if options.projection == "none":
        return {"projection": "none"}
    if options.projection == "legacy":
        return {"projection": "legacy", "share": options.projection_share}
    return {"projection": options.projection, "size": options.projection_size}
