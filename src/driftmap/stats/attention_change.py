"""How far did attention shift between two models, beyond what shifts anywhere?

The change of weight on the subject's tokens, less that on as many tokens elsewhere in
the prompt, less the same difference on prompts about other subjects. Wordings of one
subject are averaged first. Intervals of layers hold for all layers together, those of
heads for all heads.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from driftmap.results.attention import AttentionPlace
from driftmap.results.attention_change import (
    SUBJECT,
    AnswerShift,
    AttentionChange,
    BothRead,
    HeadShift,
    LayerShift,
    PromptAttention,
    RoleShift,
    Shift,
    WordsShift,
)
from driftmap.results.trace_kinds import ROLES
from driftmap.stats.shifts import Moved, over_subjects, shifts

SUBJECT_ROLES = ROLES[:3]

Change = Callable[[PromptAttention], tuple[np.ndarray, np.ndarray]]
"""Of one prompt: what moved on some tokens and on their control, by place and head."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sides:
    """What moved on prompts about edited subjects, and on those about others.

    Args:
        edited: By subject.
        untouched: Likewise; None without any.
        num_without: Prompts about edited ones with no room for a control (count).
    """

    edited: Moved
    untouched: Moved | None
    num_without: int

    def shifts(self, matrix: np.ndarray, seed: int) -> list[Shift]:
        """Of averages over places and heads."""
        others = None if self.untouched is None else self.untouched.times(matrix)
        return shifts(self.edited.times(matrix), others, seed)


def attention_change(read: BothRead, seed: int) -> AttentionChange:
    """Average what two models look at over subjects.

    Args:
        read: What both look at.
        seed: The run's seed.
    """
    edited = [one for one in read.prompts if one.is_edited]
    words = dict.fromkeys(word for one in edited for word in one.words)
    asked = {SUBJECT: _on_subject} | {word: _on_word(word) for word in words}
    found = [_words_shift(read, name, change, seed) for name, change in asked.items()]
    return AttentionChange(
        base=read.base,
        tuned=read.tuned,
        places=read.places,
        num_layers=read.num_layers,
        is_identical=read.is_identical,
        is_undisturbed=read.is_undisturbed,
        shifts=tuple(one for one in found if one is not None),
        first_token=_first_token(read, seed),
        answers=_answer_shift(edited, seed),
        texts=read.texts,
        num_edited=len(edited),
        num_untouched=len(read.prompts) - len(edited),
        left_out=dict(read.left_out),
    )


def _words_shift(
    read: BothRead, words: str, change: Change, seed: int
) -> WordsShift | None:
    """What became of some words; None where no prompt about an edited fact has them."""
    asked = [one for one in read.prompts if words == SUBJECT or words in one.words]
    sides = _sides(asked, change)
    if sides is None:
        return None
    layers = _layer_matrix(read.places)
    (whole,) = sides.shifts(layers.mean(axis=1, keepdims=True), seed)
    edited = [one for one in asked if one.is_edited]
    divergence = np.mean([one.divergence for one in edited], axis=0)
    by_head = sides.shifts(_head_matrix(read.places), seed)
    return WordsShift(
        words=words,
        whole=whole,
        layers=_by_layer(read, sides, seed),
        heads=tuple(
            HeadShift(
                place=place,
                layer=read.places[place].layer,
                head=head,
                shift=shift,
                divergence=float(divergence[place, head]),
            )
            for (place, head), shift in zip(_heads(read.places), by_head, strict=True)
        ),
        roles=tuple(_roles(read, seed)) if words == SUBJECT else (),
        num_prompts=len(edited),
        num_without_control=sides.num_without,
        num_untouched=len(asked) - len(edited),
    )


def _on_subject(one: PromptAttention) -> tuple[np.ndarray, np.ndarray]:
    return (
        one.after.subject_mass - one.before.subject_mass,
        one.after.control_mass - one.before.control_mass,
    )


def _on_word(word: str) -> Change:
    def change(one: PromptAttention) -> tuple[np.ndarray, np.ndarray]:
        mass = one.words[word]
        return mass.after - mass.before, mass.control_after - mass.control_before

    return change


def _sides(prompts: Sequence[PromptAttention], change: Change) -> _Sides | None:
    """By subject, of both kinds of prompts; None where no edited one has the words.

    Where some prompt has a control, those without one are left out; where none has, no
    control is taken off.
    """
    found = [(one, *change(one)) for one in prompts]
    has = [bool(np.isfinite(c).any()) for one, _, c in found if one.is_edited]
    own = _by_subject([f for f in found if f[0].is_edited], needs_control=any(has))
    others = [f for f in found if not f[0].is_edited]
    if own is None:
        return None
    return _Sides(
        edited=own,
        untouched=_by_subject(others, needs_control=any(has)),
        num_without=has.count(False),
    )


def _by_subject(
    found: Sequence[tuple[PromptAttention, np.ndarray, np.ndarray]],
    *,
    needs_control: bool,
) -> Moved | None:
    """Mean over the wordings of each subject, flat over places and heads."""
    rows: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for one, plain, control in found:
        if needs_control and not np.isfinite(control).any():
            continue
        if not np.isfinite(plain).any():  # a subject of the first token alone
            continue
        rows.setdefault(one.prompt.cluster, []).append((plain.ravel(), control.ravel()))
    if not rows:
        return None
    means = [np.mean(np.array(own, dtype=np.float64), axis=0) for own in rows.values()]
    whole = np.nan_to_num(np.stack(means))  # heads that a place does not have
    return Moved(plain=whole[:, 0], control=whole[:, 1] if needs_control else None)


def _by_layer(read: BothRead, sides: _Sides, seed: int) -> tuple[LayerShift, ...]:
    layers = sorted({place.layer for place in read.places})
    found = sides.shifts(_layer_matrix(read.places), seed)
    return tuple(
        LayerShift(layer=layer, shift=shift)
        for layer, shift in zip(layers, found, strict=True)
    )


def _heads(places: Sequence[AttentionPlace]) -> list[tuple[int, int]]:
    return [(n, h) for n, place in enumerate(places) for h in range(place.num_heads)]


def _layer_matrix(places: Sequence[AttentionPlace]) -> Float64[np.ndarray, "cell n"]:
    """Mean over the heads of each place, then over the places of each layer."""
    most = max(place.num_heads for place in places)
    layers = sorted({place.layer for place in places})
    found = np.zeros((len(places), most, len(layers)))
    for number, place in enumerate(places):
        column = layers.index(place.layer)
        num_places = sum(one.layer == place.layer for one in places)
        found[number, : place.num_heads, column] = 1 / (place.num_heads * num_places)
    return found.reshape(-1, len(layers))


def _head_matrix(places: Sequence[AttentionPlace]) -> Float64[np.ndarray, "cell n"]:
    """One column for each head that there is."""
    most = max(place.num_heads for place in places)
    there = [place * most + head for place, head in _heads(places)]
    return np.eye(len(places) * most)[:, there]


def _roles(read: BothRead, seed: int) -> Iterator[RoleShift]:
    """Each role of the subject by layer, less as many tokens of the control span."""
    for role in SUBJECT_ROLES:
        some = [one for one in read.prompts if _num_playing(one, role)]
        sides = _sides(some, _on_role(role))
        for one in () if sides is None else _by_layer(read, sides, seed):
            yield RoleShift(role=role, layer=one.layer, shift=one.shift)


def _num_playing(one: PromptAttention, role: str) -> int:
    return sum(role in own for own in one.prompt.roles[1:])


def _on_role(role: str) -> Change:
    number = [str(one) for one in ROLES].index(role)

    def change(one: PromptAttention) -> tuple[np.ndarray, np.ndarray]:
        span = one.prompt.control or (0, 1)
        share = _num_playing(one, role) / (span[1] - span[0])
        plain = one.after.role_mass[number] - one.before.role_mass[number]
        return plain, share * (one.after.control_mass - one.before.control_mass)

    return change


def _first_token(read: BothRead, seed: int) -> tuple[LayerShift, ...]:
    def change(one: PromptAttention) -> tuple[np.ndarray, np.ndarray]:
        moved = one.after.first_mass - one.before.first_mass
        return moved, np.full_like(moved, np.nan)

    sides = _sides(read.prompts, change)
    return () if sides is None else _by_layer(read, sides, seed)


def _answer_shift(edited: Sequence[PromptAttention], seed: int) -> AnswerShift | None:
    told = [one.answers for one in edited]
    taught = [_less(one.taught_after, one.taught_before) for one in told]
    given = [_less(one.given_after, one.given_before) for one in told]
    main = taught if any(one is not None for one in taught) else given
    counted = [number for number, one in enumerate(main) if one is not None]
    if not counted:
        return None
    clusters = [one.prompt.cluster for one in edited]
    return AnswerShift(
        taught=over_subjects(taught, clusters, seed),
        given=over_subjects(given, clusters, seed),
        num_prompts=len(counted),
        num_risen=sum((main[number] or 0) > 0 for number in counted),
        num_first_before=sum(told[number].is_first_before for number in counted),
        num_first_after=sum(told[number].is_first_after for number in counted),
    )


def _less(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before
