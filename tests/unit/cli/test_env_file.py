import os

import pytest

from driftmap.cli.env_file import read_env_file
from driftmap.core.errors import DataError

NAMES = ("HF_TOKEN", "DRIFTMAP_MODEL")


def read(folder, content):
    file = folder / ".env"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_env_file(file, NAMES)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", {}),
        ("HF_TOKEN=a\nDRIFTMAP_MODEL=b/c", {"HF_TOKEN": "a", "DRIFTMAP_MODEL": "b/c"}),
        ("# note\n\nexport HF_TOKEN = 'a b' # note\r\n", {"HF_TOKEN": "a b"}),
        ("\ufeffHF_TOKEN=a", {"HF_TOKEN": "a"}),
        ("HF_TOKEN=a\nHF_TOKEN=b", {"HF_TOKEN": "b"}),
        ("HF_TOKEN=\n", {"HF_TOKEN": ""}),
        ("HOME=/x\nPATH\nHF_TOKEN=$HOME${PATH}\n", {"HF_TOKEN": "$HOME${PATH}"}),
        ("hf_token=a\nMY_HF_TOKEN=b\nHF_TOKEN_2=c\n", {}),
    ],
)  # fmt: skip
def test_only_our_names_are_read_and_as_they_stand(content, expected, tmp_path):
    assert read(tmp_path, content) == expected


FORM = "is not of the form NAME=value; mend it or put a # before it"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("HF_TOKEN\n", f"line 1 {FORM}"),
        ("A=1\n\n\nthis is no line\n", f"line 4 {FORM}"),
        ("A=1\r\n\r\nHF_TOKEN='abc\n", f"line 3 {FORM}"),
        ("=secret\n", f"line 1 {FORM}"),
        (b"HF_TOKEN=\xff\xfe\n", "it is not UTF-8 text; save it as UTF-8"),
        ("HF_TOKEN=a".encode("utf-16"), "it is not UTF-8 text; save it as UTF-8"),
        ("HF_TOKEN=a\0b\n", "it holds NUL bytes, so it is no text; take it away"),
    ],
)
def test_a_damaged_file_is_refused_without_showing_it(content, expected, tmp_path):
    with pytest.raises(DataError) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / '.env'}: {expected}")
    for part in ("secret", "abc", "this"):
        assert part not in str(caught.value).removeprefix(str(tmp_path))


def test_no_file_and_a_virtual_environment_say_nothing(tmp_path):
    assert read_env_file(tmp_path / "none", NAMES) == {}
    (tmp_path / "folder").mkdir()
    assert read_env_file(tmp_path / "folder", NAMES) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(tmp_path):
    file = tmp_path / ".env"
    file.write_text("HF_TOKEN=a")
    file.chmod(0)
    with pytest.raises(DataError, match=r"cannot be read \(permission denied\); chan"):
        read_env_file(file, NAMES)
