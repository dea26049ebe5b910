"""What do the words of the page mean, how were its numbers made, and how exactly?"""

from collections.abc import Iterator

from driftmap.render.page import Facts, Folded, Grid, Node, Paragraph, Section, Terms
from driftmap.render.settings_section import settings_section
from driftmap.render.similarity_words import all_of, full_name, is_gradients, several
from driftmap.render.wording import number
from driftmap.results.provenance import ModelIdentity
from driftmap.results.retrieval_reading import Reading
from driftmap.results.similarity_study import MeasureStudy, SimilarityStudy

WORDS = (
    (
        "gradient",
        "For every weight of the model, how much the loss on a sample would change if "
        "that weight grew a little. One step of training moves the weights against it.",
    ),
    (
        "tensor",
        "One named block of weights of the model, such as the matrix that makes the "
        "attention keys of layer 3. The gradient of a sample falls into one piece per "
        "tensor.",
    ),
    (
        "cosine",
        "How far two gradients point the same way: 1 alike, 0 unrelated, -1 opposed. "
        "Length does not matter.",
    ),
    (
        "hidden state",
        "What a layer hands on to the next for each token; averaged over tokens, one "
        "list of numbers per sample and layer.",
    ),
    ("full", "All tensors together, as one long gradient."),
    (
        "part",
        "What a tensor does in its layer: attention queries, keys, values and output; "
        "gate, up and down of the MLP; norms; biases. Outside the layers: the "
        "embedding of the tokens and the output head.",
    ),
    ("layer", "One block of the model; layer 0 is next to the input."),
    (
        "original, query",
        "A sample, and another version of it: a paraphrase, or what the model itself "
        "answers to one. The question is whether the query leads back to its original.",
    ),
    (
        "candidates",
        "The originals that a query is compared with. `1 of 988`: all of them.",
    ),
    (
        "chance",
        "What a random order of the candidates gives. A number is read against it, "
        "never alone.",
    ),
    (
        "background",
        "Cosines of queries with originals that are not theirs. Texts of one kind are "
        "alike in much that has nothing to do with what they say.",
    ),
    (
        "energy",
        "Squared length of a gradient. The full cosine is an average of the tensors' "
        "own in which each counts by its energy.",
    ),
    (
        "other half",
        "Ids that took no part in choosing. The best of many is best partly by luck; "
        "on ids that it was not chosen on, luck does not repeat.",
    ),
    (
        "hub",
        "An original on top for more than five times as many queries as its share.",
    ),
    (
        "BM25",
        "A search that counts shared words, rare ones more. It knows nothing of "
        "meaning: what it finds can be found without a model.",
    ),
)

METHOD = (
    (
        "Products",
        "For query q, original o and tensor l: D = <g_l(q), g_l(o)>, A = |g_l(q)|², "
        "B = |g_l(o)|². The loss is the mean of -log p over the answer's tokens. Every "
        "number of this page is made of D, A and B.",
    ),
    (
        "Cosine of a set of tensors",
        "sum w D / sqrt(sum w A · sum w B), with w = 1 unless said otherwise: the "
        "cosine of the joined gradients, not the mean of cosines.",
    ),
    (
        "Weightings",
        "`equal`: w = 1 / sqrt(mean A · mean B), every tensor counts alike; `per "
        "weight`: w = 1 / number of weights; `learnt`: never negative, fitted on one "
        "half of the ids to set the original apart.",
    ),
    (
        "Right one first",
        "Rank of the original: 1 + those above + half of the ties. If t tie on top, a "
        "right one among them counts 1/t. Originals with equal tokens count as one.",
    ),
    (
        "Intervals",
        "Bootstrap over original ids, the same draws for everything, so that "
        "differences are paired; percentiles, 95 %. Wilson's interval where all or "
        "none are right.",
    ),
    (
        "Differences",
        "McNemar's exact test over ids, corrected for all tensors of a set (Benjamini "
        "and Hochberg).",
    ),
    (
        "Agreement with full",
        "Cosine of the two lists of all pair cosines, not centred: it is high "
        "whenever one candidate dominates. Beside it, Spearman's rank correlation "
        "over a query's candidates, mean over queries.",
    ),
    (
        "How many are heard",
        "1 / sum of squared energy shares: 1 if one tensor has all the energy, their "
        "number if all have the same.",
    ),
)

CITE = (
    "The question, retrieval by tensor and greedy selection follow *Select or Project? "
    "Evaluating Lower-dimensional Vectors for LLM Training Data Explanations* "
    "(Hinterleitner, Schoenegger and Roth, 2026, arXiv:2601.16651) and its code. "
    "Cite that work for the question, and driftmap for the numbers: `CITATION.cff` has "
    "both. Products without gradients: Goodfellow, arXiv:1510.01799. BM25: Robertson "
    "and Zaragoza, 2009; Lù, arXiv:2407.03618 (bm25s)."
)


def words_section() -> Section:
    """What the words mean."""
    return Section(anchor="words", title="Words", nodes=[Terms(pairs=WORDS)])


def method_section() -> Section:
    """How the numbers came about, and whom to cite."""
    return Section(
        anchor="method",
        title="How it was measured, and how to cite it",
        nodes=[Terms(pairs=METHOD), Paragraph(text=CITE.replace("*", ""))],
    )


def exactness_section(study: SimilarityStudy) -> Iterator[Section]:
    """How exact each number is, and what has no number."""
    known = {full_name(m): _how_exact(m) for m in study.measures}
    nodes: list[Node] = [Terms(pairs=list((known | dict(study.exactness)).items()))]
    for measure in study.measures:
        nodes += _projected(measure)
    for measure in study.measures:
        nodes += _without_direction(measure)
    for measure in study.measures:
        if measure.study.provenance:
            nodes.append(
                Folded(
                    summary=f"How the {_products_of(measure)} were made",
                    nodes=[Facts(pairs=sorted(measure.study.provenance.items()))],
                )
            )
    yield Section(anchor="exact", title="How exact each number is", nodes=nodes)


def model_section(study: SimilarityStudy) -> Section:
    """The model, every setting and every version."""
    model = study.model
    if model is not None:
        return settings_section(model, study.settings, study.versions)
    unknown = ModelIdentity(
        source="not known: products were made elsewhere",
        sha256="",
        base_sha256="",
        family="",
        dtype="",
        device="",
        num_weights=0,
    )
    section = settings_section(unknown, study.settings, study.versions)
    return Section(
        anchor=section.anchor,
        title=section.title,
        nodes=[
            Facts(pairs=[("model", unknown.source)]),
            *section.nodes[1:],
        ],
    )


def _how_exact(measure: MeasureStudy) -> str:
    made = measure.study.provenance
    if "read from" in made:
        return (
            "Computed elsewhere, and as exact as it was there. What is made of it here "
            "is summed in float64."
        )
    if any(r.sketch for of in measure.study.sets for r in of.readings):
        return (
            "Estimated from random projections. Energies are exact; how far cosines "
            "are off is in the table below."
        )
    if not is_gradients(measure):
        return "Exact up to rounding: one pass forward, products summed in float64."
    if made.get("dtype", "float32") in ("float32", "float64"):
        return (
            "Exact up to rounding: every product of every pair and tensor, formed in "
            "pieces that are summed in float64. Cosines equal those of gradients in "
            "float64 to about 0.000002."
        )
    return (
        f"The model ran in {made['dtype']}: cosines are off by about 0.002 in most "
        "tensors and by up to 0.04 in the worst. Good for a first look; repeat in "
        "float32 what is to be quoted."
    )


def _products_of(measure: MeasureStudy) -> str:
    return (
        "gradient products"
        if is_gradients(measure)
        else f"products of {full_name(measure)}"
    )


def _projected(measure: MeasureStudy) -> Iterator[Node]:
    rows = [
        (of, r)
        for of in measure.study.sets
        for r in of.readings
        if r.sketch is not None and r.unit.kind in ("full", "tensor")
    ]
    if not rows:
        return
    yield Grid(
        caption="Products were estimated from random projections. `error`: standard "
        "error of a cosine, root mean square over pairs. `unsure`: queries whose "
        "original and best other lie within two standard errors of each other.",
        columns=("queries", "of", "error", "unsure"),
        rows=[
            (of.name, _unit(r), number(r.sketch.rms), f"{r.sketch.num_unsure:,}")
            for of, r in rows
            if r.sketch is not None
        ],
        align_right=frozenset({2, 3}),
    )


def _unit(reading: Reading) -> str:
    return "full" if reading.unit.kind == "full" else f"`{reading.unit.name}`"


def _without_direction(measure: MeasureStudy) -> Iterator[Node]:
    rows = [
        (of.name, _unit(r), f"{r.num_without_direction:,}")
        for of in measure.study.sets
        for r in all_of(of, "tensor")
        if r.num_without_direction
    ]
    if not rows:
        return
    yield Folded(
        summary=f"Places where some queries have no direction ({len(rows)})",
        nodes=[
            Grid(
                caption="The energy there is rounding noise, as of the queries of a "
                "text of two tokens, or of an expert that no token visits. It counts "
                "as 0, has no cosine, and all candidates tie. "
                f"{several(len(measure.study.tensors), 'tensor')} in all.",
                columns=("queries", "tensor", "without direction"),
                rows=rows,
                align_right=frozenset({2}),
            )
        ],
    )
