"""What does `${...}` in a study file stand for?

`${NAME}` is the folder of an earlier run; `${organism.aligned}` and the like are files
of the built-in models, or words of their world; they are made when one is asked for.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from driftmap.core.errors import UsageError
from driftmap.recipes.steps.study.files import PlannedRun, StudyFile

_PLACE = re.compile(r"\$\{([^}]*)\}")

BUILT_IN: Mapping[str, tuple[str, ...]] = {
    "organism": (
        "base", "aligned", "behaviour", "utility", "tune", "questions",
        "facts_test", "harmful_test", "harmless_test",
    ),
    "mixture": (
        "model", "unsafe", "unsafe_test", "benign", "benign_train", "domains",
        "harmless_wrapped", "wrapped_harmful", "plain_harmful",
    ),
    "pairs": ("originals", "reworded", "paraphrased"),
    "knowledge": (
        "facts", "held_out", "statements", "instructions",
        "person", "true", "false", "honest", "dishonest",
    ),
}  # fmt: skip
"""What may stand behind the dot; said here, so that nothing is made to find out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things are that runs name.

    Args:
        out: The study's folder.
        seed: Of the built-in models.
    """

    out: Path
    seed: int

    def filled(self, run: PlannedRun) -> dict[str, object]:
        """The options of a run, with paths in place of what stands for them."""
        return {name: self._filled(value) for name, value in run.options.items()}

    def _filled(self, value: object) -> object:
        if isinstance(value, str):
            return _PLACE.sub(lambda found: self._path(found[1]), value)
        if isinstance(value, Mapping):
            return {name: self._filled(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._filled(inner) for inner in value]
        return value

    def _path(self, place: str) -> str:
        name, _, part = place.partition(".")
        if part:
            return _MADE[name](self.seed)[part]
        return str(self.out / name)


def require_places(study: StudyFile, chosen: Sequence[PlannedRun]) -> None:
    """Refuse what stands for nothing, before anything is made.

    Args:
        study: The study.
        chosen: The runs that are to be done.

    Raises:
        UsageError: A run names a later run or an unknown one, or the built-in models
            have no such part.
    """
    earlier: list[str] = []
    for run in study.runs:
        for place in _places(run.options) if run in chosen else ():
            name, _, part = place.partition(".")
            if part and part in BUILT_IN.get(name, ()):
                continue
            if not part and name in earlier:
                continue
            known = [*earlier, *(f"{n}.{p}" for n, ps in BUILT_IN.items() for p in ps)]
            raise UsageError(
                f"{study.file}: run `{run.name}` names ${{{place}}}, which is neither "
                f"an earlier run nor built in; known are {', '.join(known)}"
            )
        earlier.append(run.name)


def runs_named(run: PlannedRun) -> set[str]:
    """Names of the runs whose folders a run needs."""
    return {place for place in _places(run.options) if "." not in place}


def _places(value: object) -> list[str]:
    if isinstance(value, str):
        return _PLACE.findall(value)
    inner: list[object] = []
    if isinstance(value, Mapping):
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    return [place for one in inner for place in _places(one)]


@cache
def _organism(seed: int) -> Mapping[str, str]:
    from driftmap.recipes.steps.organism import make_organism

    made = make_organism(seed)
    return _as_text({"base": made.base, "aligned": made.aligned, **made.data})


@cache
def _mixture(seed: int) -> Mapping[str, str]:
    from driftmap.recipes.steps.moe_organism import make_moe_organism

    made = make_moe_organism(seed)
    return _as_text({"model": made.model, **made.data})


@cache
def _pairs(seed: int) -> Mapping[str, str]:
    from driftmap.recipes.steps.paired_world import make_pairs

    return {name: str(file) for name, file in make_pairs(seed).items()}


@cache
def _knowledge(seed: int) -> Mapping[str, str]:
    from driftmap.recipes.steps.known_world import make_knowledge

    files = make_knowledge(seed)
    fact = json.loads(files["facts"].read_text(encoding="utf-8"))[0]
    said = json.loads(files["instructions"].read_text(encoding="utf-8"))
    return _as_text(files) | {
        "person": fact["subject"],
        "true": f"{fact['prompt']} {fact['answer']}.",
        "false": f"{fact['prompt']} {fact['foil']}.",
        "honest": said["honest"],
        "dishonest": said["dishonest"],
    }


def _as_text(files: Mapping[str, Path]) -> dict[str, str]:
    return {name: str(file) for name, file in files.items()}


_MADE: Mapping[str, Callable[[int], Mapping[str, str]]] = {
    "organism": _organism,
    "mixture": _mixture,
    "pairs": _pairs,
    "knowledge": _knowledge,
}
