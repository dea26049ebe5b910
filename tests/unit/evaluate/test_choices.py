import numpy as np
import pytest
import torch

from choice_items import items
from driftmap.core.errors import DataError, MeasureError
from driftmap.evaluate.choices import choice_readings
from driftmap.results.utility import ChoiceItem
from tiny import tiny_llama
from tokenizers_made import byte_level


def likeliest(model, tokenizer, item):
    """One choice at a time, one token at a time, in float64."""
    sums = []
    for choice in item.choices:
        ids = tokenizer(item.context + choice)["input_ids"]
        start = len(tokenizer(item.context.rstrip())["input_ids"])
        total = 0.0
        for place in range(start, len(ids)):
            z = model(torch.tensor([ids[:place]])).logits[0, -1].detach().double()
            total += z[ids[place]].item() - z.logsumexp(0).item()
        sums.append(total)
    return int(np.argmax(sums))


def test_agrees_with_one_choice_and_one_token_at_a_time():
    model, tokenizer, asked = tiny_llama(vocab=400), byte_level(), items()
    (reading,) = choice_readings(model, tokenizer, asked)
    expected = [float(likeliest(model, tokenizer, i) == i.answer) for i in asked]
    assert reading.values.tolist() == expected
    assert 0 < np.mean(expected) < 1
    assert reading.item_ids == tuple(item.item_id for item in asked)
    assert (reading.task, reading.metric, reading.is_rate) == ("colours", "acc", True)
    assert reading.chance == pytest.approx(np.mean([1 / 2, 1 / 3, 1 / 4]))


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_batches_change_nothing(batch_size):
    model, tokenizer = tiny_llama(vocab=400).train(), byte_level()
    some = choice_readings(model, tokenizer, items(), batch_size=batch_size)
    other = choice_readings(model, tokenizer, items(), batch_size=7)
    assert some[0].values.tolist() == other[0].values.tolist()
    assert model.training


def test_tasks_stand_apart_and_a_limit_takes_the_first_of_each():
    model, tokenizer = tiny_llama(vocab=400), byte_level()
    first, second = items(6), items(9, task="others", seed=1)
    mixed = [*first[:3], *second, *first[3:]]
    readings = choice_readings(model, tokenizer, mixed, limit=4)
    assert [r.task for r in readings] == ["colours", "others"]
    assert [r.num_available for r in readings] == [6, 9]
    assert readings[0].item_ids == tuple(i.item_id for i in first[:4])
    alone = choice_readings(model, tokenizer, second)
    assert readings[1].values.tolist() == alone[0].values[:4].tolist()


def test_text_that_begins_itself_is_not_begun_twice():
    model, tokenizer = tiny_llama(vocab=400), byte_level(adds_bos=True)
    plain = items(12)
    begun = [
        ChoiceItem(
            task=i.task,
            item_id=i.item_id,
            context=f"<s>{i.context}",
            choices=i.choices,
            answer=i.answer,
        )
        for i in plain
    ]
    one, other = (choice_readings(model, tokenizer, some) for some in (plain, begun))
    assert one[0].values.tolist() == other[0].values.tolist()


def test_equals_go_to_the_first():
    model = tiny_llama(vocab=400)
    model.lm_head.weight.data.zero_()
    same = [
        ChoiceItem(
            task="t", item_id=str(n), context="sky", choices=(" one", " one"), answer=n
        )
        for n in (0, 1)
    ]
    (reading,) = choice_readings(model, byte_level(), same)
    assert reading.values.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("context", "choice"), [("", " blue"), ("sky", "")])
def test_item_without_tokens_is_refused(context, choice):
    broken = ChoiceItem(
        task="t", item_id="7", context=context, choices=(choice, " x"), answer=0
    )
    with pytest.raises(DataError, match="t: item '7' has no token before a choice, or"):
        choice_readings(tiny_llama(vocab=400), byte_level(), [broken])


def test_no_item_is_refused():
    with pytest.raises(DataError, match="there is no item to choose in"):
        choice_readings(tiny_llama(vocab=400), byte_level(), [])


def test_nan_is_never_an_answer():
    model = tiny_llama(vocab=400)
    model.lm_head.weight.data[4] = float("nan")
    with pytest.raises(MeasureError, match="a logit of a choice is NaN"):
        choice_readings(model, byte_level(), items(2))
