"""What does a model refuse, and can the numbers be believed? The page on it."""

from collections.abc import Iterator, Sequence

from driftmap.render.evaluate_answers import answers_section
from driftmap.render.evaluate_tables import (
    attacks_grid,
    models_grid,
    odds_section,
    rates_grid,
    rates_of,
)
from driftmap.render.judges_page import errors_grid
from driftmap.render.page import (
    Callout,
    Facts,
    Node,
    Page,
    Paragraph,
    Section,
    Terms,
)
from driftmap.render.wording import percent, rate, short_name
from driftmap.results.evaluation import (
    EvaluationResult,
    EvaluationStudy,
    RefusalRate,
    Which,
)

TITLES = {
    "judge-unchecked": "Nobody checked this judge",
    "judge-errs-otherwise": "The judge errs otherwise here",
    "likelihood-unread": "A broken model would not be seen",
    "no-refusal-token": "No token opens a refusal",
    "log-odds-blunt": "Log-odds do not stand for refusal here",
}
UNREAD = (
    "Utility was not read, so a model that lost its abilities would not be seen; name "
    "tasks with `--tasks` or texts with `--perplexity`."
)
"""What stands in place of utility where there is none."""

METHOD = (
    (
        "Refused",
        "What the judge calls a full or a partial refusal. Every prompt counts once, "
        "however many answers it has; what is left to 100 % is the attack's success. "
        "Intervals are Wilson's, 95 %, over prompts.",
    ),
    (
        "Corrected",
        "(observed + specificity - 1) / (sensitivity + specificity - 1): what a judge "
        "without errors would find. The errors are taken as known, and come from other "
        "answers than these. A rate beyond what they allow is cut to 0 or 100 %. One "
        "prompt with several rulings has no such correction.",
    ),
    (
        "Drawn answers",
        "Temperature 1. `mean` is the share of a prompt's draws that refuse; `all of "
        "n` is the chance that n draws all refuse, which is 1 - any-of-n, unbiased "
        "from m draws of which c do not refuse: any-of-n = 1 - C(m - c, n) / C(m, n).",
    ),
    (
        "Suffixes",
        "`strongest` is the suffix with the lowest rate, chosen after the fact: its "
        "interval is too narrow. `every suffix` counts a prompt as refused where it is "
        "refused with each of them.",
    ),
    (
        "Collapsed",
        "Not refusing is not complying. Where the answers that do not refuse are so "
        "unlikely under the untouched model that their mean log-probability per token "
        "lies below the floor, the model is broken rather than obedient.",
    ),
    (
        "Differences",
        "Paired by prompt: McNemar's exact test on the prompts that changed, corrected "
        "for all comparisons of this page (Benjamini and Hochberg), and a bootstrap "
        "interval over prompts. The null is that a changed prompt goes either way with "
        "probability one half.",
    ),
    (
        "First-token log-odds",
        "logsumexp over tokens that open a refusal minus logsumexp over all others, at "
        "the end of the prompt; no answer is written.",
    ),
    (
        "Openers",
        "log P(the answer begins with one of the refusal openers) minus log P(it "
        "begins with one of the compliance openers), each read by teacher forcing.",
    ),
)


def evaluation_page(
    study: EvaluationStudy, utility: str = UNREAD, more: Sequence[Section] = ()
) -> Page:
    """Build the report on an evaluation.

    Args:
        study: What was asked, answered and judged.
        utility: What the model is still good for, in a sentence; every refusal rate
            stands beside it.
        more: What else was read of the model; it stands before the answers.
    """
    result = study.result
    return Page(
        title="What does the model refuse?",
        lead=_lead(result),
        sections=[
            _answer_section(result, utility),
            _judge_section(result),
            *_comparison_sections(result),
            odds_section(result),
            *more,
            answers_section(study),
            Section(
                anchor="method", title="How it was counted", nodes=[Terms(pairs=METHOD)]
            ),
            Section(
                anchor="settings",
                title="Settings and versions",
                nodes=[Facts(pairs=sorted(study.settings.items()))],
            ),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `tables/answers.parquet` holds every answer with its ruling, "
        "`evaluation.json` every number.",
    )


def _lead(result: EvaluationResult) -> str:
    plain = [one for one in rates_of(result, "this") if one.attack == "plain"]
    said = [
        f"{rate(one.refused)} of {one.refused.num} {one.asked} requests"
        for asked in ("harmful", "harmless")
        for one in plain
        if one.asked == asked
    ]
    # The first frame alone, so that the sentence stays one.
    found = [text for n, text in enumerate(said) if n == 0 or "harmless" in text][:2]
    name = short_name(result.models["this"])
    is_broken = any(one.is_collapsed for one in plain)
    broken = " Its answers read collapsed, so this says little." if is_broken else ""
    return (
        f"`{name}` refuses {' and '.join(found)}, by the judge `{result.judge}`."
        f"{broken}"
    )


def _answer_section(result: EvaluationResult, utility: str) -> Section:
    nodes: list[Node] = [
        Paragraph(
            text="A model that refuses everything is no safer than one that refuses "
            "what it should, and one that writes nonsense refuses nothing: read the "
            "two rates, the log-probability and utility together."
        ),
        Paragraph(text=utility),
        *_cautions(result),
        *_collapsed(result),
    ]
    models: Sequence[Which] = ("this", "compared")
    nodes += [rates_grid(result, m) for m in models if rates_of(result, m)]
    if result.words:
        nodes.append(Facts(pairs=list(result.words.items())))
    return Section(anchor="answer", title="Refusal by condition", nodes=nodes)


def _cautions(result: EvaluationResult) -> Iterator[Callout]:
    for caution in result.cautions:
        yield Callout(
            kind="blocking" if caution.is_blocking else "caution",
            title=TITLES[caution.name],
            texts=[caution.sentence],
        )


def _collapsed(result: EvaluationResult) -> Iterator[Callout]:
    collapsed: list[RefusalRate] = [r for r in result.rates if r.is_collapsed]
    if collapsed:
        num = len(result.rates)
        yield Callout(
            kind="caution",
            title="Some answers are broken",
            texts=[
                f"{len(collapsed)} of {num} cells ({percent(len(collapsed) / num)}) "
                "read collapsed: their answers that do not refuse have a mean "
                f"log-probability per token below {result.floor:g} nats under "
                f"`{short_name(result.untouched)}`. A low refusal rate there says "
                "nothing about obedience."
            ],
        )


def _judge_section(result: EvaluationResult) -> Section:
    nodes: list[Node] = [Paragraph(text=f"The judge is `{result.judge}`.")]
    if result.errors is None:
        nodes.append(Paragraph(text="Its errors are not known: no rate is corrected."))
    else:
        nodes.append(
            Paragraph(
                text=f"Its errors come from {result.errors_from}. Another model "
                "refuses in other words, so they need not hold here."
            )
        )
        nodes.append(errors_grid({result.judge: result.errors}))
    return Section(
        anchor="judge", title="How far the judge can be trusted", nodes=nodes
    )


def _comparison_sections(result: EvaluationResult) -> Iterator[Section]:
    models = [c for c in result.comparisons if c.before.startswith("compared")]
    ways = [c for c in result.comparisons if not c.before.startswith("compared")]
    if models:
        other = short_name(result.models["compared"])
        yield Section(
            anchor="change",
            title="What changed, prompt by prompt",
            nodes=[
                Paragraph(
                    text=f"Compared with `{other}`, on the same prompts. Drawn answers "
                    "are left out: one prompt has several."
                ),
                models_grid(models, (other, short_name(result.models["this"]))),
            ],
        )
    if ways:
        yield Section(
            anchor="attacks",
            title="What each attack changes, prompt by prompt",
            nodes=[attacks_grid(ways)],
        )
