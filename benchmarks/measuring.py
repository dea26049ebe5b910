"""How much faster is one way than another, and how much memory does each take?

Times are compared in one process, turn by turn, so that a busy machine slows both
alike. Memory is the peak of a fresh process per way, above what it held before.
"""

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times longer the slow way takes.

    Args:
        median: Over the turns.
        low: The smallest of the turns.
        high: The largest of the turns.
        slow_seconds: Median time of the slow way.
        fast_seconds: Median time of the fast way.
    """

    median: float
    low: float
    high: float
    slow_seconds: float
    fast_seconds: float


def paired_ratio(
    slow: Callable[[], object], fast: Callable[[], object], repeats: int
) -> Ratio:
    """Time both ways in turns; the fast one before and after the slow one."""
    fast()
    turns = []
    for _ in range(repeats):
        before, during, after = seconds(fast), seconds(slow), seconds(fast)
        turns.append((during, (before + after) / 2))
    ratios = [slow_one / fast_one for slow_one, fast_one in turns]
    return Ratio(
        median=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        slow_seconds=statistics.median(slow_one for slow_one, _ in turns),
        fast_seconds=statistics.median(fast_one for _, fast_one in turns),
    )


def seconds(way: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def peak_memory(
    prepare: Callable[..., object], way: Callable[[object], object], *args: object
) -> int:
    """Bytes by which `way(prepare(*args))` lifts the peak of a fresh process.

    What `prepare` makes (a model, the data) is there before and does not count.
    Both functions must be importable from their modules.
    """
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    child = spawn.Process(target=_lift, args=(answers, prepare, way, args))
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"{way.__name__} ended with {child.exitcode} in its process")
    return answers.get()


def verdict(ratio: float, target: float) -> int:
    """Exit code of a benchmark: 1 below half of the target, 0 otherwise."""
    if ratio >= target:
        print(f"\n{ratio:.1f}x meets the target of {target:g}x")
    elif ratio >= target / 2:
        print(f"\n{ratio:.1f}x is below the target of {target:g}x")
    else:
        print(f"\n{ratio:.1f}x is below half of the target of {target:g}x: alarm")
    return int(ratio < target / 2)


def _lift(answers, prepare, way, args):
    import torch

    torch.set_num_threads(1)
    prepared = prepare(*args)
    before = _restarted_peak()
    way(prepared)
    answers.put(_peak_bytes() - before)


def _restarted_peak() -> int:
    """Forget the peak so far, where the system can; returns the new start."""
    if _STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_bytes()


def _peak_bytes() -> int:
    if _STATUS.exists():
        lines = _STATUS.read_text().splitlines()
        return 1024 * int(next(x for x in lines if x.startswith("VmHWM")).split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
