"""Where does the work of a command run, and which part of it is done here?"""

from dataclasses import dataclass
from typing import Annotated, Literal

from driftmap.core.errors import UsageError
from driftmap.engine.shards import Partition, parse_partition
from driftmap.recipes.options import require_at_least, section

ENGINE = section("Where it runs", 11)

FREE = tuple(
    f"engine.{name}"
    for name in (
        "engine", "workers", "partition", "partition_start", "partition_end",
        "print_slurm",
    )
)  # fmt: skip
"""Settings of this block: none changes what comes out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Where the work runs, and which part of it is done."""

    engine: Literal["local", "ray"] = "local"
    """Where samples are worked on: `local`, on this machine, or `ray`, on the cluster
    that `RAY_ADDRESS` names (name)."""

    workers: int | None = None
    """Processes that share the samples, each with the model (count); by default this
    process alone, with `--engine ray` one per GPU or, without GPUs, one per machine."""

    partition: str | None = None
    """Work on one part of the samples only, for `driftmap merge` to join (number/parts,
    as in 2/8); by default on all."""

    partition_start: int | None = None
    """Work on samples from this one on, counted from 0, with `--partition-end`
    (number); by default from the first one."""

    partition_end: int | None = None
    """Work on samples up to this one, which is left out, with `--partition-start`
    (number); by default to the last one."""

    print_slurm: bool = False
    """Print a script that gives this command to SLURM, with `--partition` as a job
    array, and do nothing else (yes or no)."""

    def __post_init__(self) -> None:
        """Refuse what names no part and no number of processes."""
        if self.workers is not None:
            require_at_least("--workers", self.workers, 1)
        self._parsed()

    @property
    def part(self) -> Partition | None:
        """Which part is worked on; None for all samples."""
        return self._parsed()

    @property
    def is_shared(self) -> bool:
        """Whether work is divided at all; if not, nothing of this block matters.

        >>> EngineOptions().is_shared, EngineOptions(workers=1).is_shared
        (False, True)
        """
        return (
            self.engine != "local" or self.workers is not None or self.part is not None
        )

    def require_alone(self, device_map: str | None) -> None:
        """Refuse workers where one model is spread over several GPUs.

        Raises:
            UsageError: It is.
        """
        several = self.engine != "local" or self.workers is not None
        if device_map is not None and several:
            raise UsageError(
                f"--device-map {device_map} spreads one model over several GPUs, and "
                "each worker has one of its own; leave out --workers and --engine, or "
                "--device-map"
            )

    def _parsed(self) -> Partition | None:
        return parse_partition(self.partition, self.partition_start, self.partition_end)


Engine = Annotated[EngineOptions, ENGINE]
