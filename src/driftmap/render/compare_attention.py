"""What do both models look at, and what became of that? One section of a comparison."""

from collections.abc import Iterator, Sequence
from math import nan

from driftmap.render.attention_words import several
from driftmap.render.bands import banded
from driftmap.render.charts import Line, Lines
from driftmap.render.compare_attention_maps import text_nodes
from driftmap.render.page import (
    Callout,
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Section,
)
from driftmap.render.token_charts import TokenMap
from driftmap.results.attention_change import (
    SUBJECT,
    AttentionChange,
    LayerShift,
    Shift,
    WordsShift,
)
from driftmap.results.statistics import Interval
from driftmap.stats.claims.attention import (
    answers_in_words,
    attention_claims,
    shift_in_words,
    subject_shift,
)

NUM_HEADS = 8
"""Heads that the table names."""

CONTEXT = (
    "Attention is context, not evidence: a shift says that values are taken from "
    "elsewhere, not that the answer came to depend on them. Small shifts of both signs "
    "accompany edits that worked and edits that did not; where attention and logits "
    "disagree, the logits say what the model answers."
)
HOW = (
    "Both models read the same tokens through the same code, row by row beside their "
    "own attention. Read from the last token of each prompt, which produces the answer."
)
LAYERS = (
    "Where attention shifts does not tell where editing works best: even causal traces "
    "explain almost nothing of which layers edit well (Hase et al. 2023, "
    "arXiv:2301.04213)."
)


def attention_section(found: AttentionChange) -> Section:
    """Build the section on attention.

    Args:
        found: What both models look at.
    """
    claims = [one.says for one in attention_claims(found)]
    said = answers_in_words(found)
    nodes: list[Node] = []
    if found.is_identical:
        nodes.append(Callout(kind="verdict", title="Identical", texts=claims))
        return _section(nodes)
    nodes.append(Callout(kind="caution", title="What attention is", texts=[CONTEXT]))
    if claims or said:
        texts = [*([said] if said else []), *claims]
        nodes.append(Callout(kind="note", title="What became of it", texts=texts))
    nodes += _reservations(found)
    for shift in found.shifts:
        nodes += _shift_nodes(found, shift)
    if found.first_token:
        nodes.append(_first_token(found.first_token))
    nodes += [node for text in _numbered(found) for node in text]
    nodes.append(Paragraph(text=_how(found)))
    return _section(nodes)


def _section(nodes: Sequence[Node]) -> Section:
    return Section(anchor="attention", title="What both look at", nodes=nodes)


def _numbered(found: AttentionChange) -> Iterator[list[Node]]:
    for number, text in enumerate(found.texts):
        yield list(text_nodes(found, text, number))


def _reservations(found: AttentionChange) -> Iterator[Node]:
    """What the plain change would seem to say; what could not be read."""
    shift = subject_shift(found)
    seeming = [] if shift is None else [one for one in shift.layers if _only_seems(one)]
    if seeming:
        most = max(seeming, key=lambda one: abs(one.shift.plain.estimate))
        yield Callout(
            kind="note",
            title="Without controls",
            texts=[
                f"In {several(len(seeming), 'layer')} the plain change looks sure and "
                f"is not: in layer {most.layer} weight on the subject changed by "
                f"{shift_in_words(most.shift.plain)}, and {_what_else(most.shift)}."
            ],
        )
    texts = [f"{n} left out: {why}." for why, n in found.left_out.items()]
    if not found.is_undisturbed:
        texts.append(
            "Logits differ in their last bits with and without someone looking: these "
            "are not those of the models alone to the bit."
        )
    if texts:
        yield Callout(kind="caution", title="What to know of it", texts=texts)


def _only_seems(one: LayerShift) -> bool:
    plain = one.shift.plain
    return not plain.low <= 0 <= plain.high and not one.shift.is_settled


def _what_else(shift: Shift) -> str:
    told: list[str] = []
    if shift.control is not None:
        told.append(f"that on as many tokens elsewhere by {_short(shift.control)}")
    if shift.untouched is not None:
        told.append(f"on prompts about other subjects by {_short(shift.untouched)}")
    return " and ".join(told) or "nothing is there to set it against"


def _shift_nodes(found: AttentionChange, shift: WordsShift) -> Iterator[Node]:
    named = shift.words if shift.words == SUBJECT else f"“{shift.words}”"
    slug = _slug(found, shift)
    yield Figure(
        name=f"compare-attention-layers{slug}",
        title=f"Change of the weight on {named}, layer by layer",
        reading=f"Tuned minus base, heads averaged, {_num(shift)}. Beyond controls: "
        "less the change on as many tokens elsewhere and that on prompts about other "
        f"subjects; {_band(shift)} The other lines and their bands are single ones. "
        f"{LAYERS}",
        chart=_layer_lines(shift),
    )
    yield Figure(
        name=f"compare-attention-heads{slug}",
        title=f"The same for every head: weight on {named} beyond controls",
        reading="Layers downwards, heads across; blue fell, red rose. Single heads are "
        "a description unless the table below names them as told apart.",
        chart=_head_map(found, shift),
    )
    yield _layer_table(shift)
    yield _head_table(shift)
    if shift.roles:
        yield _role_table(shift)


def _slug(found: AttentionChange, shift: WordsShift) -> str:
    number = found.shifts.index(shift)
    return f"-{number}" if number else ""


def _num(shift: WordsShift) -> str:
    others = shift.whole.untouched
    beside = "" if others is None else f" and {several(others.num, 'other subject')}"
    return (
        f"mean over {several(shift.whole.net.num, 'subject')}{beside} "
        f"({several(shift.num_prompts, 'prompt')}, of which "
        f"{shift.num_without_control} have no room for as many tokens elsewhere)"
    )


def _band(shift: WordsShift) -> str:
    if not shift.whole.has_enough:
        return "its band is a single one too: too few subjects to tell layers apart."
    return (
        "its band holds for all layers together, 95 %, and a layer whose band leaves "
        "out 0 is told apart from chance."
    )


def _layer_lines(shift: WordsShift) -> Lines:
    lines = [_line("beyond controls", "attention", shift.layers,
                   [one.shift.net for one in shift.layers])]  # fmt: skip
    plain = [one.shift.plain for one in shift.layers]
    lines.append(_line("plain change", "difference", shift.layers, plain))
    for name, role, values in (
        ("tokens elsewhere", "utility", [one.shift.control for one in shift.layers]),
        ("other subjects", "random", [one.shift.untouched for one in shift.layers]),
    ):
        there = [one for one in values if one is not None]
        if there:
            lines.append(_line(name, role, shift.layers, there))
    return Lines(
        x_title="layer", y_title="change of weight", lines=lines, y_from_zero=False
    )


def _line(
    name: str, role: str, layers: Sequence[LayerShift], values: Sequence[Interval]
) -> Line:
    return banded(name, [one.layer for one in layers], values, role)


def _head_map(found: AttentionChange, shift: WordsShift) -> TokenMap:
    most = max(place.num_heads for place in found.places)
    values = [[nan] * most for _ in found.places]
    for one in shift.heads:
        values[one.place][one.head] = one.shift.net.estimate
    return TokenMap(
        tokens=[str(place.layer) for place in found.places],
        x_labels=[str(head) for head in range(most)],
        x_title="head",
        y_title="layer",
        values=values,
        value_title="change",
        hue="difference",
    )


def _layer_table(shift: WordsShift) -> Grid:
    return Grid(
        caption="Change of weight, tuned minus base; * told apart from chance",
        columns=["layer", "plain", "tokens elsewhere", "other subjects",
                 "beyond controls"],
        rows=[
            [
                str(one.layer),
                _told(one.shift.plain),
                _told(one.shift.control),
                _told(one.shift.untouched),
                _starred(one.shift),
            ]
            for one in shift.layers
        ],
        align_right=frozenset(range(1, 5)),
    )  # fmt: skip


def _head_table(shift: WordsShift) -> Folded:
    heads = sorted(shift.heads, key=lambda one: -abs(one.shift.net.estimate))
    settled = sum(one.shift.is_settled for one in heads)
    return Folded(
        summary=f"The {min(NUM_HEADS, len(heads))} heads that moved most; {settled} of "
        f"{len(heads)} are told apart from chance",
        nodes=[
            Grid(
                caption=f"{_held(shift)}; divergence is Jensen-Shannon's, of the whole "
                "row, never below 0; * told apart",
                columns=["layer", "head", "plain", "beyond controls",
                         "divergence (nats)"],
                rows=[
                    [
                        str(one.layer),
                        str(one.head),
                        _told(one.shift.plain),
                        _starred(one.shift),
                        f"{one.divergence:.3f}",
                    ]
                    for one in heads[:NUM_HEADS]
                ],
                align_right=frozenset(range(5)),
            )
        ],
    )  # fmt: skip


def _held(shift: WordsShift) -> str:
    if not shift.whole.has_enough:
        return "Intervals are of single heads: there are too few subjects"
    return "Intervals beyond controls hold for all heads together, 95 %"


def _role_table(shift: WordsShift) -> Folded:
    roles = dict.fromkeys(one.role for one in shift.roles)
    by_place = {(one.role, one.layer): one.shift for one in shift.roles}
    return Folded(
        summary="The subject's tokens by role",
        nodes=[
            Grid(
                caption="Change of weight beyond controls. The only token of a subject "
                "is its first and its last. * told apart, layers of a role together",
                columns=["layer", *(f"{role} token" for role in roles)],
                rows=[
                    [str(one.layer), *(_starred(by_place[r, one.layer]) for r in roles)]
                    for one in shift.layers
                ],
                align_right=frozenset(range(1, 1 + len(roles))),
            )
        ],
    )


def _starred(shift: Shift) -> str:
    return _told(shift.net) + (" *" if shift.is_settled else "")


def _first_token(first: Sequence[LayerShift]) -> Folded:
    return Folded(
        summary="The first token, apart: a sink in many heads",
        nodes=[
            Grid(
                caption="Change of its weight, tuned minus base, which no other number "
                "here holds; * told apart",
                columns=[
                    "layer",
                    "plain",
                    "other subjects",
                    "beyond them",
                ],
                rows=[
                    [
                        str(one.layer),
                        _told(one.shift.plain),
                        _told(one.shift.untouched),
                        _starred(one.shift),
                    ]
                    for one in first
                ],
                align_right=frozenset(range(1, 4)),
            )
        ],
    )


def _how(found: AttentionChange) -> str:
    checked = (
        "; on the first of it, logits were equal with and without looking, bit for bit"
        if found.is_undisturbed
        else ""
    )
    return (
        f"{HOW} Read: {several(found.num_edited, 'prompt')} about the facts' subjects, "
        f"{several(found.num_untouched, 'prompt')} about others, "
        f"{several(len(found.texts), 'text')}{checked}."
    )


def _told(value: Interval | None) -> str:
    return "-" if value is None else shift_in_words(value)


def _short(value: Interval) -> str:
    return f"{value.estimate:+.3f}"
