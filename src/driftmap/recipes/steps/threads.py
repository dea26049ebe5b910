"""How many threads does arithmetic use where its bytes or its speed depend on it?"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from driftmap.results.provenance import ModelIdentity

SMALL = 5_000_000
"""Weights below which a second thread costs more than it gives."""


@contextmanager
def threads_for(identity: ModelIdentity) -> Iterator[None]:
    """Run on one thread where a model on the CPU is small, else on all there are.

    Measured on two busy cores: layers 128 wide take 25 times as long on two threads
    as on one, layers 768 wide 1.3 times.
    """
    if identity.device == "cpu" and identity.num_weights < SMALL:
        with one_thread():
            yield
    else:
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Run on one thread: small models gain nothing from more, and bytes stay equal."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
