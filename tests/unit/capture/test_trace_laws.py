"""Laws of traces on prompts, subjects, answers and windows drawn at random."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.capture.patching.tracing import Tracing, trace_prompt, trace_within
from driftmap.measure.tracing import trace_grid
from driftmap.results.trace_kinds import Noise
from driftmap.signals.traces import Corruption, Restoring
from driftmap.stats.tracing import role_effects
from made_traces import made_prompt
from tiny import tiny_llama
from trace_oracle import PLACES, Oracle

LAYERS = 3
MODEL = tiny_llama(layers=LAYERS)
few = settings(max_examples=3, deadline=None)


@st.composite
def prompts(draw, answers=(1, 2)):
    """Tokens, span of the subject, answer, foil and seed of a prompt."""
    num = draw(st.integers(2, 6))
    begin = draw(st.integers(0, num - 1))
    end = draw(st.integers(begin + 1, num))
    tokens = st.integers(3, 39)
    ids = draw(st.lists(tokens, min_size=num, max_size=num))
    num_answers = draw(st.sampled_from(answers))
    answer = draw(st.lists(tokens, min_size=num_answers, max_size=num_answers))
    foil = draw(tokens.filter(lambda token: token != answer[0]))
    return ids, (begin, end), answer, foil, draw(st.integers(0, 99))


def made(drawn):
    """The prompt, and noise for it."""
    ids, subject, answer, foil, seed = drawn
    prompt = made_prompt(ids, subject, answer=answer, foil=(foil,))
    return prompt, noise_for(prompt, seed=seed)


def noise_for(prompt, *, seed=0, draws=2):
    begin, end = prompt.subject
    random = torch.Generator().manual_seed(seed)
    shape = (draws, end - begin, 16)
    values = torch.randn(shape, generator=random, dtype=torch.float64)
    return Corruption(start=begin, values=values, replaces=False)


def close(left, right):
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


@few
@given(prompts())
def test_grids_of_one_prompt_keep_to_each_other(drawn):
    prompt, noise = made(drawn)
    hidden, whole, held, still, mlp, mlps = trace_prompt(
        MODEL,
        prompt,
        noise,
        [
            Restoring(),
            Restoring(dims=(0, 16)),
            Restoring(kind="severed_mlp"),
            Restoring(kind="severed_attn"),
            Restoring(kind="mlp", window=1),
            Restoring(kind="mlp", window=2 * LAYERS),
        ],
        outcome="log_prob",
    )
    last = prompt.num_prompt - 1
    # the last block's states reach the answer from the last token alone
    assert torch.equal(hidden.scores[:last, -1], hidden.low.expand(last, -1))
    if len(prompt.answer_ids) == 1:
        close(hidden.scores[last, -1], torch.full_like(hidden.low, hidden.high))
    close(whole.scores, hidden.scores)
    # what is held below a state that is put back is overwritten by it
    close(held.scores[:, -1], hidden.scores[:, -1])
    close(still.scores[:, -1], hidden.scores[:, -1])
    assert not torch.allclose(mlp.scores, hidden.scores, atol=1e-4)
    # a window over all layers is the same in every column
    close(mlps.scores, mlps.scores[:, :1].expand(-1, LAYERS, -1))


@few
@given(prompts(answers=(1,)))
def test_answer_and_foil_that_change_places_turn_every_sign(drawn):
    prompt, noise = made(drawn)
    turned = replace(prompt, answer_ids=prompt.foil_ids, foil_ids=prompt.answer_ids)
    wanted = [Restoring(), Restoring(kind="attn", window=2)]
    for one, other in zip(
        trace_prompt(MODEL, prompt, noise, wanted, outcome="logit_difference"),
        trace_prompt(MODEL, turned, noise, wanted, outcome="logit_difference"),
        strict=True,
    ):
        close(one.scores, -other.scores)
        close(one.low, -other.low)
        assert one.high == pytest.approx(-other.high, abs=1e-5)


@few
@given(prompts())
def test_draws_are_taken_alike_one_by_one_or_together(drawn):
    prompt, _ = made(drawn)
    noise = noise_for(prompt, draws=3)
    wanted = [Restoring(), Restoring(kind="mlp", window=2)]
    together = trace_prompt(MODEL, prompt, noise, wanted)
    apart = trace_within(MODEL, prompt, noise, wanted, Tracing(memory_bytes=1))
    for one, other in zip(together, apart, strict=True):
        close(one.scores, other.scores)
        close(one.low, other.low)


@few
@given(prompts())
def test_holding_what_lies_below_a_state_changes_nothing(drawn):
    """Severed runs hold a module in every layer: those up to the state's are idle."""
    prompt, noise = made(drawn)
    naive = Oracle(MODEL, PLACES["llama"], prompt, noise.start, noise.values)
    t = prompt.subject[1] - 1
    for kind in ("mlp", "attn"):
        wanted = [Restoring(kind=f"severed_{kind}", tokens=(t, t + 1))]
        found = trace_prompt(MODEL, prompt, noise, wanted, outcome="log_prob")[0]
        for layer in range(LAYERS):
            above = naive.held_above(kind, t, layer, "log_prob")
            close(found.scores[t, layer], above)


@few
@given(prompts())
def test_all_tokens_of_a_layer_put_back_are_the_clean_run(drawn):
    """A law of the oracle that engines are checked against."""
    prompt, noise = made(drawn)
    naive = Oracle(MODEL, PLACES["llama"], prompt, noise.start, noise.values)
    for layer in range(LAYERS):
        path = naive.places.block.format(layer)
        found = naive.restored([(path, t) for t in range(len(prompt.token_ids))])
        close(found, torch.full_like(found, naive.high()))


@few
@given(prompts())
def test_the_averages_of_a_single_fact_are_its_rows(drawn):
    prompt, noise = made(drawn)
    cells = trace_prompt(MODEL, prompt, noise, [Restoring()])[0]
    grid = trace_grid(cells, prompt, Noise(), outcome="prob", answer="a", is_known=None)
    found = role_effects([grid, grid], ["one", "other"], seed=0)
    for cell in found.cells:
        rows = [t for t, roles in enumerate(grid.roles) if cell.role in roles]
        mean = grid.indirect_effect[rows, cell.layer].mean()
        assert cell.effect.estimate == pytest.approx(mean, abs=1e-12)
        assert cell.effect.low == pytest.approx(cell.effect.high, abs=1e-12)
    assert found.total_effect.estimate == pytest.approx(grid.total_effect)
