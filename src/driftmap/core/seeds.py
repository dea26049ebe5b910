"""How does one seed become many that do not depend on the order of visits?"""

import hashlib


def child_seed(seed: int, *names: str | int) -> int:
    """Derive a named seed, the same on every machine.

    Args:
        seed: The run's one seed.
        names: What the child is for, from coarse to fine: `"random", path`.

    Returns:
        A seed in `[0, 2**32)`, which numpy and torch both take.

    >>> child_seed(0, "data") == child_seed(0, "data")
    True
    >>> child_seed(0, "data") == child_seed(0, "adapter")
    False
    """
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
