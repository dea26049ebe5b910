"""What becomes of the new behaviour when places of the two models are exchanged?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from torch import nn

from driftmap.capture.answers import answer_numbers
from driftmap.core.errors import ModelError
from driftmap.core.places import PARTS, TensorPlace
from driftmap.core.progress import progress
from driftmap.intervene.mixing import Mixer, everywhere
from driftmap.load.model import LoadedModel
from driftmap.recipes.steps.bench import batches_of
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.recipes.steps.comparing.where.asking import Asked
from driftmap.recipes.where_options import WhereOptions
from driftmap.results.samples import EncodedSample
from driftmap.results.where_it_acts import MixPoint, SwapKind, SwapShare
from driftmap.stats.where import Owners, forms_share

_ROUNDING = 1e-3
"""Nats by which sums in another order may move an answer."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exchange:
    """What is exchanged.

    Args:
        kind: What kind of place.
        name: As a person reads it.
        layers: Blocks in it.
        holds: Whether a place of a tensor is in it.
    """

    kind: SwapKind
    name: str
    layers: tuple[int, ...]
    holds: Callable[[TensorPlace], bool]


class Exchanger:
    """Two models, what they are asked, and what each mixture of them says."""

    def __init__(
        self, pair: Pair, mixer: Mixer, asked: Asked, options: WhereOptions
    ) -> None:
        """Ask both models.

        Args:
            pair: The two.
            mixer: What lies between them.
            asked: Prompts with both behaviours.
            options: How many prompts at a time.

        Raises:
            ModelError: With all weights exchanged, one does not say what the other
                says.
        """
        self._mixer = mixer
        self._asked = asked
        self._pair = pair
        self._options = options
        self._owners = Owners.of(asked.owners, pair.study.seed)
        self._known: dict[frozenset[str], Float64[np.ndarray, " probe"]] = {}
        self.base = self._nll(pair.base.model, asked.new)
        self.tuned = self._nll(pair.tuned.model, asked.new)
        with mixer.mixed(everywhere(1.0)) as model:
            whole = self._nll(model, asked.new)
        if np.abs(whole - self.tuned).max() > _ROUNDING:
            raise ModelError(
                f"{pair.tuned.identity.source}: with all its weights in it the base "
                "still says something else, so the two differ in their settings; "
                "compare a model with what was made of it"
            )

    @property
    def owners(self) -> Owners:
        """Draws of subjects."""
        return self._owners

    @property
    def share_taught(self) -> float:
        """Share of prompts where tuning has made the new one the likelier."""
        before, after = self._old(self._pair.base), self._old(self._pair.tuned)
        return float(((self.tuned < after) & ~(self.base < before)).mean())

    @property
    def gap(self) -> Float64[np.ndarray, " probe"]:
        """What the new behaviour has gained, prompt by prompt."""
        return self.base - self.tuned

    def swaps(self) -> tuple[SwapShare, ...]:
        """Exchange every place, both ways."""
        window = self._options.window_of(self._num_layers)
        exchanges = list(exchanges_of(self._mixer, self._num_layers, window))
        forms = forms_share(self._owners.mean(self.gap))
        found: list[SwapShare] = []
        with progress("exchange layers and parts", len(exchanges)) as bar:
            for one in exchanges:
                of_kind = sum(other.kind == one.kind for other in exchanges)
                found.append(self._swap(one, forms=forms, num_tests=of_kind))
                bar.advance(1)
        return tuple(found)

    def curve(self) -> tuple[MixPoint, ...]:
        """Ask models between the two, and beyond."""
        return tuple(self._point(share) for share in self._options.mix)

    @property
    def _num_layers(self) -> int:
        return len(self._pair.base.layout.blocks)

    def _old(self, loaded: LoadedModel) -> Float64[np.ndarray, " probe"]:
        """NLL of the old behaviour."""
        return self._nll(loaded.model, self._asked.old)

    def _swap(self, one: Exchange, *, forms: bool, num_tests: int) -> SwapShare:
        inside = frozenset(p.name for p in self._mixer.changed if one.holds(p))
        bare = SwapShare(
            kind=one.kind,
            name=one.name,
            layers=one.layers,
            changed=bool(inside),
            needed=None,
            enough=None,
        )
        if not forms:
            return bare
        every = frozenset(p.name for p in self._mixer.changed)
        lost = self._with(every - inside) - self.tuned
        won = self.base - self._with(inside)
        owners, gap = self._owners, self.gap
        return replace(
            bare,
            needed=owners.share(lost, gap),
            enough=owners.share(won, gap),
            needed_corrected=owners.share(lost, gap, num_tests=num_tests),
            enough_corrected=owners.share(won, gap, num_tests=num_tests),
        )

    def _with(self, tuned: frozenset[str]) -> Float64[np.ndarray, " probe"]:
        """NLL of the new behaviour where these places are the tuned model's."""
        if not tuned:
            return self.base
        if len(tuned) == len(self._mixer.changed):
            return self.tuned
        if tuned not in self._known:
            with self._mixer.mixed(lambda p: float(p.name in tuned)) as model:
                self._known[tuned] = self._nll(model, self._asked.new)
        return self._known[tuned]

    def _point(self, share: float) -> MixPoint:
        asked = self._asked
        near = None
        with self._mixer.mixed(everywhere(share)) as model:
            new = self._nll(model, asked.new)
            old = self._nll(model, asked.old)
            if asked.near_new:
                kept = self._nll(model, asked.near_old) < self._nll(
                    model, asked.near_new
                )
                owners = Owners.of(asked.near_owners, self._pair.study.seed)
                near = owners.mean(kept.astype(float))
        return MixPoint(
            share=share,
            nll_new=self._owners.mean(new),
            nll_old=self._owners.mean(old),
            neighbourhood=near,
        )

    def _nll(
        self, model: nn.Module, samples: Sequence[EncodedSample]
    ) -> Float64[np.ndarray, " probe"]:
        batches = batches_of(self._pair.base, samples, self._options.batch_size)
        return answer_numbers(model, batches).nll


def exchanges_of(mixer: Mixer, num_layers: int, window: int) -> Sequence[Exchange]:
    """Every place that is worth an exchange.

    Args:
        mixer: The two models.
        num_layers: Blocks (count).
        window: Neighbouring blocks that are exchanged together (count).

    Returns:
        Layers; their halves, where both have changed; parts of all layers; windows;
        what lies outside blocks.
    """
    changed = mixer.changed
    found = [_layers("layer", f"layer {n}", (n,)) for n in range(num_layers)]
    halves = sorted(
        {(p.layer, p.half) for p in changed if p.half and p.layer is not None}
    )
    if len({half for _, half in halves}) > 1:
        found += [_half(layer, half) for layer, half in halves]
    inside = {p.part for p in changed if p.layer is not None}
    if len(inside) > 1:
        found += [_part(part) for part in PARTS if part in inside]
    if 1 < window < num_layers:
        found += [
            _layers(
                "window", f"layers {n}-{n + window - 1}", tuple(range(n, n + window))
            )
            for n in range(num_layers - window + 1)
        ]
    outside = {p.part for p in changed if p.layer is None}
    found += [_outside(part) for part in PARTS if part in outside]
    return found


def _layers(kind: SwapKind, name: str, layers: tuple[int, ...]) -> Exchange:
    return Exchange(
        kind=kind, name=name, layers=layers, holds=lambda p: p.layer in layers
    )


def _half(layer: int, half: str) -> Exchange:
    return Exchange(
        kind="half",
        name=f"layer {layer} {half}",
        layers=(layer,),
        holds=lambda p: p.layer == layer and p.half == half,
    )


def _part(part: str) -> Exchange:
    return Exchange(
        kind="part",
        name=part,
        layers=(),
        holds=lambda p: p.layer is not None and p.part == part,
    )


def _outside(part: str) -> Exchange:
    names = {"embed": "embeddings", "norm": "final norm", "head": "head"}
    return Exchange(
        kind="outside",
        name=names.get(part, part),
        layers=(),
        holds=lambda p: p.layer is None and p.part == part,
    )
