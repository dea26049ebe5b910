"""When do tests of 4-bit weights run, and on which model?"""

import importlib.util

import pytest

from tiny import tiny_llama

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None,
    reason="bitsandbytes is not installed: pip install -e '.[qlora]' to run it",
)

WIDTH = 64
"""Columns of the narrowest matrix that survives on a processor: one block."""


def wide_llama(**changes):
    """A Llama whose rows are whole blocks."""
    return tiny_llama(hidden=WIDTH, **changes)
