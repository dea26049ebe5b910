"""What of an ablation is refused before a model is loaded?"""

from collections.abc import Sequence
from pathlib import Path

from driftmap.core.errors import StoreError, UsageError
from driftmap.recipes.ablation_options import AblationOptions
from driftmap.recipes.options import FREE
from driftmap.store.group_folder import FoundGroup, find_groups
from driftmap.store.head_ranks import import_head_ranks
from driftmap.store.plain import load_json

KIND = "ablate"
"""What a run of an ablation is called in its `run.yaml`."""

ABLATION_FREE = (*FREE, "ablation.save")
"""Settings that may differ from those the run was begun with."""

NOTE = "driftmap.json"
"""What lies beside a changed model and says what was done to it."""

NOTE_KIND = "driftmap.changed_model"

_ENDINGS = ("", ".safetensors", ".json")


def require_ablation(ablation: AblationOptions) -> None:
    """Refuse groups and ranks that cannot be read, and a folder that holds other files.

    Raises:
        StoreError: There is no group or no ranks where they are named.
        UsageError: The folder to save to is taken.
    """
    find_targets(ablation.group)
    if ablation.heads is not None:
        import_head_ranks(ablation.heads)
    folder = ablation.save
    if folder is None or not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and saved_note(folder) is None):
        raise UsageError(
            f"--save {folder}: there are other files; name a folder that is new or "
            "empty"
        )


def saved_note(folder: Path) -> dict[str, object] | None:
    """What was done to the model in a folder; None where none was saved there.

    Raises:
        StoreError: The note is damaged.
    """
    file = folder / NOTE
    return load_json(file, NOTE_KIND) if file.is_file() else None


def find_targets(named: Sequence[Path]) -> tuple[FoundGroup, ...]:
    """Find the groups to take away, without reading what they hold.

    Args:
        named: Files, folders, or files without their ending. A folder stands for the
            group that a study of it would declare.

    Raises:
        StoreError: There is none, or two have one name.
    """
    found = tuple(files_of(path)[0] for path in named)
    for number, group in enumerate(found):
        for other in found[:number]:
            if other.name == group.name:
                raise StoreError(
                    f"{other.file} and {group.file} are both the group "
                    f"`{group.name}`; rename one of the files"
                )
    return found


def files_of(path: Path) -> tuple[FoundGroup, ...]:
    """Groups of a file or folder, the one to take away first.

    Raises:
        StoreError: There is none.
    """
    for ending in _ENDINGS:
        with_ending = path.with_name(path.name + ending)
        if with_ending.exists():
            return find_groups(with_ending)
    raise StoreError(f"{path}: there is no such file or folder; check --group")
