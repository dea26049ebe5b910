"""Groups to freeze in tiny models, and what a map does with every single input."""

import numpy as np
import torch


def scattered(sites, share=0.2, *, seed=0, parts=None):
    """A share of every matrix, or of those of some parts, weight by weight."""
    rng = np.random.default_rng(seed)
    return {
        site: np.sort(
            rng.choice(site.num_weights, int(share * site.num_weights), replace=False)
        ).astype(np.int64)
        for site in sites
        if parts is None or site.part in parts
    }


def mask_of(site, index):
    """Whether each entry of a matrix is in the group."""
    mask = torch.zeros(site.num_weights, dtype=torch.bool)
    mask[torch.from_numpy(index)] = True
    return mask.reshape(site.shape)


@torch.no_grad()
def seen_weight(module, num_columns, dtype):
    """The matrix `[out in]` that a map without bias multiplies by, input by input."""
    was_training = module.training
    module.eval()
    seen = module(torch.eye(num_columns, dtype=dtype)).T.clone()
    module.train(was_training)
    return seen
