"""Which files hold the groups that somebody brings along, and what is each called?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driftmap.core.errors import StoreError
from driftmap.results.rules import DECLARED

PUBLISHED = {"safety_set_diff": DECLARED, "safety_snip_top": "top"}
"""Names of published group files, and what they are called here."""

OTHERS = ("top", "utility", "random")
"""Groups that take part beside the declared one where they are given."""

DRAWN = "matched"
"""The control, which every study draws itself."""

_SUFFIXES = (".safetensors", ".json")
_NAME = re.compile(r"\w[\w .+()-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundGroup:
    """A file that holds a group.

    Args:
        name: What the group is called: the file's stem, published names translated.
        file: The file.
    """

    name: str
    file: Path


def find_groups(source: Path) -> tuple[FoundGroup, ...]:
    """Find the groups in a file or folder, without reading any.

    Args:
        source: A group file, which is the declared group whatever its name; a folder
            of them; or a run folder, which stands for its `groups/`. In a folder the
            declared group is called `difference` or `safety_set_diff`, or is the only
            one beside `top`, `utility` and `random`. A `matched` is left out: the
            study draws its own.

    Returns:
        The declared group, then `top`, `utility` and `random` as far as they are
        there.

    Raises:
        StoreError: There is no group, two files have one name, or it is not clear
            which group is the declared one.
    """
    if source.is_file():
        return (_single(source),)
    if not source.is_dir():
        raise StoreError(f"{source}: there is no such file or folder; check --groups")
    folder = source / "groups" if (source / "groups").is_dir() else source
    files = sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and file.suffix in _SUFFIXES and file.name[0] != "."
    )
    if not files:
        raise StoreError(
            f"{folder}: holds no group; give a .safetensors file that driftmap wrote, "
            "a .json file of the published shape, or a folder of them"
        )
    found = _by_name(folder, files)
    if len(found) == 1:
        return (_single(files[0]),)
    declared = _declared(folder, list(found))
    order = [declared, *(name for name in OTHERS if name in found and name != declared)]
    return tuple(FoundGroup(name=name, file=found[name]) for name in order)


def _single(file: Path) -> FoundGroup:
    if file.suffix not in _SUFFIXES:
        raise StoreError(
            f"{file}: is neither .safetensors nor .json; give a group that driftmap "
            "wrote or one of the published JSON shape"
        )
    name = _name(file)
    if name in (DRAWN, "utility", "random"):
        raise StoreError(
            f"{file}: a single group is the one to test, but `{name}` is the name of "
            "a group to compare with; rename the file for what it holds"
        )
    return FoundGroup(name=name, file=file)


def _by_name(folder: Path, files: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in files:
        name = _name(file)
        if name in found:
            raise StoreError(
                f"{folder}: {found[name].name} and {file.name} are both the group "
                f"`{name}`; move one of them away"
            )
        found[name] = file
    return found


def _declared(folder: Path, names: Sequence[str]) -> str:
    own = [name for name in names if name not in (DECLARED, *OTHERS, DRAWN)]
    if DECLARED in names and not own:
        return DECLARED
    if DECLARED not in names and len(own) == 1:
        return own[0]
    if DECLARED in names:
        raise StoreError(
            f"{folder}: beside `{DECLARED}` only {', '.join(OTHERS)} can take part, "
            f"not {', '.join(own)}; move the other files away"
        )
    raise StoreError(
        f"{folder}: which of {', '.join(own or names)} is the group to test? Name its "
        f"file {DECLARED}.safetensors or {DECLARED}.json, or give that file alone"
    )


def _name(file: Path) -> str:
    name = PUBLISHED.get(file.stem, file.stem)
    if not _NAME.fullmatch(name):
        raise StoreError(
            f"{file}: {file.stem!r} cannot be a group's name; rename the file with "
            "letters, digits, dashes and dots"
        )
    return name
