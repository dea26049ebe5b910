"""To which tokens does each layer and head attend, in single prompts?"""

from collections.abc import Iterator, Sequence

import numpy as np

from driftmap.core.quoted import quoted
from driftmap.render.attention_words import WITHOUT_FIRST, query_words, told
from driftmap.render.page import (
    Choices,
    Folded,
    Grid,
    Node,
    Paragraph,
    Picker,
    Section,
)
from driftmap.render.token_charts import TokenMap, seen_token
from driftmap.results.attention import (
    AttentionMaps,
    AttentionPrompt,
    AttentionRows,
    without_first,
)
from driftmap.results.attention_study import AttentionFindings

NUM_TOP = 5

NOTHING_CHANGED = (
    "Nothing was changed. The subject's tokens are marked `*`. What it does not show: "
    "that the answer depends on what is looked at."
)


def token_sections(found: AttentionFindings) -> Iterator[Section]:
    """Each shown prompt: what layers look at, then any layer head by head."""
    nodes: list[Node] = []
    for number, prompt in enumerate(found.prompts):
        rows = [one for one in found.rows if one.prompt_id == prompt.id]
        maps = [one for one in found.maps if one.prompt_id == prompt.id]
        own: list[Node] = [
            Paragraph(text=_about(prompt)),
            _by_layer(found, prompt, rows, number),
            _by_head(found, prompt, rows, number),
            *(_whole(found, prompt, one, number) for one in maps),
            _top(found, prompt, rows[0]),
        ]
        nodes += [Folded(summary=_title(prompt), nodes=own)] if number else own
    if nodes:
        yield Section(anchor="prompts", title="Single prompts", nodes=nodes)


def _title(prompt: AttentionPrompt) -> str:
    return f"{quoted(told(prompt))} → {quoted(''.join(prompt.answer).strip())}"


def _about(prompt: AttentionPrompt) -> str:
    known = {
        True: "The answer, the model's first choice,",
        False: "The answer, not the model's first choice,",
        None: "The model's own answer",
    }
    chance = float(np.exp(prompt.log_prob))
    return f"{_title(prompt)}. {known[prompt.is_known]} has probability {chance:.3f}."


def _by_layer(
    found: AttentionFindings,
    prompt: AttentionPrompt,
    rows: Sequence[AttentionRows],
    number: int,
) -> Picker:
    views = [_views(one) for one in rows]
    names = list(views[0])
    return Picker(
        name=f"attention-layers-{number + 1}",
        title=f"{_title(prompt)}: what each layer looks at, heads averaged",
        reading="Rankings are "
        f"{WITHOUT_FIRST}: the first token is a sink in many heads and hides all else; "
        "the view with it says so. Weight x value length is what a head writes of a "
        "token; received is the mean over all rows that see it; rollout multiplies "
        f"maps through the layers and is a heuristic. {NOTHING_CHANGED}",
        choices=[
            Choices(name="row", options=[query_words(one.query) for one in rows]),
            Choices(name="shown", options=names),
        ],
        charts=[
            _map(prompt, view[name].T, [str(p.layer) for p in found.places], "layer",
                 name)
            for view in views
            for name in names
        ],
    )  # fmt: skip


def _by_head(
    found: AttentionFindings,
    prompt: AttentionPrompt,
    rows: Sequence[AttentionRows],
    number: int,
) -> Picker:
    shown = [(without_first(one.weights), f"weight, {WITHOUT_FIRST}") for one in rows]
    return Picker(
        name=f"attention-by-head-{number + 1}",
        title=f"{_title(prompt)}: token by token, for any layer and head",
        reading=f"Every column is a head and sums to 1. {NOTHING_CHANGED}",
        choices=[
            Choices(name="row", options=[query_words(one.query) for one in rows]),
            Choices(name="layer", options=[str(p.layer) for p in found.places]),
        ],
        charts=[
            _map(prompt, weights[place, : about.num_heads].T,
                 [str(head) for head in range(about.num_heads)], "head", name)
            for weights, name in shown
            for place, about in enumerate(found.places)
        ],
        first=_sharpest(rows[0]),
    )  # fmt: skip


def _whole(
    found: AttentionFindings, prompt: AttentionPrompt, maps: AttentionMaps, number: int
) -> Picker:
    """Every token looking at every other, for any layer and head."""
    num_heads = maps.weights.shape[1]
    return Picker(
        name=f"attention-whole-{number + 1}",
        title=f"{_title(prompt)}: the whole map of any layer and head",
        reading="Rows look, columns are looked at; each row sums to 1 and sees nothing "
        f"to its right. The first token is left in. {NOTHING_CHANGED}",
        choices=[
            Choices(name="layer", options=[str(p.layer) for p in found.places]),
            Choices(name="head", options=[str(head) for head in range(num_heads)]),
        ],
        charts=[
            TokenMap(
                tokens=prompt.tokens,
                x_labels=prompt.tokens,
                x_title="looked at",
                y_title="looking",
                values=np.round(own.astype(float), 4).tolist(),
                value_title="weight",
                hue="weight",
                ends=(0.0, 1.0),
                starred=range(*prompt.subject) if prompt.subject else (),
            )
            for of_place in maps.weights
            for own in of_place
        ],
    )


def _views(rows: AttentionRows) -> dict[str, np.ndarray]:
    """Numbers of each place and token, heads averaged."""
    mean = np.nanmean(rows.weights, axis=1)
    found = {
        f"weight, {WITHOUT_FIRST}": without_first(mean),
        "weight, with the first token (BOS)": mean,
    }
    if rows.value_weighted is not None:
        written = np.nanmean(rows.value_weighted, axis=1)
        found[f"weight x value length, {WITHOUT_FIRST}"] = without_first(written)
    if rows.received is not None:
        found["received over all rows"] = np.nanmean(rows.received, axis=1)
    if rows.rollout is not None:
        found["rollout"] = rows.rollout
    return found


def _map(
    prompt: AttentionPrompt,
    values: np.ndarray,
    labels: Sequence[str],
    x_title: str,
    name: str,
) -> TokenMap:
    return TokenMap(
        tokens=prompt.tokens,
        x_labels=labels,
        x_title=x_title,
        values=values.astype(float).tolist(),
        value_title=name.partition(",")[0].replace(" over all rows", ""),
        hue="weight",
        ends=(0.0, max(float(np.nanmax(values)), 1e-6)),
        starred=range(*prompt.subject) if prompt.subject else (),
    )


def _sharpest(rows: AttentionRows) -> int:
    """The place that is shown first: where one token but the first has most."""
    return int(np.nanmax(without_first(rows.weights), axis=(1, 2)).argmax())


def _top(
    found: AttentionFindings, prompt: AttentionPrompt, rows: AttentionRows
) -> Folded:
    mean = np.nanmean(rows.weights, axis=1)
    own = without_first(mean)
    table = [
        [
            str(place.layer),
            f"{100 * mean[number, 0]:.0f} %",
            ", ".join(
                f"{seen_token(prompt.tokens[token])} {100 * own[number, token]:.0f} %"
                for token in np.argsort(-own[number], kind="stable")[:NUM_TOP]
                if own[number, token] > 0
            ),
        ]
        for number, place in enumerate(found.places)
    ]
    return Folded(
        summary=f"The {NUM_TOP} tokens with most weight, layer by layer",
        nodes=[
            Grid(
                caption=f"{query_words(rows.query)}; heads averaged, {WITHOUT_FIRST}",
                columns=["layer", "on the first token", "tokens"],
                rows=table,
                align_right=frozenset((1,)),
            )
        ],
    )
