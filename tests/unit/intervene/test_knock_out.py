import pytest
import torch

from driftmap.core.errors import MeasureError
from driftmap.families.attention import find_attention
from driftmap.intervene.knock_out import CutEdges, knocked_out
from driftmap.signals.attention import AttentionCall
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_families import tiny_tokens


@torch.no_grad()
def said(model, ids, cut):
    with knocked_out(model, find_attention(model), cut):
        return model(ids, use_cache=False).logits


def test_nothing_cut_changes_no_bit():
    model, ids = tiny_llama(), tiny_tokens(samples=1)
    plain = model(ids, use_cache=False).logits
    nowhere = CutEdges(layers=frozenset({7}), queries=(3,), keys=(1,))
    assert torch.equal(said(model, ids, [nowhere]), plain)
    assert torch.equal(said(model, ids, [CutEdges(layers=frozenset({0}))]), plain)


def test_without_edges_to_a_token_it_may_as_well_be_another():
    model, ids = tiny_llama(), tiny_tokens(samples=1, tokens=8)
    other = ids.clone()
    other[0, 2] = 3 if ids[0, 2] != 3 else 4
    later = CutEdges(layers=frozenset({0, 1}), queries=tuple(range(3, 8)), keys=(2,))
    one, two = said(model, ids, [later]), said(model, other, [later])
    assert torch.equal(one[:, 3:], two[:, 3:])
    assert not torch.allclose(said(model, ids, [CutEdges()])[:, 7], one[:, 7])


def test_each_sample_has_its_own_cuts():
    model, ids = tiny_llama(), tiny_tokens(samples=1, tokens=8).expand(2, -1)
    cut = CutEdges(layers=frozenset({1}), queries=(7,), keys=(2, 3))
    both = said(model, ids, [cut, CutEdges()])
    torch.testing.assert_close(both[:1], said(model, ids[:1], [cut]))
    torch.testing.assert_close(both[1:], said(model, ids[:1], [CutEdges()]))


def test_a_query_left_with_nothing_is_refused_and_the_model_restored():
    model, ids = tiny_llama(), tiny_tokens(samples=1)
    alone = CutEdges(layers=frozenset({0}), queries=(1,), keys=(0, 1))
    wanted = r"layers\.0\.self_attn: sample 0: position 1 is left without any key"
    with assert_restores_model(model), pytest.raises(MeasureError, match=wanted):
        said(model, ids, [alone])


def test_another_batch_is_refused():
    model = tiny_llama()
    cut = CutEdges(layers=frozenset({0}), queries=(3,), keys=(1,))
    with pytest.raises(MeasureError, match="cut for 1 samples, and the batch has 2"):
        said(model, tiny_tokens(samples=2), [cut])


def test_masks_of_another_kind_are_refused(monkeypatch):
    model = tiny_llama()
    seen = AttentionCall(place=0, mask=torch.ones(1, 5))

    def run(_model, _paths, change):
        change(seen)

    monkeypatch.setattr("driftmap.intervene.knock_out.changing_masks", run)
    cut = CutEdges(layers=frozenset({0}), queries=(3,), keys=(1,))
    with pytest.raises(MeasureError, match="takes no mask of queries by keys; load"):
        knocked_out(model, find_attention(model), [cut])
