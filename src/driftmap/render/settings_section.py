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
    chosen = Facts(pairs=[(name, _plain(value)) for name, value in settings.items()])
    return Section(
        anchor="settings",
        title="Settings",
        nodes=[
            identity,
            Folded(summary="All settings, as in run.yaml", nodes=[chosen]),
            Folded(summary="Versions", nodes=[Facts(pairs=sorted(versions.items()))]),
        ],
    )


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "not set" if value is None else str(value)
