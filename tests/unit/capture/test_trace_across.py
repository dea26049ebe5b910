"""States of one model in the run of another, against whole runs with plain hooks."""

import copy

import pytest
import torch

from driftmap.capture.patching.crossing import trace_across
from driftmap.core.errors import MeasureError
from driftmap.signals.traces import Restoring
from tiny import tiny_llama
from tiny_families import tiny_family
from tiny_traces import tiny_prompt

PLACES = {
    "llama": ("model.layers.{}", "model.layers.{}.mlp", "model.layers.{}.self_attn"),
    "gpt2": ("transformer.h.{}", "transformer.h.{}.mlp", "transformer.h.{}.attn"),
}


def with_another_mlp(model, layer=1):
    """A copy of which one layer's MLP is another one."""
    other = copy.deepcopy(model)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in other.get_submodule(f"model.layers.{layer}.mlp").parameters():
            parameter += 0.4 * torch.randn_like(parameter)
    return other


def states(output):
    return output[0] if isinstance(output, tuple) else output


def run(model, prompt, put=()):
    """The answer's probability, and every state, with some of them given instead."""
    seen, handles = {}, []
    paths = [p for p, m in model.named_modules() if p and p.count(".") <= 3]
    for path in paths:

        def hook(_module, _inputs, output, path=path):
            kept = states(output)
            for place, token, values in put:
                if place == path:
                    kept = kept.clone()
                    kept[0, token] = values
            seen[path] = kept
            return (kept, *output[1:]) if isinstance(output, tuple) else kept

        handles.append(model.get_submodule(path).register_forward_hook(hook))
    ids = torch.tensor(prompt.token_ids[None].astype("int64"))
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits[0].double()
    for handle in handles:
        handle.remove()
    rows = logits[prompt.num_prompt - 1 :].log_softmax(-1)
    picked = rows[range(len(rows)), list(prompt.answer_ids)]
    return picked.sum().exp().item(), seen


@pytest.mark.parametrize(("family", "answer"), [("llama", 2), ("gpt2", 1)])
def test_every_cell_is_a_whole_run_with_that_state_put_in(family, answer):
    ours, theirs = tiny_family(family), tiny_family(family, seed=1)
    prompt = tiny_prompt(answer=answer, tokens=4)
    wanted = [Restoring(), *(Restoring(kind=k, window=1) for k in ("mlp", "attn"))]
    found = trace_across(ours, theirs, prompt, wanted)
    low, _ = run(ours, prompt)
    high, given = run(theirs, prompt)
    for cells, place in zip(found, PLACES[family], strict=True):
        assert cells.scores.shape == (4, 2, 1)
        assert float(cells.low[0]) == pytest.approx(low, abs=1e-6)
        assert cells.high == pytest.approx(high, abs=1e-6)
        for token in range(4):
            for layer in range(2):
                path = place.format(layer)
                put = [(path, token, given[path][0, token])]
                expected, _ = run(ours, prompt, put)
                cell = float(cells.scores[token, layer, 0])
                assert cell == pytest.approx(expected, abs=1e-6), (token, layer)


def test_a_planted_change_enters_at_its_layer_and_not_before():
    base = tiny_llama(layers=4)
    tuned = with_another_mlp(base, layer=2)
    for one, other in ((base, tuned), (tuned, base)):
        (cells,) = trace_across(one, other, tiny_prompt(), [Restoring()])
        effect = cells.scores[..., 0] - cells.low
        assert effect[:, :2].abs().max() < 1e-6
        assert effect[:, 2].abs().max() > 1e-3
        assert float(effect[-1, 3]) == pytest.approx(cells.high - float(cells.low))


def test_a_model_put_into_itself_changes_nothing():
    model = tiny_llama()
    (cells,) = trace_across(model, model, tiny_prompt(), [Restoring()])
    assert torch.allclose(cells.scores[..., 0], cells.low, atol=1e-7)


def test_what_cannot_be_put_in_is_refused():
    with pytest.raises(MeasureError, match="leave severed kinds out"):
        trace_across(
            tiny_llama(), tiny_llama(), tiny_prompt(), [Restoring(kind="severed_mlp")]
        )
    with pytest.raises(MeasureError, match="two models of 2 and 3 blocks"):
        trace_across(tiny_llama(), tiny_llama(layers=3), tiny_prompt(), [Restoring()])
