"""Do projections that came from elsewhere stand beside the products of their set?"""

from dataclasses import replace

import numpy as np

from driftmap.core.places import TensorPlace
from driftmap.recipes.steps.similarity.projected import (
    projections_of,
    save_projections,
)
from driftmap.results.pair_products import NONE
from driftmap.store.pair_products import Pairs
from driftmap.store.steps import StepOutcome
from stored_pairs import made_pairs


def cosines_alone(pairs, values):
    """The same pairs, of which only cosines are known."""
    products = replace(
        pairs.products,
        tensors=(TensorPlace(name="full gradient", part="block"),),
        dot=values[..., None],
        query_energy=np.ones((len(pairs.products.queries), 1)),
        original_energy=np.ones((len(pairs.products.originals), 1)),
    )
    return Pairs(products=products, truth=pairs.truth)


def kept(folder, found):
    save_projections(folder, found)
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*.saf*")]
    return StepOutcome(
        name="gradients",
        key="",
        root=folder,
        files=dict.fromkeys(["products/gradients.safetensors", *files], ""),
        redone=True,
    )


def test_projections_are_put_in_the_order_of_the_candidates(tmp_path):
    products, truth = made_pairs(candidates=3)
    pairs = Pairs(products=products, truth=truth)
    values = np.arange(12.0).reshape(4, 3) / 20
    turned = replace(
        products, candidates=products.candidates[:, ::-1], dot=products.dot[:, ::-1]
    )
    there = cosines_alone(Pairs(products=turned, truth=truth), values[:, ::-1].copy())
    (tmp_path / "products").mkdir()
    step = kept(
        tmp_path, {"paraphrased": {1024: there, 512: there}, "other": {8: there}}
    )
    found = projections_of(step, pairs)
    assert [(one.name, one.num_stored) for one in found] == [
        ("512 numbers", 512),
        ("1,024 numbers", 1024),
    ]
    expected = np.where(products.candidates == NONE, np.nan, values)
    np.testing.assert_array_equal(found[0].cosine, expected)


def test_pairs_that_were_not_projected_have_no_cosine(tmp_path):
    products, truth = made_pairs()
    pairs = Pairs(products=products, truth=truth)
    some = replace(products, candidates=products.candidates.copy())
    some.candidates[0, 1] = NONE
    there = cosines_alone(Pairs(products=some, truth=truth), np.full((4, 5), 0.5))
    (tmp_path / "products").mkdir()
    (found,) = projections_of(kept(tmp_path, {"paraphrased": {64: there}}), pairs)
    assert np.isnan(found.cosine[0, 1])
    assert np.isfinite(found.cosine).sum() == 19
