"""What is a person told whose model has a layout that is not known?"""

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from driftmap.families.dense import PLAIN
from driftmap.families.spec import Family


def unknown_layout(
    model_type: str, block: str, maps: Iterable[str], families: Sequence[Family]
) -> str:
    """Write the refusal: what was found, what comes nearest, how to add a row.

    Args:
        model_type: As in the model's `config.json`.
        block: Path of the block that could not be read.
        maps: Paths of its linear maps, inside the block.
        families: The known rows.

    Returns:
        Sentences for the person, the last one ended by a full stop.
    """
    maps = list(maps)
    nearest = nearest_family(model_type, maps, families)
    known = ", ".join(nearest.maps)
    return (
        f"model type {model_type!r}: {block} holds the linear maps "
        f"{', '.join(maps)}, and it is not known which part each of them is. "
        f"The nearest family is {nearest.name!r}, which knows {known}. "
        f"Add a row for {model_type!r} to FAMILIES in driftmap/families/dense.py, "
        "as docs/how-to/add-a-model-family.md shows."
    )


def nearest_family(
    model_type: str, maps: Sequence[str], families: Sequence[Family]
) -> Family:
    """The family that knows most of the names; a like-sounding one among equals.

    >>> rows = (Family(name="gpt2", maps={"c_attn": "q"}),)
    >>> nearest_family("gpt3", ["attn.c_attn", "mlp.fc"], rows).name
    'gpt2'
    """

    def likeness(family: Family) -> tuple[float, float]:
        known = sum(
            path == end or path.endswith(f".{end}")
            for end in family.maps
            for path in maps
        )
        sounds = SequenceMatcher(None, model_type, family.name).ratio()
        return known / max(len(maps), 1) + sounds, sounds

    return max((PLAIN, *families), key=likeness)
