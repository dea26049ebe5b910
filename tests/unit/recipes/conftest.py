import pytest

from tiny_studies import save_tiny_data, save_tiny_model


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def data(tmp_path):
    return save_tiny_data(tmp_path)
