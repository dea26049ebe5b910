"""Which words does the page on an ablation use, and how was it measured?"""

from driftmap.render.page import Grid, Section, Terms
from driftmap.render.wording import percent
from driftmap.results.ablation import AblationStudy

DONE = {
    "zero": "set to zero",
    "restore": "put back to another model's values",
    "keep_only": "kept alone, all other scored weights set to zero",
    "scale": "scaled",
    "noise": "disturbed",
    "heads": "removed",
    "actsvd": "removed from what the matrices say",
    "projection": "removed from what the matrices say, but for what utility uses",
}
"""What was done, in words."""

ZEROS = (
    "Unstructured zeros make nothing smaller or faster: the matrices keep their size. "
    "They show what the model depends on."
)

WORDS = (
    (
        "dose",
        "share of the group that was taken; a larger dose holds every smaller one. At "
        "0 the model is untouched",
    ),
    (
        "refusal rate",
        "share of requests that the greedy answer refuses, judged by phrases",
    ),
    (
        "refusal log-odds",
        "log-odds, in nats, that the first token of the answer opens a refusal, mean "
        "over requests; read from one forward, without generation",
    ),
    (
        "accuracy",
        "share of held-out samples whose every response token is the model's first "
        "choice",
    ),
    (
        "answers under the intact model",
        "mean negative log-likelihood, in nats per token, that the untouched model "
        "gives to the answers. Not refusing is not complying: broken answers are very "
        "unlikely",
    ),
    (
        "null band",
        "from the lowest to the highest control: what taking as much of something else "
        "does",
    ),
)

METHOD = (
    (
        "Intervals of levels",
        "Rates: 95 % Wilson interval over prompts. Log-odds: bootstrap over prompts.",
    ),
    (
        "Group minus controls",
        "Paired by prompt; 95 % bootstrap that draws prompts and controls anew.",
    ),
    (
        "p-value",
        "Two-sided, 9,999 draws of random signs of the prompts' differences. One "
        "contrast is declared before anything is measured: refusal rate of the first "
        "group at the largest dose. All others are adjusted together (Benjamini and "
        "Hochberg).",
    ),
    (
        "A difference",
        "is called one where the declared p-value is at most .05, its interval leaves "
        "out 0 and the group lies beyond every control. Ability counts as kept where "
        "each accuracy is at most 10 points below the intact model's, and as collapsed "
        "below half of it.",
    ),
    ("The model", "is changed in memory and put back bit by bit after each dose."),
    ("Size and speed", ZEROS),
)


def words_section(study: AblationStudy) -> Section:
    """What the words of the page mean, and what was taken."""
    return Section(
        anchor="words",
        title="What was taken, and words on this page",
        nodes=[
            Grid(
                caption="What was taken at full dose, and what its controls are.",
                columns=("group", "size", "share", "chosen", "controls"),
                rows=[
                    (
                        f"`{g.name}`",
                        f"{g.num_units:,} {g.unit}",
                        percent(g.share),
                        " ".join(part for part in (f"{g.chosen}.", g.note) if part),
                        g.control,
                    )
                    for g in study.statistics.groups
                ],
                align_right=frozenset({1, 2}),
            ),
            Terms(pairs=WORDS),
        ],
    )


def method_section(study: AblationStudy) -> Section:
    """How the numbers came about."""
    return Section(
        anchor="method", title="How it was measured", nodes=[Terms(pairs=METHOD)]
    )
