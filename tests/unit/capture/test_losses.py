"""Is the loss of each sample its own mean, with logits only where needed?"""

import pytest
import torch

from driftmap.capture.losses import logits_at, sample_losses
from tiny import tiny_llama
from tiny_batches import batched, own_loss, tiny_samples

SAMPLES = tiny_samples(7, 4, 9, 2)


@pytest.fixture(scope="module")
def llama():
    return tiny_llama()


@pytest.mark.parametrize("side", ["left", "right"])
def test_loss_is_each_samples_own_mean(llama, side):
    (batch,) = batched(SAMPLES, side=side, extra=2)
    alone = torch.stack([own_loss(llama, sample) for sample in SAMPLES])
    assert torch.allclose(sample_losses(llama, batch), alone, atol=1e-6)


def test_counted_tokens_may_lie_anywhere(llama):
    (batch,) = batched(tiny_samples(8, counted=7))
    batch.counted[0, [1, 2, 5]] = False
    logits = llama(input_ids=batch.token_ids, use_cache=False).logits[0, :-1]
    nats = -logits.log_softmax(-1)[range(7), batch.token_ids[0, 1:]]
    expected = nats[batch.counted[0, 1:]].mean()
    assert torch.allclose(sample_losses(llama, batch)[0], expected, atol=1e-6)


def test_logits_are_made_only_where_asked(llama):
    seen = []
    hook = llama.lm_head.register_forward_hook(lambda m, a, out: seen.append(out.shape))
    (batch,) = batched(SAMPLES, side="left")
    sample_losses(llama, batch)
    hook.remove()
    assert seen == [(4, 3, 40)]


def test_model_that_knows_neither_positions_nor_kept_logits(llama):
    (batch,) = batched(SAMPLES)
    columns = torch.tensor([1, 3])
    wanted = logits_at(llama, batch, columns)

    class Plain(torch.nn.Module):
        def forward(self, input_ids, attention_mask, use_cache):
            return llama(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache
            )

    found = logits_at(Plain(), batch, columns)
    assert torch.allclose(found[batch.real[:, columns]], wanted[batch.real[:, columns]])


def test_bfloat16_logits_are_summed_in_float32(llama):
    (batch,) = batched(SAMPLES)
    model = tiny_llama().to(torch.bfloat16)
    assert sample_losses(model, batch).dtype == torch.float32
