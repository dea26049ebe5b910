import numpy as np
import pytest
import torch
from torch.nn import functional

from driftmap.core.progress import Silence, listening
from driftmap.results.curriculum import Stock, WeightedRow
from driftmap.tune.packing import pack, weighted_loss
from driftmap.tune.pretrain import (
    ModelShape,
    PretrainSettings,
    learning_rate_share,
    make_llama,
    pretrain,
)

SHAPE = ModelShape(
    vocabulary=20, blocks=2, hidden=16, heads=2, mlp=24, max_length=32,
    bos_id=1, eos_id=2, pad_id=0,
)  # fmt: skip
SETTINGS = PretrainSettings(steps=30, learning_rate=1e-2, warmup_steps=3)


def row(*ids, weights=None):
    weights = [1.0] * len(ids) if weights is None else weights
    return WeightedRow(
        token_ids=np.array(ids, np.int32), weights=np.array(weights, np.float32)
    )


ROWS = (
    row(1, 5, 6, 2),
    row(1, 7, 8, 9, 10, 2, weights=[0, 0.1, 1, 0.5, 1, 0.3]),
    row(1, 11, 2),
    row(1, 12, 13, 14, 15, 16, 2),
)
STOCKS = (
    Stock(name="some", rows=ROWS[:2], rows_per_step=2),
    Stock(name="others", rows=ROWS[2:], rows_per_step=3),
)


def test_packing_keeps_every_row_and_its_targets():
    packed = pack(ROWS)
    assert packed.token_ids.shape == (3, 7)
    ids, targets, weights = (
        t.tolist() for t in (packed.token_ids, packed.targets, packed.weights)
    )
    assert ids[0] == [1, 12, 13, 14, 15, 16, 2]
    assert ids[2] == [1, 5, 6, 2, 1, 11, 2]
    assert packed.positions[2].tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert targets[2] == [5, 6, 2, 0, 11, 2, 0]
    assert weights[2] == [1, 1, 1, 0, 1, 1, 0]
    assert weights[1] == pytest.approx([0.1, 1, 0.5, 1, 0.3, 0, 0])


def test_the_packed_loss_is_that_of_the_rows_one_by_one():
    model = make_llama(SHAPE, 0)
    total = torch.zeros(())
    weight = 0.0
    for one in ROWS:
        ids = torch.from_numpy(one.token_ids).long()
        logits = model(input_ids=ids[None]).logits[0, :-1]
        nats = functional.cross_entropy(logits, ids[1:], reduction="none")
        total = total + (nats * torch.from_numpy(one.weights[1:])).sum()
        weight += float(one.weights[1:].sum())
    together = weighted_loss(model, pack(ROWS))
    torch.testing.assert_close(together, total / weight, rtol=1e-6, atol=1e-6)


def test_the_loss_does_not_depend_on_the_order_of_rows():
    model = make_llama(SHAPE, 0)
    one, other = (
        weighted_loss(model, pack(ROWS)),
        weighted_loss(model, pack(ROWS[::-1])),
    )
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_what_weighs_nothing_teaches_nothing():
    model = make_llama(SHAPE, 0)
    silent = row(1, 3, 4, 2, weights=[1, 0, 0, 0])
    with_it, without = pack([*ROWS, silent]), pack(ROWS)
    torch.testing.assert_close(
        weighted_loss(model, with_it), weighted_loss(model, without), rtol=1e-6, atol=0
    )


def test_training_learns_and_the_same_seed_gives_the_same_bytes():
    models = [make_llama(SHAPE, 3) for _ in range(2)]
    before = weighted_loss(models[0], pack(ROWS)).item()
    ends = [pretrain(model, STOCKS, SETTINGS, seed=3) for model in models]
    assert ends[0] == ends[1] < before / 2
    assert not models[0].training
    pairs = zip(models[0].parameters(), models[1].parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_another_seed_gives_other_weights_and_leaves_the_generator_alone():
    state = torch.random.get_rng_state()
    one, other = make_llama(SHAPE, 0), make_llama(SHAPE, 1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert one.lm_head.weight is not one.model.embed_tokens.weight


def test_every_row_is_read_before_any_is_read_again(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "driftmap.tune.pretrain.pack", lambda rows, _: seen.append(rows) or pack(rows)
    )
    settings = PretrainSettings(steps=4, learning_rate=1e-3, warmup_steps=1)
    pretrain(make_llama(SHAPE, 0), STOCKS, settings, seed=0)
    for rows in seen:
        assert {id(r) for r in rows[:2]} == {id(r) for r in ROWS[:2]}
        assert all(any(r is known for known in ROWS[2:]) for r in rows[2:])
    others = [r is ROWS[2] for rows in seen for r in rows[2:]]
    assert sum(others) == len(others) / 2


def test_the_rate_rises_and_then_falls():
    shares = [learning_rate_share(step, SETTINGS) for step in range(31)]
    assert shares[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert shares[3:] == sorted(shares[3:], reverse=True)
    assert shares[-1] == pytest.approx(0.01)


def test_progress_names_the_loss():
    heard = []

    class Ear(Silence):
        def advanced(self, steps, note):
            heard.append((steps, note))

    settings = PretrainSettings(steps=2, learning_rate=1e-3, warmup_steps=1)
    with listening(Ear()):
        pretrain(make_llama(SHAPE, 0), STOCKS, settings, seed=0)
    assert [steps for steps, _ in heard] == [1, 1]
    assert all(note.startswith("loss ") for _, note in heard)
