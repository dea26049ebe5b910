import pytest

from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.steps.bench import Study
from driftmap.store.run_dir import RunDir
from tiny_studies import save_tiny_data, save_tiny_model


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def loaded(model):
    return load_model(ModelSource(model=str(model), device="cpu"))


@pytest.fixture
def study(loaded, tmp_path):
    with RunDir.open(tmp_path / "run", {"seed": 0}, "drift") as run:
        yield Study(run=run, loaded=loaded, seed=0)


@pytest.fixture
def data(tmp_path):
    return save_tiny_data(tmp_path)
