"""Which options say what is taken away from a model, and how much of it?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from driftmap.core.errors import UsageError
from driftmap.recipes.options import require_at_least, require_share, section

ABLATION = section("Ablation", 3)

Way = Literal[
    "zero", "restore", "keep_only", "scale", "noise", "heads", "actsvd", "projection"
]

OF_WEIGHTS: tuple[Way, ...] = ("zero", "restore", "keep_only", "scale", "noise")
"""Ways that take single weights, and so a group of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationOptions:
    """What is taken away, how, and how much at a time."""

    by: Way = "zero"
    """What is done: `zero`, `restore` (values of `--restore-from`), `keep_only` (zero
    all others), `scale`, `noise`; `heads` (zero their outputs); `actsvd` (remove the
    behaviour's strongest output directions) or `projection` (of these, what utility
    does not use) (name)."""

    group: tuple[Path, ...] = ()
    """Groups chosen before, the declared one first (safetensors or JSON file, folder
    of them, or RUN/groups/NAME; may be repeated); by default `difference` is scored
    for."""

    restore_from: str | None = None
    """Model whose values `restore` puts back (folder or hub id); by default the model
    under `--adapter`."""

    scale_by: float = 0.5
    """What `scale` multiplies weights by (number)."""

    noise_kind: Literal["gaussian", "shuffle"] = "gaussian"
    """What `noise` does: add noise as wide as the group's own values in a matrix, or
    put these into another order (kind)."""

    heads: Path | None = None
    """Ranks of heads for `heads`, `{"layer-0-head-3": 0.97}`, the highest first (JSON
    file); by default heads are ranked by how much of the group lies in them."""

    num_heads: int | None = None
    """Heads that `heads` takes at full dose (count); by default a tenth of all."""

    behaviour_directions: float = 0.01
    """Share of each matrix's output directions, strongest on behaviour first, that
    `actsvd` and `projection` take at full dose (0 to 1)."""

    utility_directions: float = 0.5
    """Share of each matrix's output directions, strongest on utility first, that
    `projection` spares (0 to 1)."""

    doses: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """Shares of it that are taken, each holding the smaller ones (0 to 1; may be
    repeated)."""

    order: Literal["random", "score"] = "random"
    """Which weights of a group go first: drawn ones, or those of the highest score,
    where the group's file holds scores (kind)."""

    controls: int = 5
    """Control draws: other weights of the same sizes, other heads of the same layers,
    or random directions (count)."""

    save: Path | None = None
    """Folder for the model at the largest dose, as `from_pretrained` loads it, with a
    note of what was done (path); by default it is not kept."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        require_at_least("--controls", self.controls, 1)
        if self.num_heads is not None:
            require_at_least("--num-heads", self.num_heads, 1)
        require_share("--behaviour-directions", self.behaviour_directions)
        require_share("--utility-directions", self.utility_directions)
        for dose in self.doses:
            if not 0 <= dose <= 1:
                raise UsageError(f"--doses is {dose}; give shares from 0 to 1")
        if not any(self.doses):
            raise UsageError("--doses holds no share above 0; give one, as 1")
        if self.heads is not None and self.by != "heads":
            raise UsageError(
                f"--heads ranks heads, but --by {self.by} takes none; give --by heads "
                "or leave --heads out"
            )
        if self.restore_from is not None and self.by != "restore":
            raise UsageError(
                f"--restore-from gives values to put back, but --by {self.by} puts "
                "none back; give --by restore or leave --restore-from out"
            )
        if self.group and self.by in ("actsvd", "projection"):
            raise UsageError(
                f"--by {self.by} takes output directions, not a group; leave --group "
                "out"
            )

    @property
    def shares(self) -> tuple[float, ...]:
        """Doses above 0, ascending; the untouched model is measured in any case."""
        return tuple(sorted({float(dose) for dose in self.doses if dose}))


def require_ablation_sources(
    ablation: AblationOptions,
    samples: tuple[str | None, str | None],
    asked: tuple[str | None, tuple[str, ...]],
    adapter: str | None,
) -> None:
    """Refuse an ablation that lacks samples, or values to put back.

    Args:
        ablation: What is done.
        samples: Behaviour and utility.
        asked: Requests to refuse and held-out samples.
        adapter: The adapter, where the model has one.

    Raises:
        UsageError: The message names what is missing.
    """
    behaviour, utility = samples
    prompts, held_out = asked
    scores = ablation.by in (*OF_WEIGHTS, "heads") and not ablation.group
    scores = scores and not (ablation.by == "heads" and ablation.heads)
    if behaviour is None and (scores or ablation.by in ("actsvd", "projection")):
        instead = ", or give --group" if scores else ""
        raise UsageError(f"--behaviour is missing: name samples{instead}")
    if utility is None and (scores or ablation.by == "projection"):
        instead = ", or give --group" if scores else ""
        raise UsageError(f"--utility is missing: name samples{instead}")
    if behaviour is None and prompts is None:
        raise UsageError("--refusal-prompts is missing: name requests to refuse")
    if utility is None and not held_out:
        raise UsageError("--held-out is missing: name samples to get right")
    if ablation.by == "restore" and ablation.restore_from is None and adapter is None:
        raise UsageError(
            "--by restore needs values to put back: name the model they are of with "
            "--restore-from"
        )
