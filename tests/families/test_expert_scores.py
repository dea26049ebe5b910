"""Are the scores of a pass those of dense gradients, sample by sample?"""

import numpy as np
import pytest
import torch

from driftmap.capture.expert_rows import show_experts
from driftmap.families.expert_tensors import stored_views
from driftmap.families.experts import find_experts
from driftmap.measure.experts.gradients import ExpertScoreFold
from expert_oracles import one_by_one_experts
from tiny_batches import batched, tiny_samples
from tiny_experts import tiny_moe

SAMPLES = tiny_samples(7, 4, 9)
STATISTICS = (
    "mean_example_abs",
    "mean_batch_abs",
    "mean_example_norm",
    "mean_example_weight",
)


def dense(model):
    """All numbers of an expert's gradient, by bank, expert and sample; and its own."""
    gradients = one_by_one_experts(model, SAMPLES)
    found, weights = {}, {}
    for number, bank in enumerate(find_experts(model)):
        for expert in range(bank.place.num_experts):
            held = stored_views(model, bank, expert).values()
            weights[number, expert] = torch.cat([w.flatten() for w in held]).numpy()
            for row, sample in enumerate(SAMPLES):
                parts = [
                    gradients[bank.place.path, t.name, sample.id][expert].flatten()
                    for t in bank.tensors
                ]
                found[number, expert, row] = torch.cat(parts).detach().numpy()
    return found, weights


@pytest.mark.parametrize("family", ["olmoe", "gpt_oss", "nemotron_h", "dbrx"])
def test_scores_are_those_of_dense_gradients(family):
    model = tiny_moe(family)
    banks = find_experts(model)
    by_path = {bank.place.path: bank for bank in banks}
    fold = ExpertScoreFold(
        banks,
        STATISTICS,
        lambda place, expert: stored_views(model, by_path[place.path], expert),
    )
    batches = batched(SAMPLES, 3 if family != "dbrx" else 1)
    show_experts(model, banks, batches, fold.take)
    found = fold.result().scores
    gradients, weights = dense(model)
    counted = np.array([batch.counted.sum() for batch in batched(SAMPLES, 1)], float)
    for (number, expert), W in weights.items():
        G = [gradients[number, expert, row] for row in range(len(SAMPLES))]
        whole = sum(n * g for n, g in zip(counted, G, strict=True)) / counted.sum()
        wanted = {
            "mean_example_abs": np.mean([np.abs(g).mean() for g in G]),
            "mean_batch_abs": np.abs(whole).mean(),
            "mean_example_norm": np.mean([np.sqrt((g**2).mean()) for g in G]),
            "mean_example_weight": np.mean([np.abs(g * W).mean() for g in G]),
        }
        if family == "dbrx":  # one sample at a time
            wanted["mean_batch_abs"] = wanted["mean_example_abs"]
        for name, value in wanted.items():
            score = found.scores[name][number, expert]
            assert score == pytest.approx(value, rel=2e-4, abs=1e-9), (name, expert)
        # The last token is routed as well, but no loss is read from it.
        if any(g.any() for g in G):
            assert found.routed_tokens[:, number, expert].sum() > 0
