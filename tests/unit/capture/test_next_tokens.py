"""What two models say next, against formulas on whole distributions."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from driftmap.capture.next_tokens import next_tokens
from driftmap.core.errors import MeasureError
from driftmap.load.batches import make_batches
from driftmap.load.twin import twin
from driftmap.measure.divergence import divergences
from driftmap.results.samples import EncodedSample
from tiny import tiny_llama
from tiny_families import tiny_family

PROMPTS = [[1, 5, 9], [4, 4, 8, 30, 12], [1]]
WANTED = np.array([[7, 8], [3, 9], [30, 2]])


def batched(prompts=PROMPTS, batch_size=4):
    samples = [
        EncodedSample(
            sample_id=f"p{number}",
            token_ids=np.array(ids, np.int32),
            counted=np.zeros(len(ids), bool),
            prompt_length=len(ids),
        )
        for number, ids in enumerate(prompts)
    ]
    return make_batches(samples, batch_size=batch_size, pad_id=0)


def tuned_of(model):
    adapter = LoraConfig(
        r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False
    )
    return get_peft_model(twin(model), adapter).eval()


def apart(before, after):
    found = divergences(before, after)
    return torch.stack([found.forward, found.backward, found.js]).numpy()


def last(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1].double()


def test_every_number_is_what_the_formula_says():
    base = tiny_family("llama").eval()
    tuned = tuned_of(base)
    found = next_tokens(base, tuned, batched(), WANTED, apart, num_top=3)
    for number, ids in enumerate(PROMPTS):
        z = last(base, ids), last(tuned, ids)
        p, q = (one.softmax(0).numpy() for one in z)
        m = (p + q) / 2
        for side, logits, own in ((found.before, z[0], p), (found.after, z[1], q)):
            wanted = WANTED[number]
            np.testing.assert_allclose(side.logit[number], logits[wanted], rtol=1e-4)
            np.testing.assert_allclose(side.log_p[number], np.log(own[wanted]), 1e-4)
            ranks = [(own > own[token]).sum() for token in wanted]
            assert side.rank[number].tolist() == ranks
            order = np.argsort(-own)[:3]
            assert side.top_ids[number].tolist() == order.tolist()
            np.testing.assert_allclose(side.top_p[number], own[order], rtol=1e-4)
        kl = (p * np.log(p / q)).sum()
        back = (q * np.log(q / p)).sum()
        js = ((p * np.log(p / m)).sum() + (q * np.log(q / m)).sum()) / 2
        assert found.apart[0, number] == pytest.approx(kl, rel=1e-3)
        assert found.apart[1, number] == pytest.approx(back, rel=1e-3)
        assert found.apart[2, number] == pytest.approx(js, rel=1e-3)


def test_a_model_beside_itself_is_nowhere_apart():
    base = tiny_family("llama").eval()
    found = next_tokens(base, base, batched(), WANTED, apart)
    assert not found.apart.any()
    assert (found.before.logit == found.after.logit).all()


def test_distances_end_at_ln_2_and_batches_change_nothing():
    base = tiny_family("llama").eval()
    far = tiny_family("llama", seed=3).eval()
    with torch.no_grad():
        far.lm_head.weight.mul_(300)
    together = next_tokens(base, far, batched(), WANTED, apart)
    alone = next_tokens(base, far, batched(batch_size=1), WANTED, apart)
    assert (together.apart[2] > 0.1).all()
    assert (together.apart[2] <= np.log(2) + 1e-12).all()
    np.testing.assert_allclose(together.apart[2], alone.apart[2], rtol=1e-3)


def test_two_vocabularies_are_refused():
    base, other = tiny_family("llama"), tiny_llama(vocab=30)
    with pytest.raises(MeasureError, match="compare models of one vocabulary"):
        next_tokens(base, other, batched([[1, 5]]), WANTED[:1], apart)


def test_logits_that_are_not_finite_are_named_by_the_prompt():
    base = tiny_family("llama")
    broken = tiny_family("llama")
    with torch.no_grad():
        broken.lm_head.weight.fill_(torch.inf)
    with pytest.raises(MeasureError, match="p0: a logit after it is NaN or infinite"):
        next_tokens(base, broken, batched([[1, 5]]), WANTED[:1], apart)
