import pytest

from driftmap.cli.environment import DEFAULTS
from driftmap.core.secrets import SECRETS
from tiny_studies import save_tiny_data, save_tiny_model


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def data(tmp_path):
    return save_tiny_data(tmp_path)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    """Nobody's own defaults or secrets, and none left behind."""
    for name in (*SECRETS, "OPENAI_BASE_URL", *sum(DEFAULTS.values(), ())):
        monkeypatch.setenv(name, "")  # so that it is put back, whoever sets it
        monkeypatch.delenv(name)
