"""What every test starts from: no network, one thread a worker, quiet libraries."""

import os
from pathlib import Path

os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
    TRANSFORMERS_VERBOSITY="error",
)

import pytest
import torch
from hypothesis import HealthCheck, settings

# How fast a machine is decides no test.
settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def organism(request):
    """The built-in model of seed 0: made once for all workers, kept between runs."""
    from driftmap.recipes.steps.organism import make_organism

    return make_organism(0, _kept(request))


@pytest.fixture(scope="session")
def moe_organism(request):
    """The built-in mixture of experts of seed 0, made and kept in the same way."""
    from driftmap.recipes.steps.moe_organism import make_moe_organism

    return make_moe_organism(0, _kept(request))


def _kept(request):
    own = os.environ.get("DRIFTMAP_CACHE")
    return Path(own) if own else Path(request.config.cache.mkdir("organism"))
