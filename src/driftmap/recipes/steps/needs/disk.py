"""How much disk do the files of a study take?

Their layouts are known (`docs/reference/file-formats.md`), so sizes are counted and not
measured; what is compressed or drawn has a size that was measured once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from driftmap.core.places import Site
from driftmap.load.model import LoadedModel
from driftmap.recipes.options import GroupOptions, StudyPlan
from driftmap.recipes.steps.needs.memory import Adapter, default_permutations
from driftmap.store.run_dir import RunDir
from driftmap.tune.schedule import checkpoint_steps, drift_steps, total_steps

_DENSE = 16
_NUM_GROUPS = 5
_NUM_METRICS = 9
_ADAPTER_TEXTS = 7_000
"""Bytes of an adapter's configuration and card."""

_TABLE_ROW = 56
"""Bytes of a compressed row of the drift table in which something moved."""

_DRAW = 19
"""Bytes of a number in `statistics.json`."""

_JSON_MEMBER = 19
"""Bytes of a member of a group in the published JSON."""

_READING = 200
"""Bytes of an answer with its readings."""

_REPORT = 7_700_000
"""Bytes of the report with its figures; it brings its own drawing library."""

_SMALL_FILES = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPart:
    """Files of one kind.

    Args:
        what: What a person calls them.
        num_bytes: What they take when the study is finished.
        passing_bytes: What they take beside that while they are made.
        remedy: The option that makes them fewer.
    """

    what: str
    num_bytes: int
    passing_bytes: int = 0
    remedy: str = ""


def study_disk(
    loaded: LoadedModel,
    run: RunDir,
    plan: StudyPlan,
    adapter: Adapter,
    num_learnt: int,
    num_asked: int,
) -> list[DiskPart]:
    """What the steps that are not finished write into the run folder.

    Args:
        loaded: The model.
        run: Knows which steps are finished.
        plan: What is done.
        adapter: The adapter's size.
        num_learnt: Samples that are tuned on; 0 where nothing is tuned.
        num_asked: Prompts of all sets that are answered at each checkpoint.
    """
    sites = loaded.layout.sites
    runs = range(plan.testing.seeds)
    to_tune = [n for n in runs if not run.is_finished(f"tune-seed-{n}")]
    to_merge = [n for n in runs if not run.is_finished(f"merge-seed-{n}")]
    total = total_steps(num_learnt, plan.lora) if num_learnt else 0
    checkpoints = len(checkpoint_steps(total, plan.lora.save_steps))
    measured = len(drift_steps(total, plan.lora.save_steps, plan.lora.drift_every))
    parts = [DiskPart(what="small files", num_bytes=_SMALL_FILES)]
    if not run.is_finished("groups"):
        parts.append(DiskPart(what="groups", num_bytes=group_bytes(sites, plan.groups)))
        if plan.output.keep and not run.is_finished("scores"):
            parts.append(_kept_scores(sites))
    if num_learnt and plan.until != "groups":
        parts.append(_adapters(adapter, checkpoints, len(to_tune)))
        if plan.output.merged:
            parts.append(_merged(loaded, len(to_merge)))
    if plan.until == "report":
        rows = 2 * measured * len(runs) * _NUM_GROUPS * (len(sites) + 1) * _NUM_METRICS
        readings = num_asked * (1 + checkpoints * len(runs))
        parts += _tables(run, rows, readings, _draws(sites, plan))
        if plan.output.export_json and not run.is_finished("export"):
            parts.append(_export(sites, plan.groups))
    return parts


def group_bytes(sites: Sequence[Site], groups: GroupOptions) -> int:
    """The five group files, at most."""
    shares = [groups.q, groups.q, groups.share, groups.share, groups.share]
    return sum(_file_bytes(site, share) for site in sites for share in shares)


def kept_bytes(sites: Sequence[Site], bytes_per_weight: int) -> int:
    """Scores of every weight."""
    return bytes_per_weight * sum(site.num_weights for site in sites)


def model_bytes(loaded: LoadedModel) -> int:
    """All parameters of the model, each once."""
    parameters = loaded.model.parameters()
    return sum(p.numel() * p.element_size() for p in parameters)


def _file_bytes(site: Site, share: float) -> int:
    """As `store.groups` writes them: row starts and columns, or one bit per weight."""
    members = max(1, int(share * site.num_weights))
    if members * _DENSE > site.num_weights:
        return site.num_weights // 8
    return 4 * (site.num_rows + 1) + members * (2 if site.num_columns <= 65536 else 4)


def _kept_scores(sites: Sequence[Site]) -> DiskPart:
    return DiskPart(
        what="scores", num_bytes=kept_bytes(sites, 16), remedy="use --no-keep"
    )


def _adapters(adapter: Adapter, checkpoints: int, num_runs: int) -> DiskPart:
    each = 4 * adapter.num_weights + _ADAPTER_TEXTS
    return DiskPart(
        what="adapters",
        num_bytes=each * checkpoints * num_runs,
        # A run's adapters are copied when it ends; its state lies beside them.
        passing_bytes=each * checkpoints + 12 * adapter.num_weights if num_runs else 0,
        remedy="raise --save-steps or lower --lora-r",
    )


def _merged(loaded: LoadedModel, num_runs: int) -> DiskPart:
    return DiskPart(
        what="merged models",
        num_bytes=num_runs * model_bytes(loaded),
        remedy="use --no-merged",
    )


def _export(sites: Sequence[Site], groups: GroupOptions) -> DiskPart:
    members = (2 * groups.q + 3 * groups.share) * sum(s.num_weights for s in sites)
    return DiskPart(
        what="JSON",
        num_bytes=int(_JSON_MEMBER * members),
        remedy="use --no-export-json",
    )


def _draws(sites: Sequence[Site], plan: StudyPlan) -> int:
    ratios = _NUM_GROUPS * (
        1 + len({s.layer for s in sites}) + len({s.part for s in sites})
    )
    return ratios * (plan.testing.permutations or default_permutations(sites))


def _tables(run: RunDir, rows: int, readings: int, draws: int) -> Iterator[DiskPart]:
    sizes: Mapping[str, tuple[str, int]] = {
        "drift": ("tables", _TABLE_ROW * rows + _READING * readings),
        "statistics": ("statistics", _DRAW * draws),
        "report": ("report", _REPORT),
    }
    for step, (what, num_bytes) in sizes.items():
        if not run.is_finished(step):
            yield DiskPart(what=what, num_bytes=num_bytes)
