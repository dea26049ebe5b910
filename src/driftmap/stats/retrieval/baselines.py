"""What does an order look like that knows nothing?"""

import numpy as np

from driftmap.core.seeds import child_seed
from driftmap.results.baselines import Baseline
from driftmap.results.pair_products import PairProducts


def random_order(products: PairProducts, seed: int) -> Baseline:
    """Order every query's candidates at random, to stand in the same table.

    Args:
        products: Whose candidates.
        seed: The run's seed.
    """
    rng = np.random.default_rng(child_seed(seed, "random order"))
    return Baseline(name="random order", scores=rng.random(products.candidates.shape))
