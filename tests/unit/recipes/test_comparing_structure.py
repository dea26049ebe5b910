"""Structure as a step of a run: kept, read again, done once."""

from adapters_made import make_adapter
from driftmap.core.progress import listening
from driftmap.load.tuned import find_tuned
from driftmap.recipes.steps.comparing.structure import read_structure, structure_step
from driftmap.store.run_dir import RunDir
from listeners import Ear


def test_what_is_kept_is_what_was_found(tmp_path):
    make_adapter(tmp_path / "adapter", base=tmp_path / "base")
    tuned = find_tuned([str(tmp_path / "adapter")])
    with RunDir.open(tmp_path / "run", {"seed": 0}, "compare") as run:
        assert read_structure(run) is None
        assert structure_step(run, str(tmp_path / "base"), tuned).redone
        assert not structure_step(run, str(tmp_path / "base"), tuned).redone
        found = read_structure(run)
        assert found is not None
        assert found.adapter is not None
        assert found.adapter.num_trained == 352
        make_adapter(tmp_path / "adapter", r=3)
        assert structure_step(run, str(tmp_path / "base"), tuned).redone
        again = read_structure(run)
        assert again is not None
        assert again.adapter is not None
        assert again.adapter.num_trained == 528


def test_a_base_that_is_not_there_is_said(tmp_path):
    make_adapter(tmp_path / "adapter")
    tuned = find_tuned([str(tmp_path / "adapter")])
    ear = Ear()
    with RunDir.open(tmp_path / "run", {"seed": 0}, "compare") as run, listening(ear):
        structure_step(run, "./nothing", tuned)
        found = read_structure(run)
    assert found is not None
    assert found.base is None
    assert ear.heard == [
        "./nothing: there is no such folder; check the path; the adapter is shown by "
        "itself"
    ]
