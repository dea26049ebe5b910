"""With which settings, on which model and by which releases was a run made?"""

from collections.abc import Mapping

from driftmap.render.page import Facts, Folded, Section
from driftmap.results.provenance import ModelIdentity


def settings_section(
    model: ModelIdentity, settings: Mapping[str, object], versions: Mapping[str, str]
) -> Section:
    """The last section of a report: enough to repeat the run.

    Args:
        model: The model as loaded.
        settings: The resolved recipe, option -> value.
        versions: Package -> version.
    """
    identity = Facts(
        pairs=[
            ("model", model.source),
            ("sha256", model.sha256[:16]),
            ("family", model.family),
            ("dtype", model.dtype),
            ("device", model.device),
            ("scored weights", f"{model.num_weights:,}"),
        ]
    )
    return Section(
        anchor="settings",
        title="Settings",
        nodes=[identity, *folded_settings(settings, versions)],
    )


def folded_settings(
    settings: Mapping[str, object], versions: Mapping[str, str]
) -> tuple[Folded, Folded]:
    """All settings, and the releases that were at work, to be opened on request.

    Args:
        settings: The resolved recipe, option -> value.
        versions: Package -> version.
    """
    chosen = Facts(pairs=[(name, _plain(value)) for name, value in settings.items()])
    releases = Facts(pairs=sorted(versions.items()))
    return (
        Folded(summary="All settings, as in run.yaml", nodes=[chosen]),
        Folded(summary="Versions", nodes=[releases]),
    )


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "not set" if value is None else str(value)
