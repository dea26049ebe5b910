import pytest
import torch
from peft import LoraConfig, get_peft_model

from driftmap.core.errors import MeasureError
from driftmap.families.discover import find_layout
from driftmap.intervene.steering import SteeringVector, random_vectors, steering
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_families import FAMILY_NAMES, tiny_family, tiny_tokens

EVERY = FAMILY_NAMES


def vector(layer=0, *, sd=0.5, sign=1, width=16, seed=3):
    draw = torch.Generator().manual_seed(seed + layer)
    direction = 4 * torch.randn(width, generator=draw)
    return SteeringVector(layer=layer, direction=direction, sd=sd, sign=sign)


def states(model, layer=0, **given):
    """Output of one block, and the logits."""
    seen = []
    block = model.get_submodule(find_layout(model).blocks[layer])
    handle = block.register_forward_hook(lambda _m, _i, out: seen.append(out))
    given = {"input_ids": tiny_tokens(), "use_cache": False} | given
    try:
        with torch.no_grad():
            logits = model(**given).logits
    finally:
        handle.remove()
    return (seen[0][0] if isinstance(seen[0], tuple) else seen[0]), logits


@pytest.mark.parametrize("name", EVERY)
def test_every_state_moves_by_strength_times_spread_along_the_direction(name):
    model = tiny_family(name)
    before, intact = states(model)
    step = -1.5 * 0.5 * -1 * vector().direction / vector().direction.norm()
    with assert_restores_model(model), steering(model, [vector(sign=-1)], -1.5):
        after, moved = states(model)
    torch.testing.assert_close(after, before + step)
    assert not torch.allclose(moved, intact, atol=1e-3)
    assert torch.equal(states(model)[1], intact)


@pytest.mark.parametrize("keeps_norm", [False, True])
def test_no_strength_moves_no_bit(keeps_norm):
    model = tiny_llama()
    band = [vector(0), vector(1)]
    intact = states(model)[1]
    with steering(model, band, 0.0, keeps_norm=keeps_norm):
        assert torch.equal(states(model)[1], intact)


def test_a_band_is_its_layers_one_after_the_other():
    model = tiny_llama(layers=3)
    with steering(model, [vector(0), vector(2)], 1.0):
        found = states(model)[1]
    with steering(model, [vector(2)], 1.0), steering(model, [vector(0)], 1.0):
        assert torch.equal(states(model)[1], found)
    with steering(model, [vector(0)], 1.0):
        assert not torch.allclose(states(model)[1], found)


def test_a_state_can_keep_its_length():
    model = tiny_llama()
    before, _ = states(model)
    step = 2 * 0.5 * vector().direction / vector().direction.norm()
    with steering(model, [vector()], 2.0, keeps_norm=True):
        after, _ = states(model)
    torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1))
    moved = before + step
    expected = moved * (before.norm(dim=-1) / moved.norm(dim=-1))[..., None]
    torch.testing.assert_close(after, expected)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("tokens", ["all", "prompt", "last"])
def test_padding_is_never_pushed(side, tokens):
    model = tiny_llama()
    real = torch.ones(2, 7, dtype=torch.bool)
    real[1, slice(0, 3) if side == "left" else slice(4, 7)] = False
    before, _ = states(model, attention_mask=real.long())
    with steering(model, [vector()], 1.0, tokens=tokens):
        after, _ = states(model, attention_mask=real.long())
    moved = (after != before).any(-1)
    last = torch.zeros_like(real)
    last[0, 6] = last[1, 6 if side == "left" else 3] = True
    assert torch.equal(moved, last if tokens == "last" else real)


def test_flags_say_which_tokens_are_pushed():
    model = tiny_llama()
    flags = torch.zeros(2, 7, dtype=torch.bool)
    flags[0, 2] = flags[1, 4] = True
    before, _ = states(model)
    with steering(model, [vector()], 1.0, tokens=flags):
        after, _ = states(model)
    assert torch.equal((after != before).any(-1), flags)


def generated(model, *, tokens, real):
    """Which tokens of a text of 6 are pushed when the last two come from the cache."""
    ids = tiny_tokens(samples=2, tokens=6)
    seen = []
    block = model.get_submodule("model.layers.0")
    with torch.no_grad(), steering(model, [vector()], 1.0, tokens=tokens):
        handle = block.register_forward_hook(lambda _m, _i, out: seen.append(out))
        first = model(ids[:, :4], attention_mask=real[:, :4].long(), use_cache=True)
        cache = first.past_key_values
        for end in (5, 6):
            model(
                ids[:, end - 1 : end],
                attention_mask=real[:, :end].long(),
                past_key_values=cache,
                use_cache=True,
            )
        handle.remove()
    return torch.cat(seen, dim=1)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ("all", [[0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]]),
        ("prompt", [[0, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]]),
        ("generated", [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]]),
        ("last", [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1]]),
    ],
)
def test_a_text_that_grows_over_a_cache_is_pushed_where_it_is_asked(tokens, expected):
    model = tiny_llama(layers=1)  # what is pushed reaches no other token's state
    real = torch.ones(2, 6, dtype=torch.bool)
    real[0, 0] = False
    unmoved = torch.zeros(2, 4, dtype=torch.bool)
    before = generated(model, tokens=unmoved, real=real)
    moved = (generated(model, tokens=tokens, real=real) != before).any(-1)
    assert moved.long().tolist() == expected


def test_a_model_with_adapters_is_pushed_below_them():
    model = tiny_llama()
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    real = torch.ones(2, 7, dtype=torch.long)
    real[1, :3] = 0
    with torch.no_grad():
        intact = wrapped(tiny_tokens(), attention_mask=real).logits
        with assert_restores_model(wrapped), steering(wrapped, [vector()], 1.0):
            moved = wrapped(tiny_tokens(), attention_mask=real).logits
    changed = (moved != intact).any(-1)
    assert changed[0].all()
    assert changed[1, 3:].all()
    assert not changed[1, :3].any()


def test_a_narrow_model_adds_before_it_rounds():
    model = tiny_llama().bfloat16()
    before, _ = states(model)
    with steering(model, [vector()], 1.0):
        after, _ = states(model)
    unit = vector().direction.double() / vector().direction.double().norm()
    expected = (before.float() + (0.5 * unit).float()).bfloat16()
    assert after.dtype == torch.bfloat16
    assert torch.equal(after, expected)


def test_nothing_is_left_after_an_error():
    model = tiny_llama()

    def fail():
        with steering(model, [vector()], 1.0):
            raise RuntimeError("on purpose")

    with assert_restores_model(model), pytest.raises(RuntimeError, match="on purpose"):
        fail()


def test_chance_pushes_as_far_and_elsewhere():
    band = [vector(0), vector(1, sd=2.0, sign=-1)]
    drawn = random_vectors(band, seed=1)
    again = random_vectors(band, seed=1)
    assert [one.layer for one in drawn] == [0, 1]
    assert [one.sd for one in drawn] == [0.5, 2.0]
    for one, same, own in zip(drawn, again, band, strict=True):
        assert torch.equal(one.direction, same.direction)
        cosine = torch.cosine_similarity(one.direction, own.direction, dim=0)
        assert abs(float(cosine)) < 0.9


@pytest.mark.parametrize(
    ("vectors", "strength", "said"),
    [
        ([vector()], float("nan"), "a strength of nan steers nowhere; give a number"),
        (
            [vector(), vector(sd=1.0)],
            1.0,
            r"layers \[0, 0\] name one twice; give one steering vector for each",
        ),
        (
            [vector(2)],
            1.0,
            "vector of layer 2: the model has layers 0 to 1; steer one of them",
        ),
        (
            [vector(width=8)],
            0.0,
            "layer 0: it has 8 numbers, states of this model have 16; read the vector",
        ),
        (
            [SteeringVector(layer=0, direction=torch.zeros(16), sd=1.0)],
            1.0,
            "vector of layer 0: its direction is zero or not finite",
        ),
        (
            [vector(sd=0.0)],
            1.0,
            "a spread of 0.0 gives strengths no unit; was it read from one state alone",
        ),
    ],
)
def test_what_cannot_steer_is_refused(vectors, strength, said):
    model = tiny_llama()
    with pytest.raises(MeasureError, match=said), steering(model, vectors, strength):
        pass


def test_what_does_not_fit_the_text_is_refused():
    model = tiny_llama()
    flags = torch.ones(2, 6, dtype=torch.bool)
    said = r"\(2, 6\) flags of tokens to steer do not fit the \(2, 7\) tokens"
    with (
        assert_restores_model(model),
        pytest.raises(MeasureError, match=said),
        steering(model, [vector()], 1.0, tokens=flags),
    ):
        states(model)
    mask = torch.ones(2, 1, 7, 7, dtype=torch.bool).tril()
    with (
        pytest.raises(MeasureError, match="a mask that does not tell padding"),
        steering(model, [vector()], 1.0),
    ):
        states(model, attention_mask=mask)
