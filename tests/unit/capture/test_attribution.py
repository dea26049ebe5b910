import copy
from functools import partial

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from driftmap.capture.attribution import attribution, grad_drop
from driftmap.capture.patching.tracing import trace_prompt
from driftmap.core.errors import MeasureError
from driftmap.signals.traces import Corruption, Restoring
from laws.restores import assert_restores_model
from made_traces import made_prompt
from tiny import tiny_llama
from tiny_families import FAMILY_NAMES, tiny_family
from trace_oracle import PLACES, Oracle

QUICK = ("llama", "gemma2", "falcon", "bloom")
EVERY = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
    for name in FAMILY_NAMES
]
KINDS = ("hidden", "mlp", "attn")
OUTCOMES = ("prob", "log_prob", "logit", "logit_difference", "kl")
PROMPT = made_prompt([4, 9, 11, 7], (1, 3), answer=(8, 12), foil=(6,))
CELLS = [(1, 0), (2, 0), (3, 1)]
SINGLE = [
    Restoring(),
    Restoring(kind="mlp", window=1),
    Restoring(kind="attn", window=1),
]


def corruption(size=0.5, *, draws=2, replaces=False):
    random = torch.Generator().manual_seed(0)
    values = size * torch.randn(draws, 2, 16, generator=random, dtype=torch.float64)
    return Corruption(start=1, values=values, replaces=replaces)


def oracle(model, name, noise, share=0.0):
    """A run at a share of the way from corrupted to clean embeddings."""
    return Oracle(
        model,
        PLACES[name],
        PROMPT,
        noise.start,
        (1 - share) * noise.values,
        replaces=noise.replaces,
    )


def slopes(run, ends, kind, outcome):
    """Finite differences towards the clean output, at some of the cells."""
    return torch.stack(
        [
            run.slope(kind, t, layer, ends.difference(kind, t, layer), outcome)
            for t, layer in CELLS
        ]
    )


def effects(found):
    """Estimated effects of the same cells."""
    return torch.stack([found.scores[t, k] - found.low for t, k in CELLS])


def assert_alike(found, wanted, share=2e-3):
    largest = wanted.abs().max()
    assert largest > 1e-6
    torch.testing.assert_close(found, wanted, rtol=0, atol=share * float(largest))


@pytest.mark.parametrize("name", EVERY)
def test_the_estimate_is_the_slope_towards_the_clean_state(name):
    model, noise = tiny_family(name), corruption()
    ends = oracle(model, name, noise)
    with assert_restores_model(model):
        cells = attribution(model, PROMPT, noise, SINGLE, outcome="log_prob")
    for found, kind in zip(cells, KINDS, strict=True):
        assert found.method == "attribution"
        torch.testing.assert_close(found.low, ends.low("log_prob"), rtol=0, atol=1e-5)
        assert found.high == pytest.approx(ends.high("log_prob"), abs=1e-5)
        wanted = slopes(ends, ends, kind, "log_prob")
        assert_alike(effects(found), wanted)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome_has_its_slope(outcome):
    model, noise = tiny_llama().double(), corruption()
    ends = oracle(model, "llama", noise)
    cells = attribution(model, PROMPT, noise, SINGLE, outcome=outcome)
    for found, kind in zip(cells, KINDS, strict=True):
        assert_alike(effects(found), slopes(ends, ends, kind, outcome))


@pytest.mark.parametrize("points", [1, 2])
def test_the_integrated_one_averages_slopes_at_midpoints(points):
    model, noise = tiny_family("gemma2").double(), corruption()
    ends = oracle(model, "gemma2", noise)
    between = [
        oracle(model, "gemma2", noise, share=(k + 0.5) / points) for k in range(points)
    ]
    cells = attribution(model, PROMPT, noise, SINGLE, outcome="log_prob", points=points)
    plain = attribution(model, PROMPT, noise, SINGLE, outcome="log_prob")
    for found, rough, kind in zip(cells, plain, KINDS, strict=True):
        each = [slopes(run, ends, kind, "log_prob") for run in between]
        assert found.method == "integrated"
        assert torch.equal(found.low, rough.low)
        assert_alike(effects(found), torch.stack(each).mean(0))
        assert not torch.allclose(found.scores, rough.scores, rtol=1e-3)


def linear_gpt2():
    """Without norms, with a linear activation and attention that looks nowhere."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=40,
        n_positions=64,
        n_embd=16,
        n_layer=3,
        n_head=4,
        activation_function="linear",
        initializer_range=0.2,
    )
    model = GPT2LMHeadModel(config).double().eval()
    for block in model.transformer.h:
        block.ln_1, block.ln_2 = nn.Identity(), nn.Identity()
        with torch.no_grad():
            block.attn.c_attn.weight[:, :32] = 0
    model.transformer.ln_f = nn.Identity()
    return model


@pytest.mark.parametrize("points", [None, 2])
@pytest.mark.parametrize("outcome", ["logit", "logit_difference"])
def test_a_linear_model_is_estimated_exactly(outcome, points):
    model, noise = linear_gpt2(), corruption(2.0)
    wanted = [*SINGLE, Restoring(dims=(3, 9)), Restoring(dims=(0, 16))]
    exact = trace_prompt(model, PROMPT, noise, wanted, outcome=outcome, method="naive")
    found = attribution(model, PROMPT, noise, wanted, outcome=outcome, points=points)
    for left, right in zip(found, exact, strict=True):
        assert left.restoring == right.restoring
        torch.testing.assert_close(left.scores, right.scores)
        assert float((right.scores - right.low).abs().max()) > 0.1
    torch.testing.assert_close(found[4].scores, found[0].scores)


def test_a_window_adds_up_its_modules():
    model, noise = tiny_llama(layers=4), corruption()
    wide = [
        Restoring(kind="mlp", window=3),
        Restoring(kind="mlp", window=4),
        Restoring(kind="mlp", window=9),
    ]
    one, *others = attribution(
        model, PROMPT, noise, [Restoring(kind="mlp", window=1), *wide]
    )
    effect = one.scores - one.low
    spans = [
        [(0, 2), (0, 3), (1, 4), (2, 4)],
        [(0, 2), (0, 3), (0, 4), (1, 4)],
        [(0, 4), (0, 4), (0, 4), (0, 4)],
    ]
    for cells, columns in zip(others, spans, strict=True):
        wanted = torch.stack([effect[:, i:j].sum(1) for i, j in columns], dim=1)
        torch.testing.assert_close(cells.scores - cells.low, wanted)


class CutByHand:
    """A corrupted run in which one block is `x + what it adds`, with no gradient."""

    def __init__(self, model, ends, cut):
        self.ends, self.cut, self.seen = ends, cut, {}
        self.model = copy.deepcopy(model).requires_grad_(False)
        places = ends.places
        for layer in range(ends.num_layers):
            for kind in KINDS:
                module = self.model.get_submodule(ends._module(kind).format(layer))
                module.register_forward_hook(partial(self.leave, kind, layer))
            block = self.model.get_submodule(places.block.format(layer))
            block.register_forward_pre_hook(self.enter)
        embedding = self.model.get_submodule(places.embedding)
        embedding.register_forward_hook(self.spoil)

    def enter(self, _module, args):
        self.entered = args[0]

    def leave(self, kind, layer, _module, _inputs, output):
        states = (output[0] if isinstance(output, tuple) else output).clone()
        if (kind, layer) == ("hidden", self.cut):
            states = self.entered + (states - self.entered).detach()
        self.seen[kind, layer] = states
        return (states, *output[1:]) if isinstance(output, tuple) else states

    def spoil(self, _module, _inputs, output):
        output = output.detach().clone()
        output[:, 1:3] += self.ends.values
        return output.requires_grad_(True)

    def sizes(self, kind, outcome):
        rows = self.ends.ids.expand(len(self.ends.values), -1)
        value = self.ends.read(self.model(rows, use_cache=False).logits, outcome).sum()
        states = [self.seen[kind, layer] for layer in range(self.ends.num_layers)]
        slopes = torch.autograd.grad(
            value, states, allow_unused=True, materialize_grads=True
        )
        sizes = torch.zeros(4, len(slopes), len(rows), dtype=torch.float64)
        for layer, by in enumerate(slopes):
            for t in range(4):
                towards = self.ends.difference(kind, t, layer)
                sizes[t, layer] = (towards * by[:, t]).sum(-1).abs()
        return sizes


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "falcon"])
def test_what_a_block_adds_is_dropped_from_the_gradient(name):
    model, noise = tiny_family(name).double(), corruption()
    with assert_restores_model(model):
        cells = grad_drop(model, PROMPT, noise, SINGLE, outcome="log_prob")
    ends = oracle(model, name, noise)
    for found, kind in zip(cells, KINDS, strict=True):
        each = [
            CutByHand(model, ends, cut).sizes(kind, "log_prob")
            for cut in range(ends.num_layers)
        ]
        wanted = sum(each) / (ends.num_layers - 1)
        assert found.method == "grad_drop"
        torch.testing.assert_close(found.scores - found.low, wanted)
        assert float(wanted.max()) > 1e-3


def test_what_nothing_reaches_is_low_exactly():
    model, noise = tiny_llama(layers=3), corruption()
    for method in (attribution, grad_drop):
        hidden, mlp, _ = method(model, PROMPT, noise, SINGLE)
        assert torch.equal(hidden.scores[0], hidden.low.expand(3, -1))
        assert torch.equal(mlp.scores[0], mlp.low.expand(3, -1))
        assert torch.equal(hidden.scores[1:3, 2], hidden.low.expand(2, -1))
        assert not torch.equal(hidden.scores[3, 2], hidden.low)


def test_only_wanted_tokens_are_told():
    model, noise = tiny_llama(), corruption()
    for method in (attribution, grad_drop):
        whole, part = method(
            model, PROMPT, noise, [Restoring(), Restoring(tokens=(2, 3))]
        )
        assert torch.equal(part.scores[2], whole.scores[2])
        assert part.scores[[0, 1, 3]].isnan().all()


def test_noise_may_stand_in_place_of_the_embedding():
    model = tiny_llama().double()
    noise = corruption(replaces=True)
    ends = oracle(model, "llama", noise)
    found = attribution(model, PROMPT, noise, [Restoring()], outcome="log_prob")[0]
    wanted = slopes(ends, ends, "hidden", "log_prob")
    assert_alike(effects(found), wanted)


def test_draws_do_not_know_of_each_other():
    model, noise = tiny_llama().double(), corruption(draws=3)
    together = attribution(model, PROMPT, noise, SINGLE)
    for number in range(3):
        alone = Corruption(
            start=1, values=noise.values[number : number + 1], replaces=False
        )
        for all_, one in zip(
            together, attribution(model, PROMPT, alone, SINGLE), strict=True
        ):
            torch.testing.assert_close(
                all_.scores[..., number : number + 1], one.scores
            )


def test_adapters_are_part_of_the_model():
    model, noise = tiny_llama(), corruption()
    config = LoraConfig(
        r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False
    )
    wrapped = get_peft_model(model, config)
    with assert_restores_model(wrapped), torch.no_grad():
        found = attribution(wrapped, PROMPT, noise, SINGLE)
    merged = copy.deepcopy(wrapped).merge_and_unload()
    for left, right in zip(
        found, attribution(merged, PROMPT, noise, SINGLE), strict=True
    ):
        torch.testing.assert_close(left.scores, right.scores)


def test_a_narrow_model_is_estimated_too():
    model, noise = tiny_llama(), corruption()
    wide = attribution(model, PROMPT, noise, SINGLE, outcome="log_prob")
    narrow = attribution(model.bfloat16(), PROMPT, noise, SINGLE, outcome="log_prob")
    for left, right in zip(narrow, wide, strict=True):
        assert_alike(left.scores - left.low, right.scores - right.low, share=0.2)


@pytest.mark.parametrize(
    ("wanted", "points", "said"),
    [
        (Restoring(kind="severed_mlp"), None, "severed_mlp: gradients estimate no run"),
        (Restoring(), 0, "0 points are no path; take 1 or more"),
        (Restoring(kind="mlp"), None, "mlp: a window of None layers; give 1 or more"),
    ],
)
def test_what_has_no_estimate_is_refused(wanted, points, said):
    model = tiny_llama()
    with assert_restores_model(model), pytest.raises(MeasureError, match=said):
        attribution(model, PROMPT, corruption(), [wanted], points=points)


def test_one_block_leaves_nothing_to_drop():
    model = tiny_llama(layers=1)
    with pytest.raises(MeasureError, match="a model of one block has no other block"):
        grad_drop(model, PROMPT, corruption(), [Restoring()])


def test_a_gradient_that_ends_on_its_way_is_noticed():
    model = tiny_llama()
    handle = model.model.norm.register_forward_hook(lambda _m, _i, out: out.detach())
    said = "model.embed_tokens: the answer has no gradient there; trace this model"
    with pytest.raises(MeasureError, match=said):
        attribution(model, PROMPT, corruption(), [Restoring()])
    handle.remove()
    for layer in model.model.layers:
        layer.mlp.register_forward_hook(lambda _m, _i, out: out.detach())
    said = "mlp: no gradient reaches it although the noise changes the answer by"
    with pytest.raises(MeasureError, match=said):
        attribution(model, PROMPT, corruption(), [Restoring(kind="mlp", window=1)])
