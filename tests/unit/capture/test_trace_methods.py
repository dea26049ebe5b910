"""Do the fast ways of tracing run little, give the same, and step aside where not?"""

from contextlib import contextmanager
from functools import partial

import pytest
import torch
from peft import LoraConfig, get_peft_model

from driftmap.capture.patching import choosing
from driftmap.capture.patching.tracing import Tracing, trace_prompt, trace_within
from driftmap.core.errors import MeasureError
from driftmap.signals.traces import Restoring
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_experts import tiny_moe
from tiny_families import tiny_family
from tiny_traces import tiny_corruption, tiny_prompt

HIDDEN = [Restoring()]
KINDS = [
    Restoring(),
    Restoring(dims=(2, 9)),
    Restoring(kind="mlp", window=3),
    Restoring(kind="attn", window=2),
    Restoring(kind="severed_attn"),
]


def traced(model, prompt, wanted, **given):
    given = {"outcome": "log_prob"} | given
    return trace_prompt(model, prompt, tiny_corruption(prompt), wanted, **given)


def assert_exact(model, prompt, wanted, method, atol=1e-5, effect=1e-3):
    """What is found is what whole forward passes give, and is not the corrupted run."""
    with assert_restores_model(model):
        found = traced(model, prompt, wanted)
    naive = traced(model, prompt, wanted, method="naive")
    for one, other in zip(found, naive, strict=True):
        assert one.method == method
        assert other.method == "naive"
        torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=atol)
        assert (one.scores - one.low).abs().max() > effect


@contextmanager
def counting(module):
    """Rows times tokens that go through a module, call by call."""
    counts = []
    hook = module.register_forward_hook(
        lambda _module, _inputs, output: counts.append(output[..., 0].numel())
    )
    try:
        yield counts
    finally:
        hook.remove()


def test_every_way_gives_the_same():
    model, prompt = tiny_llama(layers=3), tiny_prompt(tokens=4, answer=2)
    naive = traced(model, prompt, KINDS, method="naive")
    for method in ("wavefront", "resume"):
        found = traced(model, prompt, KINDS, method=method)
        for one, other in zip(found, naive, strict=True):
            assert one.method == method
            torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=1e-5)


def test_only_what_a_cell_reaches_is_run():
    """Counted by hand: T 6, L 4, S 3, subject from 1; resume runs all 6 tokens."""
    prompt, model = tiny_prompt(tokens=6), tiny_llama(layers=4)
    traced(model, prompt, HIDDEN)  # the way is chosen before counting
    runs = {}
    for method in ("wavefront", "resume", "naive"):
        with (
            counting(model.model.layers[2].mlp) as middle,
            counting(model.model.layers[3].mlp) as last,
        ):
            traced(model, prompt, HIDDEN, method=method)
        runs[method] = sum(middle), sum(last)
    base = 4 * 6
    # Cells of layers 0 and 1 go through block 2, those of layer 2 through the last too.
    assert runs["wavefront"][0] == base + 2 * 3 * (5 + 4 + 3 + 2 + 1)
    assert runs["resume"][0] == base + 2 * 3 * 5 * 6
    # The last block is run where the answer is read: at one token.
    assert runs["wavefront"][1] == base + 3 * 3 * 5
    # Column 3 changes nothing but at the last token.
    assert runs["naive"][0] == base + 3 * 6 * (4 * 3 + 4)


def test_windows_that_begin_together_are_run_once():
    prompt, model = tiny_prompt(tokens=6), tiny_llama(layers=4)
    wide = [Restoring(kind="mlp", window=8)]
    traced(model, prompt, wide)
    with counting(model.model.layers[2].mlp) as middle:
        (cells,) = traced(model, prompt, wide)
    assert sum(middle) == 4 * 6 + 3 * (5 + 4 + 3 + 2 + 1)
    assert torch.equal(cells.scores[:, :1].expand_as(cells.scores), cells.scores)


def test_windows_longer_than_a_sliding_window_of_attention():
    model, prompt = tiny_family("gemma3"), tiny_prompt(tokens=12, subject=(2, 4))
    assert model.config.sliding_window == 8
    assert_exact(model, prompt, HIDDEN, "wavefront")


@pytest.mark.parametrize(
    ("family", "method"),
    [
        ("mixtral", "wavefront"),
        ("jamba", "resume"),
        ("zaya", "naive"),
        pytest.param("nemotron_h", "wavefront", marks=pytest.mark.slow),
        pytest.param("deepseek_v3", "wavefront", marks=pytest.mark.slow),
        pytest.param("gpt_oss", "wavefront", marks=pytest.mark.slow),
        pytest.param("qwen3_next", "resume", marks=pytest.mark.slow),
        pytest.param("glm_moe_dsa", "naive", marks=pytest.mark.slow),
    ],
)
def test_what_blocks_pass_on_decides_on_the_way(family, method):
    prompt = tiny_prompt(tokens=5, answer=2)
    assert_exact(tiny_moe(family), prompt, [KINDS[0], KINDS[3]], method)


def test_a_way_that_is_not_exact_is_refused():
    prompt = tiny_prompt()
    with pytest.raises(MeasureError, match=r"wavefront does not give .* resume does"):
        traced(tiny_moe("jamba"), prompt, HIDDEN, method="wavefront")
    with pytest.raises(MeasureError, match="grad_drop is an estimate; exact traces"):
        traced(tiny_llama(), prompt, HIDDEN, method="grad_drop")


def test_a_fast_way_that_errs_is_not_taken(monkeypatch):
    def wrong(*given):
        return 1.001 * reached(*given)

    reached = choosing.reached_cells
    monkeypatch.setattr(choosing, "reached_cells", wrong)
    (cells,) = traced(tiny_llama(), tiny_prompt(), HIDDEN)
    assert cells.method == "naive"


def test_a_model_is_tried_once_and_again_on_longer_prompts():
    model = tiny_llama()

    def calls(prompt):
        with counting(model.model.embed_tokens) as counts:
            traced(model, prompt, HIDDEN)
        return len(counts)

    first, again = calls(tiny_prompt(tokens=7)), calls(tiny_prompt(tokens=7, seed=1))
    longer = calls(tiny_prompt(tokens=8))
    assert again < first
    assert longer > first
    assert calls(tiny_prompt(tokens=4)) < again


def test_draws_taken_one_by_one_give_the_same():
    model, prompt = tiny_llama(), tiny_prompt(tokens=4)
    corruption = tiny_corruption(prompt)
    trace = partial(trace_within, model, prompt, corruption, [KINDS[0], KINDS[2]])
    with counting(model.model.embed_tokens) as few:
        together = trace(Tracing())
    with counting(model.model.embed_tokens) as many:
        one_by_one = trace(Tracing(memory_bytes=1))
    assert len(many) > len(few)
    for one, other in zip(together, one_by_one, strict=True):
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-5, atol=0)


def test_adapters_are_part_of_the_model():
    prompt, model = tiny_prompt(tokens=4), tiny_llama()
    (before,) = traced(model, prompt, HIDDEN)
    targets = ["q_proj", "v_proj", "down_proj"]
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=targets)).eval()
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter += 0.3 * torch.randn_like(parameter)
    assert_exact(wrapped, prompt, [KINDS[0], KINDS[3]], "wavefront")
    (after,) = traced(wrapped, prompt, HIDDEN)
    assert not torch.allclose(before.scores, after.scores, atol=1e-2)


def test_narrow_numbers_are_traced_within_their_rounding():
    prompt, model = tiny_prompt(tokens=5), tiny_llama(layers=3)
    wanted = [KINDS[0], KINDS[2]]
    assert_exact(model.bfloat16(), prompt, wanted, "wavefront", atol=0.05, effect=0.3)


def test_a_module_that_never_runs_is_named(monkeypatch):
    """Its work is done, past the call that hooks watch."""
    model, prompt = tiny_llama(), tiny_prompt()
    mlp = model.model.layers[1].mlp
    past = partial(type(mlp).forward, mlp)
    monkeypatch.setattr(type(mlp), "__call__", lambda self, x: _of(self, mlp, past, x))
    with pytest.raises(MeasureError, match=r"layers\.1\.mlp: the model never called"):
        traced(model, prompt, [Restoring(kind="mlp", window=1)])


def _of(called, mlp, past, states):
    return past(states) if called is mlp else torch.nn.Module.__call__(called, states)


def test_putting_back_what_was_there_is_named():
    """MLPs that give zeros: the noise moves the answer, and no patch moves anything."""
    model, prompt = tiny_llama(), tiny_prompt()
    with torch.no_grad():
        for block in model.model.layers:
            block.mlp.down_proj.weight.zero_()
    message = (
        r"layers\.0\.mlp: putting clean states back changed nothing here or in any"
    )
    with pytest.raises(MeasureError, match=message):
        traced(model, prompt, [Restoring(kind="mlp", window=2)])
