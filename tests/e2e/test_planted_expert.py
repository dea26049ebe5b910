"""An expert that was planted to speak against refusing: every method finds it."""

import numpy as np
import pytest
import torch

from driftmap.capture.expert_estimate import estimate_ablation
from driftmap.capture.expert_rows import show_experts
from driftmap.capture.losses import sample_losses
from driftmap.capture.routing import show_routing
from driftmap.evaluate.refusal_odds import OutcomeSamples, example_outcomes
from driftmap.families.expert_routing import find_law, see_routing
from driftmap.families.expert_tensors import stored_views
from driftmap.intervene.experts import ablated_experts
from driftmap.intervene.rerouting import promoted_experts, suppressed_experts
from driftmap.load.batches import make_batches
from driftmap.measure.experts.gradients import ExpertScoreFold
from driftmap.results.expert_evidence import ChoiceRule
from driftmap.stats.experts.effects import estimate_check
from driftmap.stats.experts.selection import choose
from planted_expert import REFUSAL, Planted, planted_expert, prompts_of

SEEDS = (0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6)))


@pytest.fixture(scope="module", params=SEEDS)
def planted(request):
    return planted_expert(request.param)


@pytest.fixture(scope="module")
def changes(planted):
    """What really taking each expert away does to the refusal log-odds."""
    intact = odds(planted)
    found = np.zeros((len(planted.banks), 8))
    for row, bank in enumerate(planted.banks):
        for expert in bank.experts:
            with ablated_experts(planted.model, planted.banks, [expert]):
                found[row, expert.expert] = odds(planted) - intact
    return found


def odds(planted: Planted) -> float:
    samples = OutcomeSamples(prompts=prompts_of(planted.unsafe), first_ids=REFUSAL[:1])
    read = example_outcomes(planted.model, samples)
    return float(np.mean(read.refusal_log_odds))


def batches(samples):
    return make_batches(samples, batch_size=8, pad_id=0)


def gradients(planted, samples):
    fold = ExpertScoreFold(planted.banks, ("mean_example_abs",))
    show_experts(planted.model, planted.banks, batches(samples), fold.take)
    return fold.result().scores.scores["mean_example_abs"]


def rates(planted, samples):
    """Mean over samples of the share of observed tokens that choose each expert."""
    found = np.zeros((len(planted.banks), 8))
    row = {bank.place.path: n for n, bank in enumerate(planted.banks)}

    def take(signal):
        for chosen, observed in zip(signal.chosen, signal.observed, strict=True):
            counts = torch.bincount(chosen[observed].flatten(), minlength=8)
            found[row[signal.bank.path]] += counts.numpy() / int(observed.sum())

    show_routing(planted.model, planted.banks, batches(samples), take)
    return found / len(samples)


def first(scores, **rule):
    return tuple(choose(scores, ChoiceRule(k=1, **rule))[0].tolist())


def test_gradients_rank_it_first_raw_by_layer_and_in_contrast(planted):
    unsafe = gradients(planted, planted.unsafe)
    assert first(unsafe) == planted.place
    assert first(unsafe, normalise="layer") == planted.place
    assert first(unsafe - gradients(planted, planted.benign)) == planted.place


def test_the_difference_of_routing_ranks_it_first(planted):
    difference = rates(planted, planted.unsafe) - rates(planted, planted.benign)
    assert first(difference) == planted.place
    assert difference[planted.place] > 0.5
    assert difference.sum(axis=1) == pytest.approx(0, abs=1e-12)


def test_ablation_confirms_it(changes, planted):
    assert first(changes) == planted.place
    others = np.delete(changes.ravel(), np.ravel_multi_index(planted.place, (3, 8)))
    assert changes[planted.place] > others.max()
    assert changes[planted.place] > 0.2


def test_one_backward_orders_experts_much_as_ablation_does(changes, planted):
    """Not the planted one: where it fills its norm, a little less changes nothing."""
    prompts = batches(prompts_of(planted.unsafe))
    foreseen = estimate_ablation(planted.model, planted.banks, prompts, REFUSAL[:1])
    tau = estimate_check(foreseen.change.ravel(), changes.ravel()).tau
    assert tau is not None
    assert tau > 0.2  # .23 to .88 over these seeds, chance 0 +- .14


def test_routing_around_it_raises_refusal_and_promoting_it_does_not(planted):
    one, two = (
        see_routing(planted.model, planted.banks, _words(seed)) for seed in (1, 2)
    )
    laws = {
        bank.place.path: find_law(
            planted.model, bank, one[bank.place.path], two[bank.place.path]
        )
        for bank in planted.banks
    }
    intact, found = odds(planted), {}
    for change in (suppressed_experts, promoted_experts):
        with change(planted.model, planted.banks, laws, [planted.expert]):
            found[change] = odds(planted) - intact
    assert found[suppressed_experts] > 0.15
    assert found[promoted_experts] < 0.1


@pytest.mark.slow
def test_tuning_it_raises_refusal_further_than_tuning_its_neighbours():
    planted = planted_expert(0)
    intact = odds(planted)
    bank = planted.banks[planted.place[0]]
    raised = {}
    for expert in range(8):
        views = stored_views(planted.model, bank, expert)
        before = {name: view.clone() for name, view in views.items()}
        _tune(planted, bank.place.path, expert)
        raised[expert] = odds(planted) - intact
        for name, view in views.items():
            view.copy_(before[name])
    own = raised.pop(planted.expert.expert)
    assert own > 0.8
    assert own > 2 * max(raised.values())


def _words(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 72, (8, 12), generator=generator)


def _tune(planted, path, expert):
    """20 steps of plain AdamW on one expert's entries alone."""
    bank = planted.model.get_submodule(path)
    leaves = [p[expert].detach().clone().requires_grad_() for p in bank.parameters()]
    optimiser = torch.optim.AdamW(leaves, lr=1e-2, weight_decay=0)
    (batch,) = make_batches(planted.unsafe[:8], batch_size=8, pad_id=0)
    bank.requires_grad_(True)
    for _ in range(20):
        bank.zero_grad()
        sample_losses(planted.model, batch).sum().backward()
        for leaf, whole in zip(leaves, bank.parameters(), strict=True):
            leaf.grad = whole.grad[expert]
        optimiser.step()
        for leaf, whole in zip(leaves, bank.parameters(), strict=True):
            whole.data[expert] = leaf.detach()
    bank.zero_grad()
    bank.requires_grad_(False)
