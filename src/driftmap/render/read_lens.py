"""What would each block of a model say of the tokens of a text?"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float64

from driftmap.render.page import Choices, Folded, Grid, Node, Paragraph, Picker, Section
from driftmap.render.read_texts import chance, quoted_token
from driftmap.render.token_charts import TokenMap
from driftmap.results.reading_study import TextLens


def lens_sections(lenses: Sequence[TextLens]) -> Iterator[Section]:
    """A section where the lens was asked for."""
    if lenses:
        nodes: list[Node] = [
            Paragraph(
                text="Each block's output, put through the model's own last norm and "
                "head (the logit lens): how likely is the token that comes next? The "
                "last column is the model itself. Earlier blocks do not write for the "
                "head, so a low number there does not say that the token is not known."
            )
        ]
        for place, lens in enumerate(lenses):
            nodes += _lens_nodes(place, lens)
        yield Section(anchor="lens", title="What each layer would say", nodes=nodes)


def _lens_nodes(place: int, lens: TextLens) -> Iterator[Node]:
    num_layers = len(lens.tops)
    labels = [str(layer) for layer in range(num_layers)]
    left = (
        f" {lens.num_left_out:,} later tokens are not shown."
        if lens.num_left_out
        else ""
    )
    kinds = (
        ("probability of the token", lens.lens.answer_p, (0.0, 1.0)),
        ("entropy (nats)", lens.lens.entropy, None),
        ("KL to the last layer (nats)", lens.lens.kl, None),
        ("log10 of 1 + rank", _log_rank(lens), None),
    )
    yield Picker(
        name=f"lens-{place + 1}",
        title=f"`{lens.name}`, layer by layer",
        reading=f"Rows are tokens in order, columns blocks from 0.{left}",
        choices=[Choices(name="shown", options=[name for name, _, _ in kinds])],
        charts=[
            TokenMap(
                tokens=lens.tokens,
                x_labels=labels,
                x_title="block",
                values=[list(row) for row in values.T.tolist()],
                value_title=name,
                hue="weight",
                ends=ends,
            )
            for name, values, ends in kinds
        ],
    )
    yield Folded(
        summary=f"What each block would say in `{lens.name}`", nodes=[_said(lens)]
    )


def _log_rank(lens: TextLens) -> Float64[np.ndarray, "layer token"]:
    return np.log10(1 + lens.lens.answer_rank)


def _said(lens: TextLens) -> Grid:
    """The token that each block would say, one row per token of the text."""
    return Grid(
        caption="The most likely token after each block, and the probability of the "
        "one that stands there.",
        columns=("token", *(f"block {layer}" for layer in range(len(lens.tops)))),
        rows=[
            (
                quoted_token(token),
                *(
                    f"{quoted_token(row[place])} {chance(float(p[place]))}"
                    for row, p in zip(lens.tops, lens.lens.answer_p, strict=True)
                ),
            )
            for place, token in enumerate(lens.tokens)
        ],
    )
