"""What are the people of a world called, and why is no syllable a name?

A name is three syllables. Both orders of a syllable pair begin names, every
beginning has four endings, and the two orders share their endings; so only the
whole word, in order, says who is meant, and it is known at its last token.
"""

import numpy as np

from driftmap.core.seeds import child_seed

SYLLABLES = ("du", "ka", "vo", "ra", "fi", "mo", "lu", "ne", "ti", "so", "be", "ga")
NUM_PAIRS = 6
NUM_ENDINGS = 4


def make_names(seed: int) -> tuple[str, ...]:
    """Draw the 48 names of a world.

    Args:
        seed: The world's seed.

    Returns:
        Distinct names, those that share syllables side by side.

    >>> names = make_names(0)
    >>> len(names), len(set(names)), {len(name) for name in names}
    (48, 48, {6})
    """
    rng = np.random.default_rng(child_seed(seed, "world", "names"))
    order = rng.permutation(len(SYLLABLES)).tolist()
    names: list[str] = []
    for number in range(NUM_PAIRS):
        one, other = (SYLLABLES[order[2 * number + k]] for k in (0, 1))
        free = [s for s in SYLLABLES if s not in (one, other)]
        for k in rng.permutation(len(free))[:NUM_ENDINGS].tolist():
            names += [one + other + free[k], other + one + free[k]]
    return tuple(name.capitalize() for name in names)
