"""trl computes its own loss and PEFT its own wrappers: right for every family?"""

import numpy as np
import pytest
import torch

from driftmap.families.discover import find_layout
from driftmap.tune.settings import TuningSettings
from tiny_families import FAMILY_NAMES, tiny_family
from tiny_tuning import Watched, tiny_samples

TWO_STEPS = TuningSettings(max_steps=2, grad_accum=2, batch_size=3, learning_rate=1e-2)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_loss_is_that_of_the_models_own_logits_and_all_sites_move(tmp_path, family):
    model = _without_dropout(tiny_family(family))
    sites = find_layout(model).sites
    samples = tiny_samples(6)
    run = Watched(tmp_path)
    losses = run.run(model=model, sites=sites, samples=samples, settings=TWO_STEPS)
    nll = []
    for sample in samples:
        ids = torch.tensor(sample.token_ids.astype(np.int64))[None]
        log_p = model(ids).logits.detach().double().log_softmax(-1)[0]
        nll += [-log_p[t - 1, ids[0, t]].item() for t in np.flatnonzero(sample.counted)]
    assert losses[0].loss_nats == pytest.approx(np.mean(nll), rel=1e-4)
    assert set(run.factors[2]) == set(sites)
    for factors in run.factors[2].values():
        assert factors.up.abs().max() > 0


def _without_dropout(model):
    # GPT-2 and OPT have dropout of their own, which would move the training loss.
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    return model
