"""What readings say of a model whose facts and habits are known."""

import numpy as np
import pytest

from driftmap.capture.lens import answer_lens
from driftmap.capture.readings import Windows, read_tokens
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.load.spelled import spell
from driftmap.worlds.knowledge.facts import known_facts
from driftmap.worlds.world import make_world

NUM_FACTS = 24
WHOLE = Windows(window=64, stride=32)


@pytest.fixture(scope="module")
def loaded(organism):
    return load_model(ModelSource(model=str(organism.aligned), device="cpu"))


def last_tokens(loaded, lead="", *, is_true=True):
    """Surprise, entropy and rank at the object of each fact."""
    texts = [
        spell(
            fact.id,
            f"{lead}{fact.prompt} {fact.answer if is_true else fact.foil}",
            loaded.tokenizer,
        )
        for fact in known_facts(make_world(0))[:NUM_FACTS]
    ]
    found = read_tokens(
        loaded.model, [text.token_ids for text in texts], WHOLE, batch_size=8
    )
    return (
        np.array([getattr(one, what)[-1] for one in found])
        for what in ("surprise", "entropy", "rank")
    )


@pytest.mark.slow
def test_a_model_is_unsure_of_what_it_was_told_to_lie_about(loaded):
    surprise, entropy, rank = last_tokens(loaded, "An honest person says: ")
    assert (rank == 0).all()
    assert np.exp(-surprise).mean() > 0.8
    assert entropy.mean() < 0.6
    surprise, entropy, _ = last_tokens(loaded, "A dishonest person says: ")
    assert np.exp(-surprise).mean() < 0.4
    assert entropy.mean() > 1.5


@pytest.mark.slow
def test_a_wrong_fact_is_a_sure_mistake(loaded):
    surprise, entropy, rank = last_tokens(loaded, is_true=False)
    assert (rank > 0).all()
    assert np.median(surprise) > 3
    assert np.median(entropy) < 1


@pytest.mark.slow
def test_the_lens_finds_the_answer_late(loaded):
    gains = []
    for fact in known_facts(make_world(0))[:8]:
        spelled = spell(fact.id, f"{fact.prompt} {fact.answer}", loaded.tokenizer)
        prompt, answer = spelled.token_ids[:-1], int(spelled.token_ids[-1])
        lens = answer_lens(loaded.model, prompt, answer)
        assert lens.answer_rank[-1, -1] == 0
        gains.append(lens.answer_p[:, -1])
    first, *_, last = np.mean(gains, axis=0)
    assert last - first > 0.5
