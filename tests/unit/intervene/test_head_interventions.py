import pytest
import torch

from driftmap.core.errors import MeasureError
from driftmap.families.discover import find_layout
from driftmap.families.matrices import set_site_weight, site_weight
from driftmap.intervene.heads import mean_heads, zero_heads
from driftmap.intervene.regions import columns_of_head, num_heads
from driftmap.results.heads import Head
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_families import FAMILY_NAMES, ROW_NAMES, tiny_family, tiny_tokens

EVERY = FAMILY_NAMES + ROW_NAMES


def site_of(model, part, layer=0):
    return next(
        s for s in find_layout(model).sites if s.part == part and s.layer == layer
    )


def run(model, *, output=None, change=None):
    """Logits, and what enters the map `output`; `change` may alter that on the way."""
    seen = []

    def look(module, args):
        inputs = args[0] if change is None else change(args[0].clone())
        seen.append(inputs)
        return (inputs, *args[1:])

    module = model.get_submodule(output.path)
    handle = module.register_forward_pre_hook(look)
    try:
        with torch.no_grad():
            logits = model(input_ids=tiny_tokens(), use_cache=False).logits
    finally:
        handle.remove()
    return logits, seen[0]


@pytest.mark.parametrize("name", EVERY)
def test_the_columns_of_a_head_are_those_its_queries_decide(name):
    """Other queries of head h change head h's output, and that of no other head."""
    model = tiny_family(name)
    queries, output = site_of(model, "q"), site_of(model, "o")
    size = output.head_size
    before = run(model, output=output)[1]
    weight = site_weight(model, queries).clone()
    for head in range(num_heads(output)):
        other = weight.clone()
        other[head * size : (head + 1) * size] *= -1  # norms over all heads stay
        set_site_weight(model, queries, other)
        changed = (run(model, output=output)[1] != before).flatten(0, -2).any(0)
        columns = set(changed.nonzero().flatten().tolist())
        assert columns == set(columns_of_head(output, head)), name
        set_site_weight(model, queries, weight)


@pytest.mark.parametrize("name", EVERY)
def test_a_head_without_its_columns_is_a_head_that_says_zero(name):
    model = tiny_family(name)
    output = site_of(model, "o", layer=1)
    size = output.head_size

    def silent(inputs):
        inputs[..., 2 * size : 3 * size] = 0
        return inputs

    expected = run(model, output=output, change=silent)[0]
    with assert_restores_model(model):
        intact = run(model, output=output)[0]
        with zero_heads(model, [Head(layer=1, number=2)]):
            without = run(model, output=output)[0]
    torch.testing.assert_close(without, expected)
    assert not torch.allclose(without, intact, atol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_what_every_other_head_adds_stays_as_it_was(name):
    model = tiny_family(name)
    output = site_of(model, "o")
    size = output.head_size

    def contributions():
        heads = run(model, output=output)[1]
        weight = site_weight(model, output)
        return [
            heads[..., h * size : (h + 1) * size]
            @ weight[:, h * size : (h + 1) * size].T
            for h in range(num_heads(output))
        ]

    before = contributions()
    with zero_heads(model, [Head(layer=0, number=1), Head(layer=0, number=3)]):
        after = contributions()
    for head, (old, new) in enumerate(zip(before, after, strict=True)):
        assert torch.any(old)
        assert torch.equal(new, torch.zeros_like(new) if head in (1, 3) else old)


def test_zero_values_would_take_away_every_head_of_their_group():
    """Why columns of o are taken: four query heads share two value heads here."""
    model = tiny_llama()
    values, output = site_of(model, "v"), site_of(model, "o")
    size = output.head_size
    weight = site_weight(model, values).clone()
    weight[:size] = 0
    set_site_weight(model, values, weight)
    seen = run(model, output=output)[1]
    silent = [h for h in range(4) if not seen[..., h * size : (h + 1) * size].any()]
    assert silent == [0, 1]


@pytest.mark.parametrize("name", ["llama", "gpt2", "falcon"])
def test_a_mean_stands_where_the_head_spoke(name):
    model = tiny_family(name)
    output = site_of(model, "o")
    size = output.head_size
    heads = run(model, output=output)[1]
    means = heads.reshape(-1, heads.shape[-1]).mean(0)

    def average(inputs):
        inputs[..., size : 2 * size] = means[size : 2 * size]
        return inputs

    expected = run(model, output=output, change=average)[0]
    with assert_restores_model(model):
        intact = run(model, output=output)[0]
        with mean_heads(model, [Head(layer=0, number=1)], {output: means}):
            with_mean = run(model, output=output)[0]
    torch.testing.assert_close(with_mean, expected)
    assert not torch.allclose(with_mean, intact, atol=1e-4)


def test_an_error_takes_the_mean_away_again():
    model = tiny_llama()
    output = site_of(model, "o")
    means = {output: torch.zeros(output.num_columns)}
    with (
        assert_restores_model(model),
        pytest.raises(RuntimeError, match="on purpose"),
        mean_heads(model, [Head(layer=0, number=0)], means),
    ):
        raise RuntimeError("on purpose")


@pytest.mark.parametrize("head", [Head(layer=2, number=0), Head(layer=0, number=4)])
def test_a_head_that_is_not_there_is_refused(head):
    model = tiny_llama()
    message = f"{head.name}: the model has no such head; it has layers 0 to 1 with "
    with (
        pytest.raises(MeasureError, match=message + "heads 0 to 3"),
        zero_heads(model, [head]),
    ):
        pass
