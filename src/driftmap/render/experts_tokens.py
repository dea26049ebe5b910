"""Which tokens go to the chosen experts, and which experts work together?"""

from collections.abc import Iterator

import numpy as np

from driftmap.core.places import BankPlace
from driftmap.render.charts import Line, Lines, Marks, Mosaic
from driftmap.render.experts_words import expert_name, main_group, several
from driftmap.render.page import (
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Section,
    Shaded,
    Word,
)
from driftmap.render.wording import number, percent
from driftmap.results.expert_study import ExpertFindings
from driftmap.results.expert_usage import CoActivation, VocabularyUse
from driftmap.results.expert_views import TokenView

MOST_SHOWN = 64
"""Experts of one bank that a map of pairs shows."""

MOST_BANKS = 4
"""Layers whose pairs of experts are drawn, those with most chosen experts first."""

MOST_PAIRS = 8
"""Pairs of experts that a table lists."""

BY = {
    "input": "by the token itself",
    "next": "by the token that follows",
    "predicted": "by the token that the model predicts",
}


def token_sections(findings: ExpertFindings) -> Iterator[Section]:
    """Where single tokens were sent; empty where none were kept."""
    views = findings.tokens
    if not views:
        return
    has_text = any(view.tokens for view in views)
    nodes: list[Node] = [
        Paragraph(
            text="How much weight each token gives the first of the chosen experts; "
            "empty: it was sent elsewhere. Places are counted from the first token of "
            "the answer, which is 0; what stands before it is the prompt."
            + (
                ""
                if has_text
                else " Texts are not shown: `--show-text` shows them, and they may be "
                "harmful."
            )
        )
    ]
    for number_of, view in enumerate(views, 1):
        nodes += _sample(view, f"tokens-{number_of}")
    yield Section(anchor="tokens", title="Which tokens go there", nodes=nodes)


def company_sections(findings: ExpertFindings) -> Iterator[Section]:
    """Which experts work together, and how much a word decides; empty if uncounted."""
    first, *others = [list(_company(findings, one)) for one in _asked(findings)] or [[]]
    nodes: list[Node] = [*first]
    if others:
        nodes.append(
            Folded(
                summary=f"Other layers with chosen experts ({len(others)})",
                nodes=[node for drawn in others for node in drawn],
            )
        )
    nodes += _vocabulary(findings.vocabulary)
    if nodes:
        yield Section(anchor="company", title="Who works together", nodes=nodes)


def _sample(view: TokenView, name: str) -> Iterator[Node]:
    weights = np.where(view.weights > 0, view.weights, np.nan)
    num_response = len(weights) - view.num_prompt
    yield Figure(
        name=name,
        title=f"Sample `{view.sample_id}`",
        reading=_reading(view),
        chart=Mosaic(
            x_labels=[str(n) for n in range(-view.num_prompt, num_response)],
            y_labels=[expert_name(expert) for expert in reversed(view.experts)],
            x_title="token",
            y_title="expert",
            values=[[float(v) for v in row] for row in weights.T[::-1]],
            value_title="weight",
            empty_row="no token of this sample came here",
            line_before=view.num_prompt,
        ),
    )
    if view.tokens:
        yield _texts(view)


def _reading(view: TokenView) -> str:
    visits = np.asarray((view.weights > 0).any(axis=1))
    prompt, answer = np.split(visits, [view.num_prompt])
    told = (
        f"{_part(prompt)} of the prompt and {_part(answer)} of the answer go to at "
        "least one of these experts. Grey line: where the answer begins."
    )
    if view.push is None or not view.push.sum():
        return told
    share = float(view.push[view.num_prompt :].sum() / view.push.sum())
    return (
        f"{told} {percent(share)} of the pull of the loss at these experts comes from "
        "tokens of the answer."
    )


def _part(visits: np.ndarray) -> str:
    return f"{int(visits.sum())} of {several(len(visits), 'token')}"


def _texts(view: TokenView) -> Shaded:
    strength = view.weights.sum(axis=1) if view.push is None else view.push
    most = float(strength.max()) or 1.0
    what = "weight that goes to these experts" if view.push is None else "pull"
    return Shaded(
        title=f"Sample {view.sample_id}",
        note=f"darker: more {what}; underlined: the answer",
        words=[
            Word(
                text=text,
                value=float(strength[n]) / most,
                is_marked=n >= view.num_prompt,
                note=f"{n - view.num_prompt}: {number(float(strength[n]))}",
            )
            for n, text in enumerate(view.tokens)
        ],
    )


def _asked(findings: ExpertFindings) -> list[CoActivation]:
    """Banks in which two experts can be chosen together, most chosen ones first."""
    paths = [expert.path for expert in main_group(findings).experts]
    able = [
        one
        for one in findings.company
        if one.bank.num_chosen > 1 and one.bank.num_experts > 2
    ]
    able.sort(key=lambda one: -paths.count(one.bank.path))
    return able[:MOST_BANKS]


def _company(findings: ExpertFindings, company: CoActivation) -> Iterator[Node]:
    bank = company.bank
    blind = _blind_lift(bank)
    lift = company.lift[: bank.num_experts, : bank.num_experts].copy()
    np.fill_diagonal(lift, np.nan)
    chosen = [e.expert for e in main_group(findings).experts if e.path == bank.path]
    used = np.diag(company.both)[: bank.num_experts]
    shown = _shown(used, chosen)
    place = {expert: n for n, expert in enumerate(shown)}
    values = lift[np.ix_(shown, shown)]
    labels = [str(expert) for expert in shown]
    yield Figure(
        name=f"company-layer-{bank.layer}",
        title=f"Experts of layer {bank.layer} that are chosen together",
        reading="Lift: how often two experts serve the same token, over the product of "
        f"how often each does. Blind choices of {bank.num_chosen} give {blind:.2f}. "
        "Orange: they work together; blue: one or the other. "
        f"{several(company.num_tokens, 'token')}"
        + (f"; the {len(shown)} busiest experts" if len(shown) < len(used) else "")
        + ". Dots: chosen experts, at themselves.",
        chart=Mosaic(
            x_labels=labels,
            y_labels=labels,
            x_title="with expert",
            y_title="expert",
            values=[[float(v) for v in row] for row in values],
            value_title="lift",
            middle=blind,
            is_log=True,
            marks=(
                Marks(
                    name=f"chosen ({len(chosen)})",
                    places=[(place[e], place[e]) for e in chosen],
                ),
            ),
            empty_row="never chosen",
        ),
    )
    yield _pairs(company, lift)


def _blind_lift(bank: BankPlace) -> float:
    """Lift of two experts if K of E are drawn blindly, without replacement."""
    chosen, experts = bank.num_chosen, bank.num_experts
    return (chosen - 1) * experts / (chosen * (experts - 1))


def _shown(used: np.ndarray, chosen: list[int]) -> list[int]:
    """All experts of a bank, or the chosen and the busiest of a large one."""
    order = [*chosen, *np.argsort(-used, kind="stable").tolist()]
    return sorted(list(dict.fromkeys(order))[:MOST_SHOWN])


def _pairs(company: CoActivation, lift: np.ndarray) -> Grid:
    bank = company.bank
    rows, columns = np.triu_indices(bank.num_experts, 1)
    together = company.both[rows, columns]
    order = np.argsort(-together, kind="stable")[:MOST_PAIRS]
    given = company.conditional
    return Grid(
        caption="The pairs that serve most tokens together. `blindly`: the share that "
        "any other expert would have beside a chosen one, (K - 1) / (E - 1).",
        columns=("pair", "tokens", "second given first", "first given second",
                 "blindly", "lift"),
        rows=[
            (
                f"{a} and {b}",
                f"{company.both[a, b]:,}",
                percent(float(given[a, b])),
                percent(float(given[b, a])),
                percent((bank.num_chosen - 1) / max(1, bank.num_experts - 1)),
                number(float(lift[a, b])),
            )
            for a, b in zip(rows[order].tolist(), columns[order].tolist(), strict=True)
            if company.both[a, b]
        ],
        align_right=frozenset(range(1, 6)),
    )  # fmt: skip


def _vocabulary(uses: tuple[VocabularyUse, ...]) -> Iterator[Figure]:
    told = [use for use in uses if use.mean_share is not None]
    if not told:
        return
    lines = []
    for by in dict.fromkeys(use.by for use in told):
        mine = [use for use in told if use.by == by]
        layers = [float(use.bank.layer) for use in mine]
        lines.append(
            Line(name=BY[by], x=layers, y=[use.mean_share or 0.0 for use in mine])
        )
    first = [use for use in told if use.by == told[0].by]
    lines.append(
        Line(
            name="experts shuffled over tokens",
            role="random",
            x=[float(use.bank.layer) for use in first],
            y=[use.shuffled for use in first],
        )
    )
    yield Figure(
        name="vocabulary",
        title="How much a single token decides which expert comes first",
        reading="Share of a token's occurrences whose first expert is its most "
        "frequent one, mean over tokens seen at least 10 times. Near the grey line, "
        "words do not decide.",
        chart=Lines(x_title="layer", y_title="share", lines=lines, y_ends=(0.0, 1.0)),
    )
