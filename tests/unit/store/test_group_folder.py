"""Which groups are found among files of somebody else, under which names?"""

import re

import pytest

from driftmap.core.errors import StoreError
from driftmap.store.group_folder import find_groups


def folder_of(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def names(found):
    return [group.name for group in found]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["difference.safetensors"], ["difference"]),
        (["my_circuit.json"], ["my_circuit"]),
        (["top.json"], ["top"]),
        (
            ["random.json", "safety_set_diff.json", "safety_snip_top.json",
             "utility.json"],
            ["difference", "top", "utility", "random"],
        ),
        (
            ["difference.safetensors", "matched.safetensors", "random.safetensors"],
            ["difference", "random"],
        ),
        (["my circuit.v2.json", "top.json"], ["my circuit.v2", "top"]),
        (["difference.json", "README.md", ".hidden.json", "x.npy"], ["difference"]),
    ],
)  # fmt: skip
def test_the_declared_group_comes_first(tmp_path, files, expected):
    assert names(find_groups(folder_of(tmp_path / "groups", *files))) == expected
    assert names(find_groups(tmp_path)) == expected  # as a run folder


def test_a_single_file_of_any_name_is_the_declared_group(tmp_path):
    folder = folder_of(tmp_path, "safety_set_diff.json", "other.safetensors")
    for file, name in [("safety_set_diff.json", "difference"),
                       ("other.safetensors", "other")]:  # fmt: skip
        (found,) = find_groups(folder / file)
        assert (found.name, found.file) == (name, folder / file)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "holds no group; give a .safetensors file that driftmap wrote, a .json"),
        (["a.json", "b.json"], "which of a, b is the group to test? Name its file "
         "difference.safetensors or difference.json, or give that file alone"),
        (["top.json", "utility.json"], "which of top, utility is the group to test?"),
        (["difference.json", "a.json"], "beside `difference` only top, utility, random "
         "can take part, not a; move the other files away"),
        (["difference.json", "safety_set_diff.json"], "difference.json and "
         "safety_set_diff.json are both the group `difference`"),
        (["random.json"], "a single group is the one to test, but `random` is the name "
         "of a group to compare with; rename the file for what it holds"),
        (["matched.safetensors"], "`matched` is the name of a group to compare with"),
        (["a`b.json"], "'a`b' cannot be a group's name; rename the file"),
    ],
)  # fmt: skip
def test_unclear_folders_are_refused(tmp_path, files, words):
    with pytest.raises(StoreError, match=re.escape(words)):
        find_groups(folder_of(tmp_path / "groups", *files))


def test_other_kinds_and_missing_files_are_refused(tmp_path):
    folder_of(tmp_path, "group.pt")
    with pytest.raises(StoreError, match=r"is neither \.safetensors nor"):
        find_groups(tmp_path / "group.pt")
    with pytest.raises(StoreError, match="there is no such file or folder; check --gr"):
        find_groups(tmp_path / "none.json")
