"""Is a mixture of experts scored by a command that knows no experts by name?"""

import pytest

from driftmap.cli.main import main
from driftmap.store.groups import load_group
from tiny_mixtures import save_tiny_mixture
from tiny_studies import save_tiny_data

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    save_tiny_mixture(folder / "model")
    save_tiny_data(folder)
    return folder


def run(*words):
    return main([*map(str, words), "--device=cpu"])


def test_groups_of_weights_and_neurons_lie_in_experts_too(folder):
    data = f"--data={folder / 'behaviour.jsonl'}"
    words = ["score", f"--model={folder / 'model'}", data, "--num-samples=6"]
    assert run(*words, "--share=0.02", "--grain=neuron", f"--out={folder / 's'}") == 0
    group = folder / "s/groups/top.safetensors"
    parts = {(site.part, site.expert is None) for site in load_group(group).members}
    assert {("up", False), ("gate", False), ("q", True)} <= parts
    assert any(site.part == "router" for site in load_group(group).members)
    units = load_group(folder / "s/groups/top-neuron.safetensors").members
    assert all(site.expert is not None for site in units)
