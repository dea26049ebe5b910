"""Which script gives the command at hand to SLURM?"""

from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from os import PathLike

from driftmap.core.errors import UsageError
from driftmap.engine.shards import Fraction
from driftmap.engine.slurm import Job, array_script, ray_script
from driftmap.recipes.engine_options import EngineOptions

_ELSEWHERE = ("engine", "out")
"""Fields of a recipe that the script itself decides on."""


def slurm_script(recipe: object, command: str, options: EngineOptions) -> str:
    """Write the script: with `--partition` for a job array, else for a cluster of Ray.

    Args:
        recipe: What would run.
        command: Its name, as in `index build`.
        options: Where it would run.

    Raises:
        UsageError: The part is a range, and an array counts parts.
    """
    words = tuple(_options(recipe))
    if options.workers is not None:
        words += ("--workers", str(options.workers))
    job = Job(command=command, options=words, out=str(getattr(recipe, "out")))  # noqa: B009
    if options.part is None:
        return ray_script(job)
    if not isinstance(options.part, Fraction):
        raise UsageError(
            "--print-slurm writes a job array of equal parts, and --partition-start "
            "names a range; give --partition 1/N for an array of N"
        )
    return array_script(job, options.part.count)


def _options(recipe: object) -> Iterator[str]:
    """Options that are not at their defaults, as words."""
    assert is_dataclass(recipe), "a recipe is a row of settings"
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        default = field.default
        if default is MISSING and field.default_factory is not MISSING:
            default = field.default_factory()
        if field.name in _ELSEWHERE:
            continue
        if is_dataclass(value):
            yield from _options(value)
        elif value != default:
            yield from _words(f"--{field.name.replace('_', '-')}", value)


def _words(flag: str, value: object) -> Iterator[str]:
    if isinstance(value, bool):
        yield flag if value else flag.replace("--", "--no-", 1)
    elif isinstance(value, tuple):
        for one in value:
            yield from _words(flag, one)
    else:
        assert isinstance(value, str | int | float | PathLike), flag
        yield from (flag, str(value))
