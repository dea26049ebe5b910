from pathlib import Path

import pytest

from driftmap.core.errors import StoreError
from driftmap.results.heads import Head
from driftmap.store.head_ranks import import_head_ranks

PUBLISHED = (
    Path(__file__).parents[4]
    / "shared/data/align_sft_llama2_short/probing_result_7b.json"
)


def test_the_highest_come_first_and_ties_by_place(tmp_path):
    file = tmp_path / "ranks.json"
    file.write_text(
        '{"layer-1-head-0": 0.5, "layer-0-head-11": 0.5, "layer-2-head-3": 1}'
    )
    found = import_head_ranks(file)
    assert [rank.head for rank in found] == [
        Head(layer=2, number=3),
        Head(layer=0, number=11),
        Head(layer=1, number=0),
    ]
    assert [rank.value for rank in found] == [1.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"head-3": 1}', "'head-3' names no head; keys are like 'layer-0-head-3'"),
        ('{"layer-0-head-3": "x"}', "layer-0-head-3 is 'x'; give a number"),
        ('{"layer-0-head-3": true}', "layer-0-head-3 is True; give a number"),
        ('{"layer-0-head-3": NaN}', "layer-0-head-3 is nan; give a finite number"),
        (
            '{"layer-0-head-3": 1, "layer-0-head-3": 2}',
            "layer-0-head-3 stands there twice; keep one of them",
        ),
        ("{}", "holds no ranks of heads"),
        ("[1]", "holds no ranks of heads"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_anything_else_is_refused(tmp_path, text, message):
    file = tmp_path / "ranks.json"
    file.write_text(text)
    with pytest.raises(StoreError, match=r"ranks\.json") as refused:
        import_head_ranks(file)
    assert message in str(refused.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(StoreError, match="there is no such file; check the name"):
        import_head_ranks(tmp_path / "ranks.json")


@pytest.mark.skipif(not PUBLISHED.exists(), reason="../shared holds no published ranks")
def test_published_ranks_of_a_7b_model_come_in():
    found = import_head_ranks(PUBLISHED)
    assert {rank.head for rank in found} == {
        Head(layer=layer, number=number) for layer in range(32) for number in range(32)
    }
    values = [rank.value for rank in found]
    assert values == sorted(values, reverse=True)
    assert 0.5 < values[-1] <= values[0] <= 1
