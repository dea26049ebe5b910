"""Studies of similar samples made by hand, for tests of what is said of them.

Numbers rise and fall along depth so that curves look like curves; they fit each other
only as far as the page needs.
"""

from dataclasses import replace
from functools import cache
from math import pi, sin

from driftmap.core.places import TensorPlace
from driftmap.results.oddities import (
    EnergyShare,
    EnergyShares,
    HubOriginal,
    OddQuery,
    Profile,
)
from driftmap.results.provenance import ModelIdentity
from driftmap.results.retrieval import (
    HeldOut,
    Preselection,
    QueryReading,
    RetrievalSettings,
    RetrievalStudy,
    SetStudy,
    Weighting,
    WrongQuery,
)
from driftmap.results.retrieval_models import (
    DepthCurve,
    DepthPoint,
    ModelComparison,
    ModelRow,
    NamedScore,
)
from driftmap.results.retrieval_reading import (
    Agreement,
    Closeness,
    Contrast,
    Reading,
    Recall,
    Score,
    TensorMeans,
    Unit,
)
from driftmap.results.sample_sets import (
    LeftOutSample,
    SampleText,
    SetsRead,
    TokenCount,
)
from driftmap.results.samples import Message, Sample
from driftmap.results.selection import (
    BothHalves,
    ProjectionPoint,
    Reached,
    SelectionPath,
    SelectionScore,
    SelectionStep,
)
from driftmap.results.similarity_study import MeasureStudy, SimilarityStudy
from driftmap.results.statistics import Caution, Interval
from driftmap.stats.sample_sets import describe_sets

NUM = 60
LAYERS = 4
SHAPES = {
    "q": ("self_attn.q_proj", "attention", 4096),
    "k": ("self_attn.k_proj", "attention", 1024),
    "v": ("self_attn.v_proj", "attention", 1024),
    "o": ("self_attn.o_proj", "attention", 4096),
    "gate": ("mlp.gate_proj", "mlp", 11008),
    "up": ("mlp.up_proj", "mlp", 11008),
    "down": ("mlp.down_proj", "mlp", 11008),
}


def around(estimate, half=0.04, num=NUM):
    return Interval(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        level=0.95,
        num=num,
    )


def score(value, half=0.05, chance=1 / NUM):
    value = min(max(value, 0.0), 1.0)
    return Score(
        value=Interval(
            estimate=value,
            low=max(0.0, value - half),
            high=min(1.0, value + half),
            level=0.95,
            num=NUM,
        ),
        chance=chance,
        method="bootstrap",
    )


@cache
def tensors(num_layers=LAYERS):
    blocks = [
        TensorPlace(
            name=f"model.layers.{layer}.{name}.weight",
            part=part,
            layer=layer,
            half=half,
            num_weights=size,
        )
        for layer in range(num_layers)
        for part, (name, half, size) in SHAPES.items()
    ]
    norms = [
        TensorPlace(
            name=f"model.layers.{layer}.{name}.weight",
            part="norm",
            layer=layer,
            num_weights=64,
        )
        for layer in range(num_layers)
        for name in ("input_layernorm", "post_attention_layernorm")
    ]
    ordered = sorted([*blocks, *norms], key=lambda place: (place.layer, place.name))
    return (
        TensorPlace(name="model.embed_tokens.weight", part="embed", num_weights=64000),
        *ordered,
        TensorPlace(name="model.norm.weight", part="norm", num_weights=64),
        TensorPlace(name="lm_head.weight", part="head", num_weights=64000),
    )


def height(place, num_layers=LAYERS):
    """Accuracy of a tensor: a hill along depth, higher for some parts."""
    base = {"v": 0.93, "o": 0.95, "down": 0.96, "up": 0.9, "gate": 0.86, "q": 0.7,
            "k": 0.62, "norm": 0.55, "embed": 0.8, "head": 0.72}  # fmt: skip
    depth = 0.5 if place.layer is None else (place.layer + 0.5) / num_layers
    return base[place.part] - 0.25 * (1 - sin(pi * depth))


def closeness(value):
    return Closeness(
        match=around(0.2 + 0.5 * value, 0.02),
        background=around(0.08 * value, 0.004),
        gap=around(0.2 + 0.42 * value, 0.02),
        gap_in_sd=2 + 9 * value,
    )


def contrast(against, value, adjusted=None):
    return Contrast(
        against=against,
        change=around(value, 0.05),
        num_gained=3,
        num_lost=max(3 + round(-NUM * value), 0),
        p_value=0.02 if abs(value) > 0.05 else 0.6,
        p_adjusted=adjusted,
    )


def reading(unit, value, **changes):
    values = {
        "unit": unit,
        "num_queries": NUM,
        "accuracy": score(value),
        "reciprocal_rank": score(value + 0.5 * (1 - value), chance=0.045),
        "recall": tuple(
            Recall(k=k, score=score(value + (1 - value) * (1 - 1 / k), chance=k / NUM))
            for k in (1, 5, 10, 50)
        ),
        "median_rank": 1.0,
        "margin": around(4 * value, 0.4),
        "auc": score(0.5 + 0.5 * value, chance=0.5),
        "closeness": closeness(value),
        "agreement": Agreement(cosine=0.5 + 0.5 * value, spearman=0.9 * value),
        "contrasts": (
            contrast("full", value - 0.92, 0.01 if value < 0.8 else 0.7),
            contrast("bm25", value - 0.88, 0.01 if value < 0.7 else 0.8),
        ),
    }
    return Reading(**values | changes)


def units(places):
    num_layers = 1 + max(p.layer for p in places if p.layer is not None)
    layers = range(num_layers)
    yield (
        Unit(kind="full", name="full", num_tensors=len(places), num_weights=700000),
        0.92,
    )
    for p in places:
        unit = Unit(kind="tensor", name=p.name, part=p.part, layer=p.layer, half=p.half,
                    num_tensors=1, num_weights=p.num_weights)  # fmt: skip
        yield unit, height(p, num_layers)
    for part in dict.fromkeys(p.part for p in places):
        of = [p for p in places if p.part == part]
        value = max(height(p, num_layers) for p in of)
        yield Unit(kind="part", name=part, part=part, num_tensors=len(of),
                   num_weights=sum(p.num_weights for p in of)), value  # fmt: skip
    for layer in layers:
        of = [p for p in places if p.layer == layer]
        value = sum(height(p, num_layers) for p in of) / len(of) + 0.1
        yield Unit(kind="layer", name=f"layer {layer}", layer=layer,
                   num_tensors=len(of), num_weights=9000), value  # fmt: skip
    for half in ("attention", "mlp"):
        yield Unit(kind="half", name=half, half=half, num_tensors=4 * num_layers), 0.9
    for layer in layers:
        for part in dict.fromkeys(p.part for p in places if p.layer == layer):
            of = [p for p in places if (p.layer, p.part) == (layer, part)]
            value = max(height(p, num_layers) for p in of)
            yield Unit(kind="layer_part", name=f"layer {layer} {part}", part=part,
                       layer=layer, num_tensors=len(of)), value  # fmt: skip
    for layer in layers:
        for half in ("attention", "mlp"):
            of = [p for p in places if (p.layer, p.half) == (layer, half)]
            if of:
                value = max(height(p, num_layers) for p in of) - 0.03
                yield Unit(kind="layer_half", name=f"layer {layer} {half}", half=half,
                           layer=layer, num_tensors=len(of)), value  # fmt: skip


def readings(places, baselines=("bm25",)):
    for unit, value in units(places):
        more = {"agreement": None} if unit.kind == "full" else {}
        if unit.num_tensors > 1:
            more["tensor_means"] = TensorMeans(accuracy=value - 0.1, match=0.4)
        if unit.part == "k" and unit.kind == "tensor":
            more["num_without_direction"] = 2
        if unit.kind == "full":
            more["contrasts"] = tuple(contrast(b, 0.04) for b in baselines)
            more["unflagged"] = score(value + 0.02)
        yield reading(unit, value, **more)
    for name in baselines:
        unit = Unit(kind="baseline", name=name)
        yield reading(unit, 0.88, closeness=None, agreement=None,
                      contrasts=(contrast("full", -0.04),))  # fmt: skip


def best_tensor(places):
    best = max(places, key=height)
    unit = Unit(kind="tensor", name=best.name, part=best.part, layer=best.layer,
                num_tensors=1, num_weights=best.num_weights)  # fmt: skip
    return HeldOut(
        unit=unit,
        num_tied=2,
        chosen_on=0.97,
        reported_on=score(0.95),
        full=score(0.92),
        against=(contrast("full", 0.03), contrast("bm25", 0.07)),
    )


def weightings(places):
    for name, value in (
        ("plain", 0.92), ("equal", 0.96), ("per_weight", 0.85), ("learnt", 0.97),
        ("mean_of_cosines", 0.95),
    ):  # fmt: skip
        held = name == "learnt"
        unit = Unit(kind="weighting", name=name, num_tensors=len(places))
        yield Weighting(
            name=name,
            is_cosine=name != "mean_of_cosines",
            reading=None if held else reading(unit, value),
            reported_on=score(value - 0.01),
            weights=()
            if name == "mean_of_cosines"
            else (1 / len(places),) * len(places),
        )


def selection(places, goal, num_steps=20):
    steps, weights = [], 0
    total = sum(p.num_weights for p in places)
    for n, place in enumerate(places[3 : 3 + num_steps]):
        weights += place.num_weights
        agreement = 1 - 0.5 / (n + 1)
        accuracy = 0.97 - 0.15 / (n + 1)
        steps.append(
            SelectionStep(
                tensor=3 + n,
                name=place.name,
                num_weights=weights,
                share_of_weights=weights / total,
                chosen_on=SelectionScore(agreement=agreement, accuracy=accuracy),
                reported_on=SelectionScore(
                    agreement=agreement - 0.02, accuracy=accuracy - 0.03
                ),
                num_tied=1 + (n == 2),
            )
        )
    full = SelectionScore(agreement=1.0, accuracy=0.92)
    reached = (0.9, 0.95, 0.99) if goal == "agreement" else ()
    return SelectionPath(
        goal=goal,
        steps=tuple(steps),
        full=BothHalves(chosen_on=full, reported_on=full),
        num_best=12,
        standard_error=0.01,
        num_smallest=4,
        num_to_reach=tuple(
            Reached(agreement=a, num_steps=None if a > 0.98 else 5) for a in reached
        ),
    )


def energy(places):
    raw = [
        (8.0 if p.part in ("embed", "head") else 0.2 if p.part == "norm" else 1.0)
        * (1.5 - (p.layer or 0) / LAYERS)
        for p in places
    ]
    total, weights = sum(raw), sum(p.num_weights for p in places)
    shares = tuple(
        EnergyShare(
            name=p.name,
            part=p.part,
            layer=p.layer,
            queries=e / total,
            originals=0.95 * e / total,
            num_weights=p.num_weights,
            share_of_weights=p.num_weights / weights,
        )
        for p, e in zip(places, raw, strict=True)
    )
    parts = tuple(
        EnergyShare(
            name=part,
            part=part,
            layer=None,
            queries=sum(s.queries for s in shares if s.part == part),
            originals=sum(s.originals for s in shares if s.part == part),
            num_weights=sum(s.num_weights or 0 for s in shares if s.part == part),
            share_of_weights=sum(
                s.share_of_weights or 0 for s in shares if s.part == part
            ),
        )
        for part in dict.fromkeys(p.part for p in places)
    )
    heard = 1 / sum(s.queries**2 for s in shares)
    return EnergyShares(
        tensors=shares, parts=parts, num_heard_queries=heard, num_heard_originals=heard
    )


def odd(places, version, number=7):
    def profile(original, level, is_right):
        cosines = tuple(
            None if p.part == "k" and p.layer == 0 else level * height(p)
            for p in places
        )
        return Profile(
            original=original, is_right=is_right, full=level, cosines=cosines
        )

    return OddQuery(
        query=f"{version}/s{number}",
        distance=0.31,
        profiles=(
            profile(f"s{number}", 0.62, is_right=True),
            profile("s3", 0.4, is_right=False),
            profile("s11", 0.22, is_right=False),
        ),
    )


def set_study(name="paraphrased", **changes):
    """One set of queries; building one takes a while, so all but changes is shared."""
    return replace(_set_study(name), **changes)


@cache
def _set_study(name):
    places = tensors()
    values = {
        "name": name,
        "num_queries": NUM,
        "num_ids": NUM,
        "num_chosen_on": NUM // 2,
        "num_reported_on": NUM // 2,
        "preselection": Preselection(
            is_all_pairs=True, num_least=NUM, num_most=NUM, title=f"1 of {NUM}",
            recall=1.0, missing=(), forced=(),
        ),
        "readings": tuple(readings(places)),
        "best_tensor": best_tensor(places),
        "weightings": tuple(weightings(places)),
        "selections": (selection(places, "agreement"), selection(places, "accuracy")),
        "projections": (
            ProjectionPoint(
                name="fold, k = 1024", num_stored=80000, share_of_weights=0.12,
                chosen_on=SelectionScore(agreement=0.99, accuracy=0.9),
                reported_on=SelectionScore(agreement=0.985, accuracy=0.9),
            ),
        ),
        "energy": energy(places),
        "size_correlation": 0.41,
        "odd": (odd(places, name), odd(places, name, 9)),
        "num_wrong": {"full": 9, best_tensor(places).unit.name: 5},
        "wrong": (
            WrongQuery(
                unit="full", query=f"{name}/s4", original="s4", chosen="s11", rank=2.0,
                truth_cosine=0.31, chosen_cosine=0.36, flags=("flagged: too short",),
            ),
            WrongQuery(
                unit="full", query=f"{name}/s5", original="s5", chosen="s3", rank=None,
                truth_cosine=None, chosen_cosine=0.2, flags=("not a candidate",),
            ),
        ),
        "hubs": (
            HubOriginal(original="s11", num_on_top=7.0, num_wrong=6.0, share=1.0),
        ),
        "queries": tuple(
            QueryReading(
                query=f"{name}/s{n}", original=f"s{n}",
                ranks={"full": 1.0, "bm25": 2.0 if n % 9 == 0 else 1.0},
                truth_cosine=0.6, best_other_cosine=0.2, is_reported=n % 2 == 1,
                flags=(),
            )
            for n in range(NUM)
        ),
        "cautions": (
            Caution(
                name="few-heard", value=9.4, is_blocking=False,
                sentence="The plain full cosine listens to 9 of 110 tensors.",
            ),
        ),
    }  # fmt: skip
    return SetStudy(**values)


def retrieval(sets=("paraphrased", "generated"), places=None, **changes):
    places = tensors() if places is None else places
    values = {
        "settings": RetrievalSettings(),
        "seed": 0,
        "tensors": places,
        "num_originals": NUM,
        "num_duplicates": 2,
        "provenance": {"candidates": "all", "products": "auto", "dtype": "float32"},
        "sets": tuple(
            one if isinstance(one, SetStudy) else set_study(one) for one in sets
        ),
    }
    return RetrievalStudy(**values | changes)


def hidden(num_layers=LAYERS):
    """Places of hidden states: what every block gives."""
    return tuple(
        TensorPlace(name=f"block {n}", part="block", layer=n) for n in range(num_layers)
    )


@cache
def activations(sets=("paraphrased", "generated")):
    places = hidden()

    def of_set(name):
        full = Unit(kind="full", name="full", num_tensors=len(places))
        rows = [reading(full, 0.9, agreement=None)]
        for place in places:
            value = 0.55 + 0.4 * sin(pi * (place.layer + 0.5) / LAYERS)
            unit = Unit(kind="tensor", name=place.name, part="block",
                        layer=place.layer, num_tensors=1)  # fmt: skip
            rows.append(reading(unit, value))
            unit = Unit(kind="layer", name=f"layer {place.layer}", layer=place.layer,
                        num_tensors=1)  # fmt: skip
            rows.append(reading(unit, value))
        unit = Unit(kind="baseline", name="bm25")
        rows.append(reading(unit, 0.88, closeness=None, agreement=None))
        return set_study(
            name,
            readings=tuple(rows),
            best_tensor=None,
            weightings=(),
            selections=(),
            projections=(),
            odd=(),
            energy=EnergyShares(
                tensors=(), parts=(), num_heard_queries=3.0, num_heard_originals=3.0
            ),
        )

    return retrieval(places=places, sets=tuple(of_set(name) for name in sets))


@cache
def comparison():
    def points(num_layers, peak):
        return tuple(
            DepthPoint(
                layer=n,
                depth=n / (num_layers - 1),
                accuracy=score(0.95 - abs(n / (num_layers - 1) - peak)),
                match=around(0.6),
                background=around(0.1),
            )
            for n in range(num_layers)
        )

    models = (("olmo-1b", 16, 0.6), ("tiny-llama", 6, 0.4))
    return ModelComparison(
        models=tuple(name for name, _, _ in models),
        rows=tuple(
            ModelRow(
                model=name, set_name=of, num_queries=NUM, candidates=f"1 of {NUM}",
                full=score(0.92), best_tensor="model.layers.5.mlp.down_proj.weight",
                best_depth=peak, best=score(0.95),
                baselines=(NamedScore(name="bm25", score=score(0.88)),), num_heard=9.4,
            )
            for of in ("paraphrased", "generated")
            for name, _, peak in models
        ),
        curves=tuple(
            DepthCurve(model=name, set_name=of, kind=kind, name=unit,
                       points=points(num, peak))
            for of in ("paraphrased", "generated")
            for name, num, peak in models
            for kind, unit in (("layer", "layer"), ("layer_half", "mlp"),
                               ("layer_half", "attention"))
        ),
    )  # fmt: skip


_TOPICS = ("the tides", "a sonnet", "sorting a list", "moving to Oslo", "black holes",
           "sourdough bread", "a lease", "chess openings", "solar panels", "a flu shot",
           "the moon", "jazz chords")  # fmt: skip


@cache
def read_sets(sets=("paraphrased", "generated"), num=NUM):
    def made(sample_id, of, version, prompt, answer):
        return Sample(
            id=sample_id,
            original_id=of,
            version=version,
            messages=(
                Message(role="user", content=prompt),
                Message(role="assistant", content=answer),
            ),
        )

    topics = [f"{_TOPICS[n % len(_TOPICS)]} (case {n})" for n in range(num)]
    originals = tuple(
        made(f"s{n}", f"s{n}", "original",
             f"Can you explain {topic} to me in a few short sentences?",
             f"Of course. Here is what matters about {topic}.\n\nFirst, <b>look</b> "
             "at the `basics`; then at the details, one after the other.")
        for n, topic in enumerate(topics)
    )  # fmt: skip
    queries = tuple(
        made(f"{version}/s{n}", f"s{n}", version,
             f"In a handful of brief lines, what should I know about {topic}?",
             "Sure: start from the basics and go into detail step by step."
             if version == "generated"
             else f"Gladly. What counts with {topic} are the basics; details come "
             "later.")
        for version in sets
        for n, topic in enumerate(topics)
    )  # fmt: skip
    return SetsRead(
        originals=originals,
        queries=queries,
        original=tuple(range(num)) * len(sets),
        sets=tuple(version for version in sets for _ in range(num)),
        original_tokens=tuple(
            TokenCount(num_tokens=40 + n % 30, num_counted=20 + n % 9)
            for n in range(num)
        ),
        query_tokens=tuple(
            TokenCount(num_tokens=36 + n % 22, num_counted=15 + n % 7)
            for n in range(num * len(sets))
        ),
        same=(0, 0, *range(2, num)) if num > 2 else tuple(range(num)),
        remarks={f"{sets[0]}/s4": ("flagged: too short",)},
        left_out=(
            LeftOutSample(sample_id="s900", set_name="original", why="longer than 64"),
        ),
    )


@cache
def described():
    return describe_sets(read_sets())


def texts_of(read, ids):
    sides = [(f"original/{one.id}", "original", one) for one in read.originals]
    sides += [(o.id, of, o) for of, o in zip(read.sets, read.queries, strict=True)]
    return {
        key: SampleText(
            sample_id=one.id, set_name=of, prompt=one.prompt, answer=one.response,
            num_tokens=40,
        )
        for key, of, one in sides
        if one.id in ids
    }  # fmt: skip


def study(**changes):
    read = read_sets()
    ids = ["s3", "s4", "s5", "s7", "s9", "s11"]
    ids += [f"{of}/{i}" for of in ("paraphrased", "generated") for i in ids]
    values = {
        "measures": (
            MeasureStudy(name="gradients", study=retrieval()),
            MeasureStudy(name="activations", study=activations()),
        ),
        "settings": {
            "model": "tiny/llama-12",
            "data": "lima.jsonl",
            "queries": ["paraphrased.jsonl", "generated.jsonl"],
            "candidates": "all",
        },
        "versions": {"driftmap": "0", "torch": "2"},
        "model": ModelIdentity(
            source="tiny/llama-12", sha256="a" * 64, base_sha256="b" * 64,
            family="llama", dtype="float32", device="cpu", num_weights=700000,
        ),
        "sets": described(),
        "texts": texts_of(read, ids),
        "exactness": {
            "products": "Exact: every tensor's gradient, in float32, summed in "
            "float64; cosines are right to 2e-6.",
        },
    }  # fmt: skip
    return SimilarityStudy(**values | changes)
