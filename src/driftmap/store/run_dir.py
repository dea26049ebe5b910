"""How does a run folder grow step by step, survive a kill, and refuse strangers?"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from types import MappingProxyType

from filelock import FileLock

from driftmap.core.errors import StoreError
from driftmap.core.progress import phase, say
from driftmap.store import markers, provenance, steps
from driftmap.store.beside import copy_step, find_beside
from driftmap.store.border import (
    LOCK,
    locked,
    locked_run,
    refuse_foreign,
    refuse_other,
)
from driftmap.store.files import explaining, remove
from driftmap.store.markers import StepOutcome
from driftmap.store.recipe_file import (
    RECIPE_FILE,
    is_changed,
    load_recipe,
    plain_recipe,
    save_recipe,
)
from driftmap.store.steps import StepFolders

Redoes = Mapping[str, Collection[str]]
"""Dotted names of settings -> names of the steps that depend on them."""

_OWN = (RECIPE_FILE, "provenance.json", "log.txt", "steps")


class RunDir:
    """One run's folder, locked for as long as it is open.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "run"
    >>> def make(folder: Path) -> None:
    ...     _ = (folder / "answer.txt").write_text("42")
    >>> with RunDir.open(folder, {"seed": 0}, "example") as run:
    ...     first = run.step("think", {"seed": 0}, make)
    ...     again = run.step("think", {"seed": 0}, make)
    >>> first.redone, again.redone, again.path("answer.txt").read_text()
    (True, False, '42')
    """

    def __init__(self, path: Path, lock: FileLock, *, is_new: bool) -> None:
        """Use `open` or `reopen`."""
        self.path = path
        self._lock = lock
        self._is_new = is_new
        self._provenance = path / "provenance.json"
        self._environment: int | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        recipe: Mapping[str, object],
        kind: str,
        *,
        free: Collection[str] = (),
        redoes: Redoes = MappingProxyType({}),
    ) -> "RunDir":
        """Begin a run in a folder, or go on with the one that is there.

        Args:
            path: The folder; made if missing, with its parents.
            recipe: All settings, resolved and plain.
            kind: Which recipe: the name of its command.
            free: Dotted names of settings that may differ from those the run was
                begun with: how far to go, where the results lie, the device.
            redoes: Dotted names of settings that may differ too, each with the steps
                whose results are then of earlier settings. These keep their files
                until they are done again, so that one may go back; until then
                `require` refuses them.

        Raises:
            StoreError: The folder holds foreign files, another run or this run
                with other settings, is in use, or may not be written to.
        """
        refuse_foreign(path)
        is_new = not path.exists()
        run = cls(path, locked(path), is_new=is_new)
        try:
            plain = plain_recipe(recipe)
            refuse_other(path, plain, kind, (*free, *redoes))
            with explaining(path):
                run._begin(plain, kind, redoes)
        except BaseException:
            if is_new:
                run._forget()
            run.close()
            raise
        return run

    @classmethod
    def reopen(cls, path: Path) -> "RunDir":
        """Open a run with the settings it has, to add to it.

        Raises:
            StoreError: The folder holds no run, or `open` refuses it.
        """
        saved = load_recipe(path)
        return cls.open(path, saved.settings, saved.kind)

    @classmethod
    def hold(cls, path: Path) -> "RunDir":
        """Lock a run as it is: nothing of it is changed yet.

        Raises:
            StoreError: The folder holds no run, or the run is in use.
        """
        return cls(path, locked_run(path), is_new=False)

    def step(
        self,
        name: str,
        inputs: Mapping[str, object],
        make: Callable[[Path], None],
    ) -> StepOutcome:
        """Do a step unless it is finished with these inputs and its files are whole.

        Args:
            name: The step's name, `a-z 0-9 . _ -`.
            inputs: All that its result depends on, plain: settings, hashes of
                files, keys of the steps before it.
            make: Writes the files into the folder it is given, at the paths they
                shall have in the run (`tables/drift.parquet`).

        Raises:
            StoreError: The disk refuses; nothing is left half-written.
        """
        return self._step(name, inputs, lambda folders: make(folders.folder))

    def long_step(
        self,
        name: str,
        inputs: Mapping[str, object],
        make: Callable[[StepFolders], None],
    ) -> StepOutcome:
        """Do a step that can go on where a killed process left it.

        Args:
            name: As for `step`.
            inputs: As for `step`.
            make: Writes its files into `.folder`, and into `.work` whatever it
                needs to resume: what it finds there is of the same inputs.

        Raises:
            StoreError: The disk refuses; the work done so far is kept.
        """

        def make_with_work(folders: StepFolders) -> None:
            folders.work.mkdir(parents=True, exist_ok=True)
            make(folders)

        return self._step(name, inputs, make_with_work)

    def require(self, name: str) -> StepOutcome:
        """Find a finished step and check its files, whatever its inputs were.

        Raises:
            StoreError: The step is not finished, is of earlier settings, or a file
                of it was changed. Files that were cleaned away are no fault.
        """
        found = markers.find_finished(self.path, name)
        if found is None:
            raise StoreError(
                f"{self.path}: step {name!r} is not finished; "
                f"finish the run with `driftmap run {self.path}`"
            )
        if found.is_outdated:
            raise StoreError(
                f"{self.path}: step {name!r} is of earlier settings; "
                f"finish the run with `driftmap run {self.path}`"
            )
        fault = markers.first_fault(found)
        if fault:
            raise StoreError(f"{fault}; make it again with `driftmap run {self.path}`")
        return found

    def find(self, name: str, inputs: Mapping[str, object]) -> StepOutcome | None:
        """Find a step that is finished with these inputs and whose files are whole.

        Args:
            name: As for `step`.
            inputs: As for `step`.
        """
        found = markers.find_finished(self.path, name)
        return None if _reason_to_do(found, steps.step_key(name, inputs)) else found

    def is_finished(self, name: str) -> bool:
        """Whether a step need not be done again, as far as its marker alone tells."""
        found = markers.find_finished(self.path, name)
        return bool(
            found and not found.is_outdated and not markers.missing_on_purpose(found)
        )

    def clean_away(self, name: str, files: Collection[str]) -> None:
        """Remove files of a finished step on purpose.

        The marker says so before the first of them goes: `require` does without
        them from then on, and `step` makes them again.
        """
        with explaining(self.path):
            markers.note_removed(self.path, name, files)
            steps.remove_with_empty_folders(self.path, files)

    def drop_outdated(self) -> None:
        """Remove what is still of earlier settings once all steps of now are done.

        Such steps made what the run was once asked for and is not any more.
        """
        for step in markers.all_finished(self.path):
            if step.is_outdated:
                with explaining(self.path):
                    steps.remove_with_empty_folders(self.path, step.files)
                    markers.remove_marker(self.path, step.name)

    def note_environment(self, *, num_threads: int, device: str, dtype: str) -> None:
        """Note in the provenance what the next steps run on."""
        environment = provenance.describe_environment(
            num_threads=num_threads, device=device, dtype=dtype
        )
        self._environment = provenance.add_environment(self._provenance, environment)

    def note_seeds(self, seeds: Mapping[str, int]) -> None:
        """Note the seeds of the run in the provenance."""
        provenance.add_entries(self._provenance, "seeds", dict(seeds))

    def note_inputs(self, sha256: Mapping[str, str]) -> None:
        """Note in the provenance the hashes of what the run reads, by name."""
        provenance.add_entries(self._provenance, "inputs_sha256", dict(sha256))

    def close(self) -> None:
        """Let others write the run."""
        self._lock.release()

    def __enter__(self) -> "RunDir":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close; after an error a run without any result is as if never begun."""
        if kind is not None and not _has_results(self.path):
            self._forget()
        self.close()

    def _begin(self, recipe: Mapping[str, object], kind: str, redoes: Redoes) -> None:
        """Clear what a killed process left, then take on the settings of now.

        Steps that are of earlier settings then are marked before those settings are
        overwritten: a kill in between leaves a run that both can go on with.
        """
        for remains in self.path.glob(".*.tmp"):
            remove(remains)
        steps.recover(self.path)
        if (self.path / RECIPE_FILE).exists():
            saved = load_recipe(self.path).settings
            for setting, names in redoes.items():
                if is_changed(saved, recipe, setting):
                    for name in names:
                        markers.note_outdated(self.path, name)
        save_recipe(self.path / RECIPE_FILE, recipe, kind)
        (self.path / "steps").mkdir(exist_ok=True)

    def _forget(self) -> None:
        """Remove what `open` wrote, so that other settings may be tried here."""
        for name in _OWN:
            remove(self.path / name)
        if self._is_new and {p.name for p in self.path.iterdir()} <= {LOCK}:
            remove(self.path)

    def _step(
        self,
        name: str,
        inputs: Mapping[str, object],
        make: Callable[[StepFolders], None],
    ) -> StepOutcome:
        assert self._lock.is_locked, "the run folder is closed"
        key = steps.step_key(name, inputs)
        found = markers.find_finished(self.path, name)
        reason = _reason_to_do(found, key)
        if found and reason is None:
            found = markers.clear_notes(self.path, name)
            steps.clear_work(self.path, name)
            return found
        if found:
            say(f"{reason}; the step is done again")
        begin = perf_counter()
        beside = find_beside(self.path, name, key)
        if beside:
            say(f"step {name}: the same as in {beside.root.name}, and taken from there")
            make = partial(_copy, beside)
        try:
            with phase(f"step {name}"), explaining(self.path):
                make(steps.step_folders(self.path, name, key))
                outcome = steps.commit(self.path, name, key, _cleaned(found, key))
        finally:
            steps.abandon(self.path, name)
        cost = provenance.StepCost(
            wall_seconds=round(perf_counter() - begin, 3),
            peak_memory_bytes=provenance.peak_memory_bytes(),
            environment=self._environment,
        )
        provenance.add_cost(self._provenance, name, cost)
        steps.clear_work(self.path, name)
        return outcome


def _has_results(path: Path) -> bool:
    """Whether a step is finished, or has work that another process can go on with."""
    found = (
        path.glob("steps/*.json"),
        path.glob("steps/*.work"),
        path.glob("steps/.*.plan"),
        path.glob("shards/*/done.json"),
    )
    return any(True for each in found for _ in each)


def _reason_to_do(found: StepOutcome | None, key: str) -> str | None:
    if found is None:
        return "it was never finished"
    if found.key != key:
        return f"the inputs of step {found.name!r} changed"
    gone = markers.missing_on_purpose(found)
    if gone:
        where = f"{found.root / gone[0]} of step {found.name!r}"
        return f"{where} was cleaned away{_and_more(gone)}"
    return markers.first_fault(found)


def _copy(beside: StepOutcome, folders: StepFolders) -> None:
    copy_step(beside, folders.folder)


def _cleaned(found: StepOutcome | None, key: str) -> StepOutcome | None:
    """The step as it was, if nothing but its cleaned files is missing from it."""
    if found is None or found.key != key or not found.removed:
        return None
    return None if markers.first_fault(found) else found


def _and_more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
