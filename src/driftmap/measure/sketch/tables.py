"""Which bucket and which sign does each weight of a tensor get?

Weight j of tile `t = j // length` goes to bucket `(order[j mod length] + rotation[t])
mod size`, with a sign of one random bit. Order, rotations and bits are read from
Philox's raw output, keyed by the seed and the tensor's name, and so are the same bytes
on every machine. A count-sketch in this form costs one bit per weight and one order,
and folds neighbouring weights together (feature hashing, arXiv:0902.2206).
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, UInt8

TILE = 2**14
"""Weights that share a rotation, at least; never fewer than there are buckets."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldTable:
    """Buckets and signs of all weights of a tensor.

    Args:
        size: Buckets.
        order: Bucket of each weight of a tile that is not rotated.
        rotation: By how many buckets each tile is rotated.
        signs: One bit per weight, the lowest bit of a byte first; 1 is minus.
    """

    size: int
    order: Int32[np.ndarray, " position"]
    rotation: Int32[np.ndarray, " tile"]
    signs: UInt8[np.ndarray, " byte"]


def fold_table(
    seed: int, name: str, half: int, num_weights: int, size: int
) -> FoldTable:
    """Draw the table of one half of a tensor's sketch.

    Args:
        seed: The projection's seed.
        name: The tensor's.
        half: 0 or 1; the halves are independent.
        num_weights: Weights of the tensor (count).
        size: Buckets (count); at most as many as there are weights.
    """
    text = "\x1f".join(["fold", str(seed), name, str(half)])
    key = hashlib.blake2b(text.encode(), digest_size=16).digest()
    source = np.random.Philox(key=int.from_bytes(key, "little"))
    length = max(TILE, 1 << (size - 1).bit_length())
    order = np.argsort(source.random_raw(length), kind="stable")
    rotation = source.random_raw(-(-num_weights // length)) % np.uint64(size)
    words = source.random_raw(-(-num_weights // 64)).astype("<u8")
    return FoldTable(
        size=size,
        order=(order % size).astype(np.int32),
        rotation=rotation.astype(np.int32),
        signs=words.view(np.uint8),
    )
