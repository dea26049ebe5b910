import hashlib
import json

import pytest

from driftmap.core.errors import StoreError
from driftmap.core.sealed import first_fault, is_sealed, read_seal, seal


def made(tmp_path):
    folder = tmp_path / "000000"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"abc")
    (folder / "b.bin").write_bytes(b"")
    seal(folder, [3, 4])
    return folder


def test_a_sealed_folder_says_sizes_and_hashes(tmp_path):
    folder = made(tmp_path)
    said = json.loads((folder / "done.json").read_text())
    abc = hashlib.blake2b(b"abc", digest_size=32).hexdigest()
    none = hashlib.blake2b(b"", digest_size=32).hexdigest()
    assert said == {
        "kind": "driftmap.shard",
        "version": 1,
        "chunks": [3, 4],
        "files": {
            "a.bin": {"bytes": 3, "blake2b": abc},
            "b.bin": {"bytes": 0, "blake2b": none},
        },
    }
    assert read_seal(folder).chunks == (3, 4)
    assert first_fault(folder) is None


def test_a_folder_is_not_sealed_before_all_its_files_are(tmp_path):
    assert not is_sealed(tmp_path)
    with pytest.raises(StoreError, match="was never finished; repeat the command"):
        read_seal(tmp_path)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda f: (f / "a.bin").write_bytes(b"abd"), "a.bin: its bytes are not"),
        (lambda f: (f / "a.bin").write_bytes(b"ab"), "a.bin: has 2 bytes, not 3"),
        (lambda f: (f / "a.bin").unlink(), "a.bin: is missing"),
        (lambda f: (f / "c.bin").touch(), "c.bin: is no file of this folder"),
    ],
)
def test_every_later_change_is_named(tmp_path, harm, told):
    folder = made(tmp_path)
    harm(folder)
    assert told in first_fault(folder)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "done.json: is damaged"),
        ("[]", "done.json: holds no driftmap.shard of version 1"),
        ('{"kind": "driftmap.shard", "version": 2}', "holds no driftmap.shard of"),
        ('{"kind": "driftmap.shard", "version": 1}', "done.json: is damaged; remove"),
    ],
)
def test_a_damaged_seal_is_refused(tmp_path, text, told):
    folder = made(tmp_path)
    (folder / "done.json").write_text(text)
    with pytest.raises(StoreError, match=told):
        first_fault(folder)
