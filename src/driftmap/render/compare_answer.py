"""What did the fine-tune change, in a minute? The top of the page of a comparison."""

from collections.abc import Iterator

from driftmap.render.page import Callout, Facts, Folded, Grid, Node, Section, Terms
from driftmap.results.claims import Claim, Standing
from driftmap.results.compare_study import CompareStudy
from driftmap.results.probes import Probes

STANDINGS: dict[Standing, str] = {
    "found": "found",
    "not-found": "no difference",
    "inconclusive": "cannot be told",
    "context": "describes",
}
TOPICS = {
    "structure": "how it is built",
    "weights": "what moved",
    "behaviour": "what it does",
    "edits": "facts",
    "where": "where it happens",
    "traces": "traces",
    "attention": "what it looks at",
    "readings": "what it reads",
    "training": "over training",
}


def answer_section(study: CompareStudy) -> Section:
    """The verdict, what cannot be told, and what the sentences do not say."""
    verdict = study.verdict
    nodes: list[Node] = [
        Callout(kind="verdict", title="What did it change?", texts=[verdict.headline]),
        Terms(pairs=[(part.question, " ".join(part.says)) for part in verdict.parts]),
    ]
    if verdict.unsettled:
        nodes.append(
            Callout(
                kind="note",
                title="No difference, or none that can be told from chance",
                texts=verdict.unsettled,
            )
        )
    if verdict.cautions:
        nodes.append(
            Callout(
                kind="caution", title="What this does not say", texts=verdict.cautions
            )
        )
    nodes += _details(study)
    return Section(anchor="answer", title="Answer", nodes=nodes)


def _details(study: CompareStudy) -> Iterator[Node]:
    if study.claims:
        claims = [_row(claim) for claim in study.claims]
        yield Folded(
            summary=f"All {len(claims)} findings, one by one",
            nodes=[
                Grid(
                    caption="What each part of the comparison says of its numbers",
                    columns=["part", "standing", "finding"],
                    rows=claims,
                )
            ],
        )
    if study.probes is not None:
        yield Folded(
            summary="What both models were asked",
            nodes=[Facts(pairs=list(_asked(study.probes)))],
        )


def _row(claim: Claim) -> list[str]:
    return [TOPICS[claim.topic], STANDINGS[claim.standing], claim.says]


def _asked(probes: Probes) -> Iterator[tuple[str, str]]:
    named = {
        "facts": (probes.facts, "facts"),
        "texts": (probes.texts, "texts"),
        "harmful": (probes.harmful, "requests to refuse"),
        "harmless": (probes.harmless, "requests to answer"),
        "held_out": (probes.held_out, "requests with known answers"),
    }
    for name, (some, words) in named.items():
        source = probes.sources.get(name)
        yield words, f"{len(some)} ({source})" if source else "none"
