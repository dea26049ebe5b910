"""What do the words of the page on experts mean, how was it measured, on what?"""

from driftmap.render.page import Facts, Node, Paragraph, Section, Terms
from driftmap.render.settings_section import settings_section
from driftmap.results.expert_study import ExpertFacts, ExpertStudy, ItemsKept

WORDS = (
    (
        "expert",
        "One of many small MLPs that share a layer's place. Each token passes a few of "
        "them only.",
    ),
    ("bank", "All experts of one layer; `E` is their number."),
    (
        "router",
        "The small matrix that chooses, for each token and layer, `K` of the experts "
        "and how much the answer of each counts.",
    ),
    (
        "attack",
        "A prompt with a harmful request in a form that the untouched model answers. "
        "`Held-out`: nothing was scored or tuned on it.",
    ),
    (
        "gradient score",
        "Mean size of the change that the loss asks of an expert's weights, given an "
        "unsafe prompt and a safe answer. Experts of some layers, and those that see "
        "many tokens, score high whatever the text.",
    ),
    (
        "routing score",
        "How much more often an expert is chosen on unsafe text than on safe text. A "
        "correlation: it follows topic and wording.",
    ),
    (
        "effect",
        "How refusal changes when experts are removed, re-routed or tuned: the only "
        "evidence of the three that says that they carry it.",
    ),
    (
        "matched random",
        "Experts drawn from the ones not chosen, each in the same layer and with about "
        "the same number of tokens as one that was: what chance gives.",
    ),
    (
        "chosen again",
        "Share of redrawn sets of prompts that choose the expert too. At 95 % and more "
        "the choice is firm.",
    ),
    (
        "Jaccard",
        "Overlap of two groups: experts in both over experts in either. 1 the same, 0 "
        "none in common.",
    ),
    (
        "refusal log-odds",
        "How likely the answer's first word opens a refusal against how likely it does "
        "not, as a logarithm. 0 is even odds; nothing needs to be generated.",
    ),
    (
        "safe prompt",
        "The plain request inside an attack. Routers are aligned to what the untouched "
        "model does with it.",
    ),
    (
        "saturation",
        "Of a token's experts before tuning, the share that it still goes to after.",
    ),
    ("pull", "How strongly the loss at one token asks for a change of an expert."),
)

METHOD = (
    (
        "Loss",
        "Per example, mean of -ln p over the tokens of the safe answer; prompts and "
        "padding never count.",
    ),
    (
        "Gradient score",
        "`mean_example_abs`: mean over examples of ||G||_1 / n, G the gradient of an "
        "example's loss at all n weights of the expert. Free of batch size and order.",
    ),
    (
        "Routing score",
        "Risk difference: share of unsafe tokens that choose the expert minus that of "
        "safe tokens; a layer's add up to 0. Only positive ones can be chosen.",
    ),
    (
        "Selection",
        "Highest scores first, ties by layer and number. Experts that no token came to "
        "are never chosen.",
    ),
    (
        "Intervals",
        "Bootstrap over examples, those of one request together; percentiles, 95 %. "
        "Differences between models are paired by prompt.",
    ),
    (
        "p and q",
        "p of a set: (1 + random sets that change at least as much) / (1 + random "
        "sets). q of an expert: labels unsafe and contrast dealt out anew, corrected "
        "for all experts (Benjamini and Hochberg).",
    ),
    (
        "Tuning",
        "AdamW over the chosen experts' weights alone, in float32, without weight "
        "decay. Routers: divergence of the routing of the unsafe prompt from that of "
        "the safe prompt in the model before round 1.",
    ),
    (
        "Removing",
        "The expert's weight in the sum of answers is set to 0; the other weights of "
        "the token stay. Re-routing: the router takes it last, or first.",
    ),
    (
        "Swap",
        "y(experts, routers), each old or new. Experts' share: "
        "((y(new, old) - y(old, old)) + (y(new, new) - y(old, new))) / 2; the routers' "
        "likewise.",
    ),
)

CITE = (
    "Risk difference and re-routing at inference: SteerMoE (arXiv:2509.09660) and RASA "
    "(arXiv:2602.04448). Token and gate shares: ESFT (arXiv:2407.01906). Aligning "
    "routers to safe prompts: SafeMoE (arXiv:2509.22745). Co-activation, saturation "
    "and vocabulary: OLMoE (arXiv:2409.02060). Cite those works for the questions, "
    "and driftmap for the numbers: `CITATION.cff`."
)


def words_section() -> Section:
    """What the words mean."""
    return Section(anchor="words", title="Words", nodes=[Terms(pairs=WORDS)])


def method_section(study: ExpertStudy) -> Section:
    """How the numbers came about, on which items, and whom to cite."""
    found = study.findings
    nodes: list[Node] = [
        Terms(pairs=METHOD),
        _items(found.items),
        _experts(found.facts),
        Paragraph(text=CITE),
    ]
    return Section(
        anchor="method", title="How it was measured, and how to cite it", nodes=nodes
    )


def model_section(study: ExpertStudy) -> Section:
    """The model, every setting and every version."""
    return settings_section(study.findings.model, study.settings, study.versions)


def _items(items: ItemsKept) -> Facts:
    pairs = [
        ("items read", f"{items.num_read:,}"),
        ("left out: attack did not work", f"{items.num_judged_out:,}"),
        ("left out: too long", f"{items.num_dropped:,}"),
        ("prompts cut to fit", f"{items.num_cut:,}"),
        ("scored and tuned on", f"{items.num_train:,}"),
        ("held out", f"{items.num_held_out:,}"),
        ("ordinary samples", f"{items.num_benign:,}"),
    ]
    if items.safe_response:
        pairs.append(("wanted answers", items.safe_response))
    if items.texts:
        pairs.append(("routing compares", _TEXTS.get(items.texts, items.texts)))
    return Facts(pairs=pairs)


_TEXTS = {
    "own": "unsafe prompt and unsafe answer with plain request and refusal",
    "same": "one refusal after both prompts",
}


def _experts(facts: ExpertFacts) -> Facts:
    scalars = sorted(set(facts.scalars))
    pairs = [
        ("weights of one expert", " or ".join(f"{n:,}" for n in scalars)),
        ("weights of the model", f"{facts.num_parameters:,}"),
        ("shared experts", f"{facts.num_shared:,}"),
    ]
    if facts.routing_law:
        pairs.append(("how routers choose", facts.routing_law))
    return Facts(pairs=pairs)
