import subprocess
import sys
from pathlib import Path

import pytest

from driftmap.core.errors import StoreError
from driftmap.store import provenance
from driftmap.store.provenance import (
    StepCost,
    add_cost,
    add_entries,
    add_environment,
    describe_environment,
    read_provenance,
)


def describe(**changes):
    settings = {"num_threads": 1, "device": "cpu", "dtype": "float32", **changes}
    return describe_environment(**settings)


def test_versions_are_read_without_importing_anything():
    code = (
        "import sys; from driftmap.store.provenance import describe_environment as d\n"
        "e = d(num_threads=1, device='cpu', dtype='float32')\n"
        "heavy = {'torch', 'transformers', 'peft', 'trl', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)), heavy <= set(e.versions))"
    )
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[] True"


def test_an_environment_is_noted_once(tmp_path):
    path = tmp_path / "provenance.json"
    assert add_environment(path, describe()) == 0
    assert add_environment(path, describe(dtype="bfloat16")) == 1
    assert add_environment(path, describe()) == 0
    assert len(read_provenance(path)["environments"]) == 2


def test_costs_and_entries_are_replaced_by_name(tmp_path):
    path = tmp_path / "provenance.json"
    add_entries(path, "seeds", {"a": 1, "b": 2})
    add_entries(path, "seeds", {"b": 3})
    for seconds in (1.5, 2.5):
        cost = StepCost(wall_seconds=seconds, peak_memory_bytes=10, environment=None)
        add_cost(path, "score", cost)
    noted = read_provenance(path)
    assert noted["seeds"] == {"a": 1, "b": 3}
    assert noted["steps"]["score"]["wall_seconds"] == 2.5


def test_a_revision_is_that_of_a_checkout_that_tracks_the_package(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    package = tmp_path / "venv" / "package"
    package.mkdir(parents=True)
    (package / "x.py").touch()
    (tmp_path / "mine.py").touch()
    assert provenance._git_revision(package) is None
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "mine.py"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    assert provenance._git_revision(package) is None
    revision = provenance._git_revision(tmp_path)
    assert len(revision) == 40
    (tmp_path / "mine.py").write_text("changed")
    assert provenance._git_revision(tmp_path) == f"{revision}-dirty"


def test_without_git_there_is_no_revision(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert provenance._git_revision(Path(__file__).parent) is None


@pytest.mark.parametrize("text", ["", "{}", '{"kind": "driftmap.provenance"}'])
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "provenance.json"
    path.write_text(text)
    with pytest.raises(StoreError, match=r"provenance\.json: "):
        read_provenance(path)


def test_a_damaged_section_is_named(tmp_path):
    path = tmp_path / "provenance.json"
    add_entries(path, "seeds", {"a": 1})
    path.write_text(path.read_text().replace('"steps": {}', '"steps": []'))
    with pytest.raises(StoreError, match="its section 'steps' is damaged; remove"):
        add_entries(path, "seeds", {"a": 1})
