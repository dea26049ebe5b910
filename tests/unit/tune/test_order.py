from dataclasses import replace

import pytest

from driftmap.core.errors import UsageError
from driftmap.tune.order import (
    EpochOrder,
    RankBatches,
    RankLoader,
    epoch_order,
    require_even_shares,
)
from driftmap.tune.settings import TuningSettings


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [1, 6, 13])
def test_processes_share_every_batch_of_one_process(size, num_ranks):
    shares = [
        RankBatches(EpochOrder(size, 5), 2, rank, num_ranks)
        for rank in range(num_ranks)
    ]
    for epoch in (0, 3):
        for share in shares:
            share.set_epoch(epoch)
        order = epoch_order(size, 5, epoch)
        whole = [order[n : n + 2] for n in range(0, size, 2)]
        # Round by round, as the steps take them; `size` stands for no sample.
        rounds = zip(*shares, strict=True)
        together = [batch for taken in rounds for batch in taken]
        assert [batch for batch in together if batch != [size]] == whole
        assert len({len(share) for share in shares}) == 1
        assert len(together) == num_ranks * len(shares[0])


def test_a_loader_hands_the_epoch_on():
    loader = RankLoader(range(7), batch_sampler=RankBatches(EpochOrder(6, 0), 2, 0, 2))
    first = [batch.tolist() for batch in loader]
    loader.set_epoch(1)
    assert [batch.tolist() for batch in loader] != first


@pytest.mark.parametrize(
    ("batch_size", "grad_accum", "num_ranks", "remedy"),
    [
        (4, 4, 8, "give --batch-size 2 --grad-accum 8, which is as many samples"),
        (4, 1, 2, "give --batch-size 2 --grad-accum 2, which is as many samples"),
        (2, 3, 4, "start a number of processes that divides 3"),
    ],
)
def test_uneven_shares_are_refused(batch_size, grad_accum, num_ranks, remedy):
    settings = TuningSettings(batch_size=batch_size, grad_accum=grad_accum)
    with pytest.raises(UsageError) as refused:
        require_even_shares(settings, num_ranks)
    assert str(refused.value).startswith(
        f"--grad-accum {grad_accum}: {num_ranks} processes cannot share the batches"
    )
    assert remedy in str(refused.value)
    require_even_shares(replace(settings, grad_accum=2 * num_ranks), num_ranks)
