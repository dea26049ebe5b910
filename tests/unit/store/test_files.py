import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from driftmap.core.errors import StoreError, UsageError
from driftmap.store.files import explaining, remove, sha256_of, write_text, writing
from driftmap.store.run_dir import RunDir

FULL = (
    "it could not be written, the disk or the allowance for it is full; "
    "free some space and repeat the command"
)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*"))


def test_text_is_written_with_its_folders_and_nothing_else(tmp_path):
    write_text(tmp_path / "a" / "b.txt", "grün\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"gr\xc3\xbcn\n"
    assert names(tmp_path) == ["a", "b.txt"]


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a"
    write_text(path, "old")
    with pytest.raises(FileNotFoundError), writing(path) as temporary:
        temporary.write_bytes(Path("/none").read_bytes())
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_sha256_tells_bytes_apart(tmp_path):
    write_text(tmp_path / "a", "abc")
    assert sha256_of(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_remove_takes_files_folders_and_nothing(tmp_path):
    write_text(tmp_path / "a" / "b", "")
    write_text(tmp_path / "c", "")
    (tmp_path / "d").symlink_to(tmp_path / "a")
    remove(tmp_path / "d")
    assert names(tmp_path) == ["a", "b", "c"]
    for name in ("a", "c", "never"):
        remove(tmp_path / name)
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_named(tmp_path, number):
    with pytest.raises(StoreError) as caught, explaining(tmp_path / "x"):
        raise OSError(number, "no")
    assert str(caught.value) == f"{tmp_path / 'x'}: {FULL}"


def test_a_full_disk_is_known_by_a_librarys_words(tmp_path):
    class LibraryError(Exception):
        pass

    with pytest.raises(StoreError), explaining(tmp_path):
        raise LibraryError("I/O error: No space left on device (os error 28)")
    with pytest.raises(LibraryError), explaining(tmp_path):
        raise LibraryError("something else (os error 280)")


def test_a_full_disk_is_known_by_its_free_space(tmp_path, monkeypatch):
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 9, 0))
    full = pytest.raises(StoreError, match="the disk is full; free some space")
    with full, explaining(tmp_path / "not" / "there"):
        raise RuntimeError("PytorchStreamWriter failed writing file")
    with pytest.raises(FileNotFoundError), explaining(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "no", "samples.jsonl")


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), None])
def test_a_forbidden_place_is_named(tmp_path, error):
    inside = PermissionError(errno.EACCES, "no", str(tmp_path / "run" / "a"))
    with pytest.raises(StoreError) as caught, explaining(tmp_path / "run"):
        raise error or inside
    assert str(caught.value) == (
        f"{tmp_path / 'run'}: it may not be written to; "
        "change its permissions or choose another place with --out"
    )


def test_a_forbidden_place_elsewhere_is_another_matter(tmp_path):
    error = PermissionError(errno.EACCES, "no", str(tmp_path / "samples.jsonl"))
    with pytest.raises(PermissionError), explaining(tmp_path / "run"):
        raise error


def test_our_own_errors_pass(tmp_path):
    with pytest.raises(UsageError, match="mine"), explaining(tmp_path):
        raise UsageError("mine") from OSError(errno.ENOSPC, "no")


def test_a_full_disk_in_a_step_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with RunDir.open(tmp_path / "run", {}, "test") as run:
        run.step("one", {"seed": 0}, lambda f: write_text(f / "a", "0"))
        before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(StoreError) as caught:
                run.step("one", {"seed": 1}, lambda f: (f / "a").touch())
        assert FULL in str(caught.value)
        after = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
        assert after == before


SCRIPT = """
import resource, sys
from pathlib import Path
import numpy as np
from driftmap.core.places import Site
from driftmap.results.table import Table
from driftmap.store.run_dir import RunDir
from driftmap.store.scores import save_scores
from driftmap.store.tables import save_table

site = Site(path="m.0.q", layer=0, part="q", num_rows=300, num_columns=300)
table = Table(columns={"x": np.random.default_rng(0).random(90_000)})
ways = {
    "text": lambda f: (f / "a").write_text("x" * 300_000),
    "numpy": lambda f: np.save(f / "a.npy", np.zeros(90_000)),
    "table": lambda f: save_table(f / "a.parquet", table),
    "scores": lambda f: save_scores(
        f / "a.safetensors", {site: np.zeros(site.shape, np.float32)}, {}
    ),
}
if sys.argv[2] == "allowance":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
with RunDir.open(Path(sys.argv[1]) / "run", {}, "test") as run:
    for name, make in ways.items():
        try:
            run.step(name, {}, make)
        except ValueError as error:
            print(name, type(error).__name__, error)
    left = sorted(p.name for p in run.path.rglob("*"))
    print(left)
"""


def check_told(told: str):
    *lines, left = told.splitlines()
    assert [line.split()[:2] for line in lines] == [
        [name, "StoreError"] for name in ("text", "numpy", "table", "scores")
    ]
    assert all("free some space and repeat the command" in line for line in lines)
    assert left == "['.lock', 'run.yaml', 'steps']"


def test_no_library_writes_past_the_allowance(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), "allowance"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    check_told(told.stdout)


def test_no_library_fills_a_real_disk(tmp_path):
    small = f'mount -t tmpfs -o size=128k none "{tmp_path}" && exec "$@"'
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", small, "-"]
    if (
        not shutil.which("unshare")
        or subprocess.run(
            [*inside, "true"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs Linux that lets a user mount a tmpfs in a namespace")
    command = [*inside, sys.executable, "-c", SCRIPT, str(tmp_path), "disk"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    check_told(told.stdout)
