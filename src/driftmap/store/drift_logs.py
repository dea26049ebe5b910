"""How do drift and its statistics travel to and from the published JSON shapes?

`drift_step_000500.json` holds, per metric and group, eight numbers over all
weights of the group, those that nothing tuned included; `statistical_results.json`
compares groups by Cohen's d. Both drop layers and what could move: they are for
exchange, not a run's own store.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from driftmap.core.errors import StoreError
from driftmap.core.quoted import quoted
from driftmap.results.plain import to_plain
from driftmap.results.table import Cell, Table
from driftmap.store.files import write_text
from driftmap.store.plain import parse_json

SUMMARY = ("mean", "std", "min", "max", "median", "q25", "q75", "count")
ORDERED = ("min", "q25", "median", "q75", "max")
COMPARISON = (
    "mean_diff", "cohens_d", "group_mean", "baseline_mean", "group_std", "baseline_std",
)  # fmt: skip
COMPARISONS_FILE = "statistical_results.json"
_FILE = re.compile(r"drift_step_\d+\.json")
_BETWEEN = "_vs_"
_LARGEST = 2**53
_GREATEST = sys.float_info.max
_ROUNDING = 1e-9


def import_drift_logs(source: Path) -> Table:
    """Read one log or all logs of a folder.

    Args:
        source: A `drift_step_*.json` or the folder that holds some.

    Returns:
        Columns step, metric, group, then mean, std, min, max, median, q25, q75
        and count, in the order of steps and of the files.

    Raises:
        StoreError: There is none, one is damaged or of another shape, two are of
            one step, or a number cannot be what it is called.
    """
    rows: list[dict[str, Cell]] = []
    read: dict[Cell, Path] = {}
    for file in drift_log_files(source):
        for row in _summary_rows(file):
            if read.setdefault(row["step"], file) != file:
                raise StoreError(
                    f"{file}: is of step {row['step']}, as {read[row['step']].name} "
                    "is; keep one of the two"
                )
            rows.append(row)
    if not rows:
        raise _no_log(source)
    rows.sort(key=lambda row: row["step"])
    return Table.from_rows(rows)


def drift_log_files(source: Path) -> list[Path]:
    """The logs of a folder, by name; a file stands for itself.

    Raises:
        StoreError: The folder holds none.
    """
    if not source.is_dir():
        return [source]
    files = sorted(p for p in source.iterdir() if _FILE.fullmatch(p.name))
    if not files:
        raise _no_log(source)
    return files


def export_drift_logs(folder: Path, table: Table) -> list[Path]:
    """Write one log per step.

    Args:
        folder: Where `drift_step_000500.json` and its like go.
        table: Columns as `import_drift_logs` returns; others are left out. A
            group without weights (count 0) is written as zeros.

    Returns:
        The files, by step.

    Raises:
        StoreError: A number is not finite, or the disk refuses.
    """
    steps: dict[Cell, dict[str, dict[str, dict[str, Cell]]]] = {}
    for row in table.rows():
        summary: dict[str, Cell] = {name: row[name] for name in SUMMARY}
        if row["count"] == 0:
            summary = {**dict.fromkeys(SUMMARY, 0.0), "count": 0}
        metrics = steps.setdefault(row["step"], {})
        metrics.setdefault(str(row["metric"]), {})[str(row["group"])] = summary
    files = []
    for step, metrics in sorted(steps.items()):
        file = folder / f"drift_step_{step:06d}.json"
        _write(file, {"step": step, "metrics": metrics})
        files.append(file)
    return files


def import_comparisons(path: Path) -> Table:
    """Read a `statistical_results.json`.

    Returns:
        Columns metric, group, baseline, then the six numbers of `COMPARISON`.

    Raises:
        StoreError: The file is missing, damaged or of another shape.
    """
    rows: list[dict[str, Cell]] = []
    for metric, pairs in _mapping(path, "the file", parse_json(path)).items():
        for pair, numbers in _mapping(path, metric, pairs).items():
            group, found, baseline = pair.rpartition(_BETWEEN)
            if not found:
                raise StoreError(f"{path}: {metric}: {pair!r} is not GROUP_vs_BASELINE")
            fields = _fields(path, f"{metric}: {pair}", numbers, COMPARISON)
            rows.append(
                {"metric": metric, "group": group, "baseline": baseline, **fields}
            )
    return Table.from_rows(rows)


def export_comparisons(path: Path, table: Table) -> None:
    """Write a `statistical_results.json`.

    Args:
        path: File to write, whole or not at all.
        table: Columns as `import_comparisons` returns; others are left out.

    Raises:
        StoreError: A number is not finite, or the disk refuses.
    """
    metrics: dict[str, dict[str, dict[str, Cell]]] = {}
    for row in table.rows():
        pair = f"{row['group']}{_BETWEEN}{row['baseline']}"
        numbers = {name: row[name] for name in COMPARISON}
        metrics.setdefault(str(row["metric"]), {})[pair] = numbers
    _write(path, metrics)


def _no_log(source: Path) -> StoreError:
    if source.is_dir():
        inside = [p for p in source.iterdir() if p.is_dir()]
        for folder in sorted(inside):
            if any(_FILE.fullmatch(p.name) for p in folder.iterdir()):
                return StoreError(
                    f"{source}: holds the drift logs of several training runs; name "
                    f"one of its folders, such as {folder}"
                )
    return StoreError(
        f"{source}: holds no drift log; it needs a file such as drift_step_000500.json"
    )


def _summary_rows(path: Path) -> Iterator[dict[str, Cell]]:
    whole = _mapping(path, "the file", parse_json(path))
    step = whole.get("step")
    if type(step) is not int or not 0 <= step <= _LARGEST:
        raise StoreError(
            f"{path}: is no drift log, it has no whole number under 'step'; name the "
            "folder of the logs, or a drift_step_000500.json"
        )
    for metric, groups in _mapping(path, "metrics", whole.get("metrics")).items():
        for group, numbers in _mapping(path, metric, groups).items():
            place = f"{metric}: {group}"
            fields = _fields(path, place, numbers, SUMMARY)
            _must_describe(path, place, fields)
            yield {"step": step, "metric": metric, "group": group, **fields}


def _must_describe(path: Path, place: str, fields: dict[str, Cell]) -> None:
    """Refuse numbers that no set of values has."""
    count = float(fields["count"])
    if not 0 <= count <= _LARGEST or count % 1:
        raise StoreError(
            f"{path}: {place}: 'count' is {count:g}, which counts nothing; write the "
            "log again"
        )
    fields["count"] = int(count)
    if float(fields["std"]) < 0:
        raise StoreError(
            f"{path}: {place}: 'std' is {fields['std']}, below 0; write the log again"
        )
    ordered = [float(fields[name]) for name in ORDERED]
    room = _ROUNDING * max(map(abs, ordered))
    for (low, high), (below, above) in zip(
        pairwise(ORDERED), pairwise(ordered), strict=True
    ):
        if below > above + room:
            raise StoreError(
                f"{path}: {place}: {low!r} is {below}, above {high!r}, {above}; "
                "write the log again"
            )


def _fields(
    path: Path, place: str, numbers: object, names: Sequence[str]
) -> dict[str, Cell]:
    found = _mapping(path, place, numbers)
    fields: dict[str, Cell] = {}
    for name in names:
        value = found.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise StoreError(f"{path}: {place}: has no number under {name!r}")
        if not -_GREATEST <= value <= _GREATEST:
            raise StoreError(
                f"{path}: {place}: {name!r} is no finite number; did training diverge?"
            )
        fields[name] = float(value)
    return fields


def _mapping(path: Path, place: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise StoreError(
            f"{path}: {place}: is not a JSON object; is it the right file?"
        )
    odd = next((name for name in value if not str(name).isprintable()), None)
    if odd is not None:
        raise StoreError(
            f"{path}: {place}: the name {quoted(str(odd))!r} cannot be printed; "
            "rename it"
        )
    return value


def _write(path: Path, value: Mapping[str, object]) -> None:
    """Write the bytes that the published files have: two spaces, no last line end."""
    write_text(path, json.dumps(to_plain(value, str(path)), indent=2))
