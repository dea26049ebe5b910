"""What do the words of the drift page mean, for the groups that it shows?"""

from driftmap.render.drift_answer import EASILY, HARDLY
from driftmap.render.drift_ways import score_word, tuning_words
from driftmap.render.drift_words import declared_card, is_read, when_declared
from driftmap.render.page import Paragraph, Section, Terms
from driftmap.results.drift_study import DriftStudy

Entry = tuple[str, str]

READINGS = (
    (
        "A, fragile",
        "Tuning moves the behaviour's weights more than weights like them, and the "
        "behaviour goes with them. The ratio lies above the margin.",
    ),
    (
        "B, pathway creation",
        "Tuning moves those weights no more than others: it builds a way around them. "
        "The ratio lies below the margin although the behaviour changed.",
    ),
)

DRIFT = (
    (
        "weight",
        "One number of one of the model's matrices; fine-tuning changes weights.",
    ),
    (
        "drift",
        "How far a weight moved in fine-tuning: the size of its change, |dW|.",
    ),
)

CHANCE = (
    (
        "ratio",
        "Drift of a group over the drift of all comparable weights: 1 means alike, 2 "
        "twice as much, 0.5 half as much.",
    ),
    (
        "seed",
        "One repetition of the training with other random numbers. An interval says "
        "how much a result varies from one repetition to the next.",
    ),
    (
        "permutation",
        "The group's rows and columns are shuffled within each matrix, again and "
        "again, to see which ratios chance alone gives. p is the share of shuffles "
        f"at least as far out as what was seen: below {HARDLY} chance hardly gives "
        f"it, from {EASILY} on easily.",
    ),
)

JACCARD = (
    "Jaccard",
    "Overlap of two groups: weights in both over weights in either, 0 to 1.",
)

LOG_ODDS = (
    "log-odds",
    "A probability p as log(p / (1 - p)): 0 at one half.",
)


def words_section(study: DriftStudy) -> Section:
    """The two readings and the words that the page uses."""
    return Section(
        anchor="words",
        title="What is compared, and the words for it",
        nodes=[
            Paragraph(
                text="Fine-tuning can take a behaviour away, such as the refusal of "
                "harmful requests. Two readings of how it does so compete:"
            ),
            Terms(pairs=READINGS),
            Paragraph(text=f"To tell them apart, {_followed(study)}."),
            Terms(pairs=_glossary(study)),
        ],
    )


def _followed(study: DriftStudy) -> str:
    if is_read(study):
        return (
            "the weights that are said to carry the behaviour are followed through "
            "tuning, beside weights like them"
        )
    return (
        "the weights that carry the behaviour are found before tuning and followed "
        "through it, beside weights like them"
    )


def _glossary(study: DriftStudy) -> list[Entry]:
    margin = (
        "margin",
        f"How large a ratio must be to matter, declared {when_declared(study)}.",
    )
    ways = tuning_words(study)
    methods = ways if is_read(study) else [score_word(study), *ways, JACCARD]
    return [*DRIFT, *_groups(study), *CHANCE, margin, *methods, LOG_ODDS]


def _groups(study: DriftStudy) -> list[Entry]:
    card = declared_card(study)
    also = [c.name for c in study.groups[1:] if c.name in ("top", "utility")]
    if is_read(study):
        group = "A named set of weights."
        declared = f"The group in question, chosen elsewhere: {card.chosen}."
        others = "For comparison: groups chosen elsewhere as well."
    else:
        group = (
            "A named set of weights, chosen before training by how much certain "
            "answers depend on them."
        )
        declared = (
            "The group in question: weights that matter to the behaviour and not to "
            "ordinary ability (utility)."
        )
        others = (
            "For comparison: the weights that matter most to the behaviour, and those "
            "that matter most to ordinary ability, each by that alone."
        )
    matched = (
        "Its control: as many weights of the same sizes from the same matrices, none "
        "of them in another group."
    )
    return [
        ("group", group),
        (f"`{card.name}`", declared),
        ("`matched`", matched),
        *([(", ".join(f"`{name}`" for name in also), others)] if also else []),
        ("`random`", "For comparison: weights drawn blindly, of all sizes."),
    ]
