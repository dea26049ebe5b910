"""Is there room for what a study is about to do, before it begins?

Only steps that are not finished are looked at. What they need is estimated
(`memory`, `disk`), told in one line, and compared with what is free.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from driftmap.capture.memory import free_bytes
from driftmap.core.errors import ModelError, StoreError
from driftmap.core.places import Site
from driftmap.core.progress import Silence, listening, say
from driftmap.core.room import free_disk, free_memory, free_swap
from driftmap.core.seeds import child_seed
from driftmap.core.shortage import give_back
from driftmap.core.units import format_bytes
from driftmap.load.model import LoadedModel
from driftmap.recipes.options import ScoringOptions, StudyPlan
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.data import Encoded, StudyData
from driftmap.recipes.steps.needs import disk as of_disk
from driftmap.recipes.steps.needs import memory as of_memory
from driftmap.recipes.steps.needs import pieces, remedies
from driftmap.recipes.steps.needs.disk import DiskPart
from driftmap.recipes.steps.needs.memory import Memory
from driftmap.recipes.steps.scoring.kinds import FromSamples, planned_measure
from driftmap.recipes.steps.scoring.passes import (
    Floats,
    Spill,
    plan_waiting,
    plan_whole,
)
from driftmap.tune.crew import this_crew
from driftmap.tune.targets import tuned_sites

_DOUBLE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What one kind of work needs.

    Args:
        what: The work.
        memory: Its peak, above what is held before.
        smaller: Option and peak of what could be done instead, largest peak first.
        remedy: What to do where none of these is small enough.
    """

    what: str
    memory: Memory
    smaller: tuple[tuple[str, Memory], ...] = ()
    remedy: str = remedies.LESS_OF_ALL


def require_room(study: Study, data: StudyData, plan: StudyPlan) -> None:
    """Estimate all that is not done yet, say it, and refuse what has no room.

    The model and the random generators are left as found.

    Args:
        study: Folder, model and seed.
        data: All samples, encoded.
        plan: What is done, and how far.

    Raises:
        ModelError: There is too little memory; the sentence names what lowers it.
        StoreError: There is too little disk, likewise.
    """
    estimates = study_estimates(study, data, plan)
    disk = study_disk(study, data, plan)
    _compare(study, estimates, disk)


def require_scoring_room(
    study: Study, encoded: Encoded, scoring: ScoringOptions, *, keep: bool
) -> None:
    """As `require_room`, for scoring one data set.

    Args:
        study: Folder, model and seed.
        encoded: The samples.
        scoring: Batch size and memory.
        keep: Whether all scores are written.
    """
    if study.run.is_finished("score"):
        return
    loaded, sites = study.loaded, study.loaded.layout.sites
    held = _held_whole(loaded, scoring)
    scored = of_memory.Scored(data=[encoded], held_bytes=held, chosen_bytes=0)
    disk = [DiskPart(what="groups and small files", num_bytes=1 << 20)]
    if keep:
        kept = of_disk.kept_bytes(sites, 4)
        disk.append(DiskPart(what="scores", num_bytes=kept, remedy="use --no-keep"))
    _compare(study, [_scoring(loaded, scored, scoring)], disk)


def study_estimates(study: Study, data: StudyData, plan: StudyPlan) -> list[Estimate]:
    """What every kind of work that is not done yet needs."""
    found = list(_estimates(study, data, plan))
    give_back()
    return found


def study_disk(study: Study, data: StudyData, plan: StudyPlan) -> list[DiskPart]:
    """What the steps that are not done yet write."""
    asked = data.asked
    num_asked = sum(map(len, (asked.prompts, *(h.prompts for h in asked.held_out))))
    return of_disk.study_disk(
        study.loaded,
        study.run,
        plan,
        _adapter(study, plan),
        len(data.learnt[0]) if data.learnt else 0,
        num_asked,
    )


def _estimates(study: Study, data: StudyData, plan: StudyPlan) -> Iterator[Estimate]:
    run, loaded = study.run, study.loaded
    if data.scored is not None and not run.is_finished("groups"):
        both = (data.scored.behaviour, data.scored.utility)
        yield _scoring(loaded, _scored(study, both, plan), plan.scoring)
    seeds = range(plan.testing.seeds)
    to_tune = [n for n in seeds if not run.is_finished(f"tune-seed-{n}")]
    if plan.until != "groups" and data.learnt is not None and to_tune:
        if this_crew().is_sharded:
            say("fine-tuning: not estimated, since the weights are spread (FSDP2)")
        else:
            yield _tuning(study, data.learnt[0], plan, to_tune)
    if plan.until != "report":
        return
    evaluations = ("evaluate-base", *(f"evaluate-seed-{n}" for n in seeds))
    if not all(map(run.is_finished, evaluations)):
        yield _evaluation(study, data, plan)
    if not run.is_finished("statistics"):
        yield _statistics(study, plan)


def _scoring(
    loaded: LoadedModel, scored: of_memory.Scored, scoring: ScoringOptions
) -> Estimate:
    scaling = pieces.scoring_scaling(loaded, scoring.score_batch_size)
    sizes = _halves(scoring.score_batch_size)
    smaller = [replace(scoring, score_batch_size=size) for size in sizes]
    return Estimate(
        what="scoring",
        memory=of_memory.scoring_memory(loaded, scored, scoring, scaling),
        smaller=tuple(
            (
                f"--score-batch-size {less.score_batch_size}",
                of_memory.scoring_memory(loaded, scored, less, scaling),
            )
            for less in smaller
        ),
        remedy=f"give the scores less with --memory, or {remedies.LESS_OF_ALL}",
    )


def _scored(study: Study, data: Sequence[Encoded], plan: StudyPlan) -> of_memory.Scored:
    loaded = study.loaded
    spill = Spill(run=study.run.path, chosen=plan.output.scratch)
    held = _held_halves(loaded, plan.scoring, spill, len(data))
    total = sum(site.num_weights for site in loaded.layout.sites)
    share = plan.groups.q + 2 * plan.groups.share
    return of_memory.Scored(
        data=data,
        held_bytes=held,
        chosen_bytes=int(3 * _DOUBLE * share * total),
    )


def _held_whole(loaded: LoadedModel, scoring: ScoringOptions) -> int:
    """Scores of one data set that are in memory at once, and the model of `--base`."""
    measure = planned_measure(loaded, scoring)
    held = [Floats()]
    if isinstance(measure, FromSamples):
        held = [measure.whole, Floats()] if measure.is_small else [measure.whole]
    with listening(Silence()):
        sizes = [
            max(
                sum(map(one.num_bytes, part))
                for part in plan_whole(loaded, one, scoring)
            )
            for one in held
        ]
    return sum(sizes) + _base_bytes(loaded, scoring)


def _held_halves(
    loaded: LoadedModel, scoring: ScoringOptions, spill: Spill, num_sets: int
) -> int:
    """Scores of all data sets that are in memory at once, and the model of `--base`."""
    measure = planned_measure(loaded, scoring)
    one_matrix = Floats(count=3 * num_sets).num_bytes(_largest(loaded))
    base = _base_bytes(loaded, scoring)
    if not isinstance(measure, FromSamples):
        return one_matrix + base
    fold = measure.halves
    with listening(Silence()):
        passes = plan_waiting(loaded, fold, num_sets, scoring, spill)
    held = max(sum(map(fold.num_bytes, part)) for part in passes.parts)
    held *= num_sets if passes.waits_in is None else 1
    return held + base + (one_matrix if measure.is_small else 0)


def _largest(loaded: LoadedModel) -> Site:
    return max(loaded.layout.sites, key=lambda site: site.num_weights)


def _base_bytes(loaded: LoadedModel, scoring: ScoringOptions) -> int:
    """The model that differences are taken to is one of the same shapes."""
    return 0 if scoring.base is None else of_disk.model_bytes(loaded)


def _tuning(
    study: Study, samples: Encoded, plan: StudyPlan, numbers: Sequence[int]
) -> Estimate:
    loaded, adapter = study.loaded, _adapter(study, plan)
    members = of_memory.group_members(loaded.layout.sites, plan.groups)
    seeds = [child_seed(study.seed, "run", number) for number in numbers]
    scaling = pieces.tuning_scaling(loaded, adapter.sites, plan.lora, samples)
    total = plan.lora.batch_size * plan.lora.grad_accum
    sizes = [s for s in range(plan.lora.batch_size, 0, -1) if total % s == 0]
    peaks = []
    for size in sizes:
        settings = replace(plan.lora, batch_size=size, grad_accum=total // size)
        shapes = of_memory.training_shapes(samples, settings, seeds)
        peak = of_memory.tuning_memory(loaded, shapes, adapter, members, scaling)
        peaks.append((f"--batch-size {size} --grad-accum {total // size}", peak))
    return Estimate(
        what="fine-tuning",
        memory=peaks[0][1],
        smaller=tuple(peaks[1:]),
        remedy=f"lower --lora-r, name fewer --lora-parts, or {remedies.LESS_OF_ALL}",
    )


def _evaluation(study: Study, data: StudyData, plan: StudyPlan) -> Estimate:
    loaded, adapter, options = study.loaded, _adapter(study, plan), plan.evaluation
    scaling = pieces.evaluation_scaling(
        loaded, adapter.sites, plan.lora, options.eval_batch_size
    )
    peaks = [
        of_memory.evaluation_memory(
            loaded, data.asked, replace(options, eval_batch_size=size), adapter, scaling
        )
        for size in (options.eval_batch_size, *_halves(options.eval_batch_size))
    ]
    sizes = _halves(options.eval_batch_size)
    return Estimate(
        what="evaluation",
        memory=peaks[0],
        smaller=tuple(
            (f"--eval-batch-size {size}", peak)
            for size, peak in zip(sizes, peaks[1:], strict=True)
        ),
        remedy=f"lower --max-new-tokens, or {remedies.LESS_OF_ALL}",
    )


def _statistics(study: Study, plan: StudyPlan) -> Estimate:
    sites = study.loaded.layout.sites
    return Estimate(
        what="the statistics",
        memory=of_memory.statistics_memory(
            study.loaded,
            _adapter(study, plan),
            of_memory.group_members(sites, plan.groups),
            plan.testing.permutations or of_memory.default_permutations(sites),
            plan.testing.seeds,
        ),
        remedy=remedies.FOR_STATISTICS,
    )


def _adapter(study: Study, plan: StudyPlan) -> of_memory.Adapter:
    mobile = tuned_sites(study.loaded.layout.sites, plan.lora)
    return of_memory.adapter_of(mobile, plan.lora.lora_r)


def _halves(size: int) -> list[int]:
    """Smaller batch sizes worth a try: 8 gives 4, 2 and 1."""
    return [size >> n for n in range(1, size.bit_length())]


def _compare(
    study: Study, estimates: Sequence[Estimate], disk: Sequence[DiskPart]
) -> None:
    _say(study, estimates, disk)
    for estimate in estimates:
        _require_memory(study.loaded, estimate)
    _require_disk(study.run.path, disk)


def _say(study: Study, estimates: Sequence[Estimate], disk: Sequence[DiskPart]) -> None:
    device = max((e.memory.device for e in estimates), default=0)
    host = max((e.memory.host for e in estimates), default=0)
    kinds = {"memory": device}
    if _gpus(study.loaded):
        kinds = {"GPU memory": device, "memory": host}
    kinds["disk"] = sum(part.num_bytes for part in disk)
    needs = [f"{format_bytes(size)} of {kind}" for kind, size in kinds.items()]
    *first, last = needs
    say(f"what is left to do needs about {', '.join(first)} and {last}")


def _require_memory(loaded: LoadedModel, estimate: Estimate) -> None:
    gpus = _gpus(loaded)
    host = free_memory() + free_swap()
    free = Memory(device=sum(map(free_bytes, gpus)) if gpus else host, host=host)
    if _fits(estimate.memory, free):
        return
    option = next((name for name, peak in estimate.smaller if _fits(peak, free)), None)
    if option is not None:
        todo = f"use {option}"
    else:
        last = f"even with {estimate.smaller[-1][0]}: " if estimate.smaller else ""
        todo = f"that is too much {last}{estimate.remedy}"
    raise ModelError(
        f"{estimate.what} needs about {_sizes(estimate.memory, free, gpus)}; {todo}",
        topic="memory",
    )


def _fits(need: Memory, free: Memory) -> bool:
    return need.device <= free.device and need.host <= free.host


def _sizes(need: Memory, free: Memory, gpus: Sequence[torch.device]) -> str:
    """The memory that is too little, and how much of it is free."""
    if need.device > free.device:
        kind = "GPU memory" if gpus else "memory beside the model"
        pair = need.device, free.device
    else:
        kind, pair = "the machine's memory", (need.host, free.host)
    return f"{format_bytes(pair[0])} of {kind} and {format_bytes(pair[1])} are free"


def _require_disk(out: Path, disk: Sequence[DiskPart]) -> None:
    need = sum(part.num_bytes + part.passing_bytes for part in disk)
    free = free_disk(out)
    if need <= free:
        return
    named = [part for part in disk if part.remedy]
    enough = [part for part in named if need - part.num_bytes <= free]
    largest = max(enough or named, key=lambda part: part.num_bytes, default=None)
    remedy = f"{largest.remedy}, or " if largest else ""
    what = (
        f", {format_bytes(largest.num_bytes)} of them {largest.what}" if largest else ""
    )
    raise StoreError(
        f"{out}: the run needs about {format_bytes(need)} of disk{what}, and "
        f"{format_bytes(free)} are free; {remedy}choose an --out on another disk",
        topic="disk",
    )


def _gpus(loaded: LoadedModel) -> list[torch.device]:
    devices = {parameter.device for parameter in loaded.model.parameters()}
    return sorted((d for d in devices if d.type == "cuda"), key=str)
