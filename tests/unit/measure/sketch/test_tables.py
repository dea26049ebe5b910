import hashlib

import numpy as np
import pytest

from driftmap.measure.sketch.tables import TILE, fold_table

NAME = "model.layers.0.mlp.up_proj.weight"


def test_a_table_is_the_same_bytes_on_every_machine():
    table = fold_table(0, NAME, 0, 40_000, 512)
    parts = (
        table.order.astype("<i4"), table.rotation.astype("<i4"), table.signs,
    )  # fmt: skip
    digest = hashlib.blake2b(b"".join(p.tobytes() for p in parts), digest_size=8)
    assert digest.hexdigest() == "cc221ef0578bf04a"
    assert table.order[:6].tolist() == [509, 270, 268, 220, 327, 181]
    assert table.rotation.tolist() == [175, 37, 407]


@pytest.mark.parametrize("size", [2, 512, TILE // 2, 768, 3 * TILE])
def test_every_bucket_of_a_tile_gets_its_share_of_weights(size):
    table = fold_table(0, NAME, 0, 200_000, size)
    counts = np.bincount(table.order, minlength=size)
    assert len(counts) == size
    assert counts.max() - counts.min() <= 1
    assert len(table.order) >= size
    assert len(table.rotation) == -(-200_000 // len(table.order))
    assert table.rotation.min() >= 0
    assert table.rotation.max() < size


def test_signs_are_fair():
    bits = np.unpackbits(fold_table(0, NAME, 0, 10**6, 512).signs)[: 10**6]
    assert abs(bits.mean() - 0.5) < 4 * 0.5 / 10**3


def test_seed_name_and_half_each_give_another_table():
    tables = [
        fold_table(0, NAME, 0, 640, 64),
        fold_table(1, NAME, 0, 640, 64),
        fold_table(0, NAME + "x", 0, 640, 64),
        fold_table(0, NAME, 1, 640, 64),
    ]
    assert len({t.signs.tobytes() for t in tables}) == 4
    assert len({t.order.tobytes() for t in tables}) == 4
