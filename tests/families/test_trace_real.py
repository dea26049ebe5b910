"""Are published prompts traced on a real trained model as by the naive way?"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from driftmap.capture.patching.clean import clean_run, with_choice
from driftmap.capture.patching.noise import draw_noise, embedding_level
from driftmap.capture.patching.tracing import trace_prompt
from driftmap.load.facts import read_facts
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.load.spans import encode_fact
from driftmap.results.trace_kinds import Noise
from driftmap.signals.traces import Restoring

SHARED = Path(__file__).parents[3] / "shared/data"
FACTS, MODEL = SHARED / "known_1000/known_1000.json", SHARED / "model_stories260K_hf"

pytestmark = pytest.mark.skipif(
    not (FACTS.exists() and MODEL.exists()),
    reason="the published facts and the trained model are not beside the checkout",
)


def test_published_facts_are_traced_exactly():
    loaded = load_model(ModelSource(model=str(MODEL), device="cpu"))
    facts = read_facts(str(FACTS)).facts
    assert len(facts) == 1209
    unknown = [replace(fact, answer=None) for fact in facts[:2]]
    prompts = [encode_fact(fact, loaded.tokenizer) for fact in unknown]
    spans = [p.token_ids[slice(*p.subject)].tolist() for p in prompts]
    noise = Noise(level=embedding_level(loaded.model, spans), num_draws=2)
    wanted = [
        Restoring(tokens=(2, 5)),
        Restoring(kind="mlp", window=3, tokens=(4, 5)),
        Restoring(kind="attn", window=2, tokens=(4, 5)),
    ]
    width = loaded.model.get_input_embeddings().weight.shape[1]
    for prompt in prompts:
        asked = with_choice(prompt, clean_run(loaded.model, prompt))
        corruption = draw_noise(noise, asked, width)
        fast, slow = (
            trace_prompt(loaded.model, asked, corruption, wanted, method=method)
            for method in ("wavefront", "naive")
        )
        for found, expected in zip(fast, slow, strict=True):
            torch.testing.assert_close(
                found.scores, expected.scores, rtol=0, atol=1e-5, equal_nan=True
            )
            assert found.high > 0
        assert asked.answer_ids
        moved = (fast[0].scores[2:5].mean(-1) - fast[0].low.mean()).abs().max()
        assert moved > 1e-3
