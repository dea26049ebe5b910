"""What is a named set of weights of one model, and how was it chosen?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Int64

from driftmap.core.errors import DataError
from driftmap.core.places import Site
from driftmap.results.positions import common, united, without
from driftmap.results.rules import CONTROL_RULES

FlatIndex = Int64[np.ndarray, " weight"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOrigin:
    """Where a group comes from: enough to refuse it on another model.

    Args:
        model_sha256: Identity of the scored model.
        base_sha256: Identity of the model under its adapter, if it had one.
        rule: How weights were taken: `top`, `lowest`, `difference`, `random`,
            `matched`, `imported` where another program chose them; `union`,
            `intersection` or `without` of two groups.
        score: Which score ordered them; empty for `random`.
        shares: Named shares of the rule: `{"p": .02, "q": .02}`.
        seed: Seed of a random rule; None for a deterministic one.
        samples_sha256: Data set name -> hash of its samples.
        positions: Which tokens counted: `response`, `labels` or `all`.
        per: Of what the shares are: each `matrix`, each `row`, each `layer`, all
            matrices (`global`), or pieces of a row as in `2:4`.
        grain: What was taken whole: single weights, or rows, heads, neurons, ...
        source: File that the group was read from; empty where the run chose it.
        source_sha256: Hash of that file.
    """

    model_sha256: str
    base_sha256: str
    rule: str
    score: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None
    samples_sha256: Mapping[str, str] = field(default_factory=dict)
    positions: str = ""
    per: str = "matrix"
    grain: str = "weight"
    source: str = ""
    source_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightGroup:
    """Weights as `row * num_columns + column` per matrix, ascending and unique.

    Groups of one model are sets: `a | b`, `a & b` and `a - b` are groups again.

    Args:
        name: What the group is called in tables and reports.
        members: Flat indices per site; a site may be empty or missing.
        scores: Optional score of every member, in the order of `members`.
        origin: How it was chosen.
    """

    name: str
    members: Mapping[Site, FlatIndex]
    origin: GroupOrigin
    scores: Mapping[Site, Float32[np.ndarray, " _"]] = field(default_factory=dict)

    @property
    def num_weights(self) -> int:
        """Weights in all matrices together."""
        return sum(index.size for index in self.members.values())

    def at(self, site: Site) -> FlatIndex:
        """Members in one matrix; empty where the group has none there."""
        return self.members.get(site, np.empty(0, dtype=np.int64))

    @property
    def is_control(self) -> bool:
        """Its weights stand for others: they stay among the controls of every group."""
        return self.origin.rule in CONTROL_RULES

    def require_model(self, base_sha256: str) -> None:
        """Refuse to be used on weights it was not chosen from.

        Raises:
            DataError: The group belongs to another base model.
        """
        if self.origin.base_sha256 != base_sha256:
            raise DataError(
                f"group {self.name!r} was chosen on another model "
                f"({self.origin.base_sha256[:12]}, not {base_sha256[:12]}); "
                "score this model and select again"
            )

    def __or__(self, other: "WeightGroup") -> "WeightGroup":
        """Weights of either group.

        Raises:
            DataError: The groups belong to different base models.
        """
        return self._with(other, united, ("|", "union"))

    def __and__(self, other: "WeightGroup") -> "WeightGroup":
        """Weights of both groups.

        Raises:
            DataError: The groups belong to different base models.
        """
        return self._with(other, common, ("&", "intersection"))

    def __sub__(self, other: "WeightGroup") -> "WeightGroup":
        """Weights of this group that are not of the other.

        Raises:
            DataError: The groups belong to different base models.
        """
        return self._with(other, without, ("-", "without"))

    def _with(
        self,
        other: "WeightGroup",
        join: Callable[[FlatIndex, FlatIndex, int], FlatIndex],
        words: tuple[str, str],
    ) -> "WeightGroup":
        sign, rule = words
        if other.origin.base_sha256 != self.origin.base_sha256:
            raise DataError(
                f"{self.name!r} {sign} {other.name!r}: the groups were chosen on "
                f"different models ({self.origin.base_sha256[:12]} and "
                f"{other.origin.base_sha256[:12]}); choose both on one"
            )
        sites = dict.fromkeys([*self.members, *other.members])
        models = {self.origin.model_sha256, other.origin.model_sha256}
        base = self.origin.base_sha256
        return WeightGroup(
            name=f"{self.name} {sign} {other.name}",
            members={s: join(self.at(s), other.at(s), s.num_weights) for s in sites},
            origin=GroupOrigin(
                model_sha256=models.pop() if len(models) == 1 else base,
                base_sha256=base,
                rule=rule,
            ),
        )
