"""Which matrices of a model are tuned?"""

from collections.abc import Sequence

from driftmap.core.errors import UsageError
from driftmap.core.places import Site
from driftmap.tune.settings import TuningSettings, matches


def tuned_sites(sites: Sequence[Site], settings: TuningSettings) -> tuple[Site, ...]:
    """The sites that the settings ask to tune.

    Raises:
        UsageError: No site is wanted, a pattern names no tuned module, or a fused
            module holds wanted and unwanted parts, which one adapter cannot tell apart.
    """
    if settings.tune != "full":  # an adapter sits on maps, not on banks or routers
        sites = tuple(site for site in sites if site.tensor is None)
    if settings.target_modules:
        chosen = _of_modules(sites, settings.target_modules)
    else:
        chosen = _of_parts(sites, settings.lora_parts)
    unused = settings.unused_pattern([site.path for site in chosen])
    if unused is not None:
        raise UsageError(
            f"{unused}: matches no tuned module; the first of them is {chosen[0].path}"
        )
    return chosen


def _of_modules(sites: Sequence[Site], patterns: Sequence[str]) -> tuple[Site, ...]:
    for pattern in patterns:
        if not any(matches(pattern, site.path) for site in sites):
            last = sorted({site.path.rpartition(".")[2] for site in sites})
            raise UsageError(
                f"--target-modules {pattern}: matches no map of the blocks; theirs end "
                f"in {' '.join(last) or 'nothing'}"
            )
    return tuple(s for s in sites if any(matches(p, s.path) for p in patterns))


def _of_parts(sites: Sequence[Site], parts: Sequence[str]) -> tuple[Site, ...]:
    wanted = set(parts) or {site.part for site in sites}
    chosen = tuple(site for site in sites if site.part in wanted)
    if not chosen:
        there = " ".join(sorted({site.part for site in sites}))
        raise UsageError(
            f"--lora-parts names {' '.join(sorted(wanted))}, but the maps of this "
            f"model are {there or 'none'}"
        )
    paths = {site.path for site in chosen}
    for site in sites:
        if site.path in paths and site.part not in wanted:
            raise UsageError(
                f"{site.path} holds several parts in one matrix, {site.part} among "
                f"them: add {site.part} to --lora-parts, since the matrix can only be "
                "tuned whole"
            )
    return chosen
