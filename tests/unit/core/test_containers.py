from driftmap.core import containers
from driftmap.core.containers import granted_memory


def _group(folder, limit, used, files=0):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {files}\nother\n")


def test_files_that_were_read_count_as_free(monkeypatch, tmp_path):
    monkeypatch.setattr(containers, "_ROOT", tmp_path)
    _group(tmp_path, 1000, 900, files=300)
    assert granted_memory() == 400


def test_the_own_group_and_those_above_it_hold(monkeypatch, tmp_path):
    own = tmp_path / "own"
    own.write_text("0::/user/job\n")
    monkeypatch.setattr(containers, "_ROOT", tmp_path / "root")
    monkeypatch.setattr(containers, "_OWN", own)
    _group(tmp_path / "root/user", 5000, 1000)
    _group(tmp_path / "root/user/job", "max", 10)
    assert granted_memory() == 4000
    _group(tmp_path / "root/user/job", 500, 10)
    assert granted_memory() == 490


def test_groups_of_the_first_version_hold_too(monkeypatch, tmp_path):
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text("2000\n")
    (folder / "memory.usage_in_bytes").write_text("1500\n")
    (folder / "memory.stat").write_text("total_inactive_file 200\n")
    monkeypatch.setattr(containers, "_ROOT", tmp_path)
    assert granted_memory() == 700
    # Without a limit the first version states the largest number of pages.
    (folder / "memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")
    assert granted_memory() == 1 << 62


def test_no_group_is_no_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(containers, "_ROOT", tmp_path / "absent")
    assert granted_memory() == 1 << 62
