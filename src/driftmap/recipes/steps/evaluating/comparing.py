"""What is a model compared with: another one, itself without an adapter, a run?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import cast

import numpy as np

from driftmap.core.errors import StoreError, UsageError
from driftmap.load.source import ModelSource
from driftmap.recipes.steps.evaluating.reading import RULINGS
from driftmap.recipes.utility_options import UtilityOptions
from driftmap.results.table import Table
from driftmap.store.files import sha256_of
from driftmap.store.recipe_file import RECIPE_FILE, load_recipe, plain_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table, save_table

UNTOUCHED = "untouched"
"""What the shelf calls a base that is not compared with, only read under."""

UtilityHeld = Mapping[str, object]
"""Utility options by name, as a run's file holds them."""

_KEY = ("asked", "template", "has_system", "attack", "sample_id", "number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What stands beside the evaluated model.

    Args:
        sources: Models by what the shelf calls them, `this` first.
        untouched: Which of them answers are read under.
        earlier: Folder of an evaluation whose answers are compared with; None where
            the other model is asked again, or there is none.
    """

    sources: Mapping[str, ModelSource]
    untouched: str
    earlier: Path | None


def comparison(source: ModelSource, compare: str | None) -> Comparison:
    """Tell what `--compare` names.

    Args:
        source: The model that is evaluated.
        compare: Folder of a run, folder of an adapter, or a model; None for nothing,
            and the base is then what an adapter is read under.

    Raises:
        UsageError: The folder holds a run of another kind.
    """
    if compare is None:
        if source.adapter is None:
            return Comparison(sources={"this": source}, untouched="this", earlier=None)
        base = {"this": source, UNTOUCHED: replace(source, adapter=None)}
        return Comparison(sources=base, untouched=UNTOUCHED, earlier=None)
    folder = Path(compare).expanduser()
    if (folder / RECIPE_FILE).is_file():
        before = {"this": source, UNTOUCHED: _source_of(folder)}
        return Comparison(sources=before, untouched=UNTOUCHED, earlier=folder)
    other = replace(source, model=compare, adapter=None)
    if (folder / "adapter_config.json").is_file():
        other = replace(source, adapter=compare)
    both = {"this": source, "compared": other}
    return Comparison(sources=both, untouched="compared", earlier=None)


def earlier_step(run: RunDir, folder: Path) -> StepOutcome:
    """Take over the answers of an earlier evaluation, to be compared with.

    Raises:
        StoreError: The run has no answers yet.
    """
    file = folder / RULINGS
    if not file.is_file():
        raise StoreError(
            f"--compare {folder}: that run has no answers; finish it first"
        )

    def make(target: Path) -> None:
        rows = load_table(file).where(model="this")
        columns = {n: c for n, c in rows.columns.items() if n != "ruling"}
        columns["model"] = np.full(len(rows), "compared")
        save_table(target / "tables/answers/earlier.parquet", Table(columns=columns))

    return run.step("answers-earlier", {"sha256": sha256_of(file)}, make)


def require_same_prompts(answers: Table, folder: Path) -> None:
    """Refuse an earlier run that asked something else under the same names.

    Raises:
        UsageError: No prompt is the same, or one has another wording.
    """
    before, now = (
        {tuple(row[name] for name in _KEY): row["prompt"] for row in rows.rows()}
        for rows in (answers.where(model="compared"), answers.where(model="this"))
    )
    shared = before.keys() & now.keys()
    changed = [key for key in shared if before[key] != now[key]]
    if not shared or changed:
        found = (
            f"{len(changed)} prompts of the same name differ"
            if shared
            else ("no prompt was asked in both, in the same way")
        )
        raise UsageError(
            f"--compare {folder}: {found}; evaluate both on the same prompts with the "
            "same seed"
        )


def require_same_reading(options: UtilityOptions, folder: Path) -> None:
    """Refuse an earlier run whose items or windows are others.

    Args:
        options: What is read now.
        folder: The earlier run.

    Raises:
        UsageError: It read the same kind of thing in another way.
    """
    saved = cast(UtilityHeld, load_recipe(folder).settings.get("utility") or {})
    now = cast(UtilityHeld, plain_recipe(asdict(options)))
    for kind, names in (
        ("perplexity", ("window",)),
        ("tasks", ("tasks", "limit", "tasks_as_chat")),
    ):
        changed = [name for name in names if now.get(name) != saved.get(name)]
        if now.get(kind) and saved.get(kind) and changed:
            option = f"--{changed[0].replace('_', '-')}"
            raise UsageError(
                f"--compare {folder}: {option} was {_said(saved.get(changed[0]))} in "
                f"that run and is {_said(now.get(changed[0]))} now; repeat that run's"
            )


def _said(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "not given" if value is None else str(value).lower()


def _source_of(folder: Path) -> ModelSource:
    saved = load_recipe(folder)
    if saved.kind != "evaluate":
        raise UsageError(
            f"--compare {folder}: it holds a run of `{saved.kind}`; name a run of "
            "`driftmap evaluate`, an adapter or a model"
        )
    held = cast(Mapping[str, object], saved.settings["source"])
    known = {field.name for field in fields(ModelSource)}
    return ModelSource(**{n: v for n, v in held.items() if n in known})  # pyright: ignore[reportArgumentType]
