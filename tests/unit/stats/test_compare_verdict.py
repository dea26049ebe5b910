"""The answer of a comparison says what was found, what was not, and what it is not."""

from driftmap.results.claims import Claim
from driftmap.stats.compare_verdict import (
    ATTENTION,
    FEW,
    LOCALISATION,
    compare_verdict,
    layers_named,
)


def claim(topic, standing="found", says="", layers=()):
    return Claim(
        topic=topic, says=says or f"{topic} {standing}.", standing=standing,
        layers=layers,
    )  # fmt: skip


def said(verdict, question):
    return next(part.says for part in verdict.parts if part.question == question)


def test_headings_come_in_order_and_tests_before_descriptions():
    verdict = compare_verdict(
        [
            claim("training"),
            claim("where", "context", "described."),
            claim("where", "found", "first."),
            claim("where", "found", "second."),
            claim("weights", "context", layers=(1,)),
            claim("behaviour"),
            claim("edits"),
            claim("edits", says="another of facts."),
            claim("traces"),
            claim("structure", "context"),
        ]
    )
    assert [part.question for part in verdict.parts] == [
        "What it is", "What it does", "What moved", "Where it acts", "When",
    ]  # fmt: skip
    assert said(verdict, "What it does") == ("edits found.", "behaviour found.")
    assert said(verdict, "Where it acts")[0] == "first."


def test_of_what_acts_sentences_with_layers_come_first():
    claims = [claim("where", says=f"plain {n}.") for n in range(3)]
    named = claim("where", says="layer 2 acts.", layers=(2,))
    verdict = compare_verdict([*claims, named])
    assert said(verdict, "Where it acts") == ("layer 2 acts.", "plain 0.", "plain 1.")


def test_what_is_not_told_stands_by_itself_once_a_topic():
    verdict = compare_verdict(
        [
            claim("behaviour", "inconclusive", "may be chance."),
            claim("behaviour", "not-found", "no difference."),
            claim("training", "inconclusive", "when cannot be told."),
        ]
    )
    assert verdict.parts == ()
    assert verdict.unsettled == ("may be chance.", "when cannot be told.")
    assert verdict.headline == (
        "No change of behaviour can be told from chance on these probes."
    )


def test_headlines_follow_weights_and_output():
    def headline(*claims, **known):
        return compare_verdict(claims, **known).headline

    both = {"has_same_weights": True, "has_same_output": True}
    assert headline(**both).endswith("equal, bit for bit.")
    assert headline(has_same_weights=True) == (
        "The two models are identical: no weight differs."
    )
    only_settings = {"has_same_weights": True, "has_same_output": False}
    assert headline(claim("edits"), **only_settings).startswith("The tuned model does")
    apart = headline(has_same_weights=False, has_same_output=True)
    assert apart.endswith("bit for bit, though weights differ.")
    assert headline(claim("edits")).startswith("The tuned model does otherwise")
    assert headline(has_same_weights=False).startswith("Weights differ; what")
    assert headline().startswith("How the two models are built")


def test_what_moved_and_what_acts_meet_or_do_not():
    moved = claim("weights", "context", layers=(2, 3))
    meets = compare_verdict([moved, claim("where", layers=(3, 5))])
    assert said(meets, "Where it acts")[-1] == (
        "What moved and what acts meet: layer 3 is named by both."
    )
    apart = compare_verdict([moved, claim("where", layers=(5,))])
    assert said(apart, "Where it acts")[-1] == (
        "What moved most (layers 2 and 3) is not what acts (layer 5): how far weights "
        "move does not say what they do."
    )
    untold = claim("where", "inconclusive", layers=(5,))
    assert layers_named([untold], ("where",)) == ()
    assert LOCALISATION not in compare_verdict([moved, untold]).cautions


def test_cautions_come_with_what_they_are_about():
    where = claim("where", layers=(1,))
    assert compare_verdict([where]).cautions == (LOCALISATION,)
    near = claim("attention", "context", layers=(1, 2))
    assert compare_verdict([where, near]).cautions == (LOCALISATION, ATTENTION)
    far = claim("attention", "context", layers=(4,))
    assert compare_verdict([where, far]).cautions[1] == (
        ATTENTION + " Here it moved most in layer 4, and what acts is layer 1."
    )
    assert compare_verdict([], is_built_in=True).cautions == (FEW,)
