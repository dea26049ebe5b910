"""A small mixture of experts learns, and its balance loss is the published one."""

import numpy as np
import pytest
import torch

from driftmap.results.curriculum import Stock, WeightedRow
from driftmap.tune.packing import pack, weighted_loss
from driftmap.tune.pretrain import PretrainSettings, learning_rate_share, pretrain
from driftmap.tune.pretrain_moe import BALANCE, MoeShape, balanced_loss, make_olmoe

SHAPE = MoeShape(
    vocabulary=20, blocks=2, hidden=16, heads=2, num_experts=4, num_chosen=2,
    expert=8, max_length=32, bos_id=1, eos_id=2, pad_id=0,
)  # fmt: skip


def row(*ids):
    return WeightedRow(
        token_ids=np.array(ids, np.int32), weights=np.ones(len(ids), np.float32)
    )


ROWS = (row(1, 5, 6, 2), row(1, 7, 8, 9, 10, 2), row(1, 11, 2))
STOCKS = (Stock(name="some", rows=ROWS, rows_per_step=3),)


def test_the_size_of_the_built_in_model():
    model = make_olmoe(MoeShape(vocabulary=223, bos_id=1, eos_id=2, pad_id=0), 0)
    assert sum(weight.numel() for weight in model.parameters()) == 885_696
    assert model.lm_head.weight is not model.model.embed_tokens.weight
    assert model.training


def test_the_balance_loss_counts_rows_alone_and_every_layer():
    model = make_olmoe(SHAPE, 0)
    chosen, likely, places = np.zeros(4), np.zeros(4), 0
    for one in ROWS:
        ids = torch.from_numpy(one.token_ids).long()[None]
        for logits in model(input_ids=ids, output_router_logits=True).router_logits:
            for token in logits.softmax(dim=1).tolist():
                best = sorted(range(4), key=token.__getitem__)[-2:]
                chosen[best] += 1
                likely += token
                places += 1
    balance = 4 * float((chosen / places) @ (likely / places))
    for bin_tokens in (None, 17):
        packed = pack(ROWS, bin_tokens)
        extra = balanced_loss(model, packed) - weighted_loss(model, packed)
        assert extra.item() == pytest.approx(BALANCE * balance, rel=1e-4)


def test_the_length_of_bins_changes_no_loss():
    model = make_olmoe(SHAPE, 0)
    assert pack(ROWS).token_ids.shape == (3, 6)
    assert pack(ROWS, 9).token_ids.shape == (2, 9)
    assert pack(ROWS, 4).token_ids.shape == (3, 6)
    one, other = (weighted_loss(model, pack(ROWS, length)) for length in (None, 9))
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_training_learns_and_the_same_seed_gives_the_same_bytes():
    settings = PretrainSettings(steps=30, learning_rate=1e-2, warmup_steps=3)
    models = [make_olmoe(SHAPE, 3) for _ in range(2)]
    before = balanced_loss(models[0], pack(ROWS)).item()
    ends = [
        pretrain(model, STOCKS, settings, 3, "experts", balanced_loss)
        for model in models
    ]
    assert ends[0] == ends[1] < before / 2
    pairs = zip(models[0].parameters(), models[1].parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_routers_learn_from_the_balance_loss():
    model = make_olmoe(SHAPE, 0)
    packed = pack(ROWS)
    router = model.model.layers[0].mlp.gate.weight
    (balanced_loss(model, packed) - weighted_loss(model, packed)).backward()
    assert router.grad.abs().max() > 0


def test_the_rate_stays_before_it_falls():
    settings = PretrainSettings(
        steps=10, learning_rate=1, warmup_steps=2, final_share=0.02, flat_share=0.4
    )
    shares = [learning_rate_share(step, settings) for step in range(11)]
    assert shares[:5] == pytest.approx([0.5, 1, 1, 1, 1])
    assert shares[5] < 1
    assert shares[7] == pytest.approx(0.51)
    assert shares[10] == pytest.approx(0.02)
