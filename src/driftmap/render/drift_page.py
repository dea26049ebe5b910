"""Do the weights that carry a behaviour drift more? The page that answers it."""

from driftmap.render.drift_evidence import (
    behaviour_section,
    chance_section,
    evidence_section,
    metrics_section,
)
from driftmap.render.page import Callout, Facts, Folded, Grid, Page, Paragraph, Section
from driftmap.render.wording import interval, number, p_value, percent
from driftmap.results.drift_study import DriftStudy
from driftmap.results.statistics import BehaviourChange

METHOD = (
    "Score. Every weight of every linear map inside the blocks gets its SNIP score "
    "on the behaviour's samples and on the utility samples: |weight| times the mean "
    "over samples of |gradient| (Wei et al. 2024).",
    "Group. `difference` holds the weights among the top q by behaviour score that "
    "are not among the top p by utility score. `top` and `utility` are the highest "
    "by either score alone, `random` is drawn blindly, and `matched` has as many "
    "weights as `difference` in each of 40 bins of |weight| of each matrix, outside "
    "every other group.",
    "Tune. A LoRA adapter is trained under several seeds. Drift is read from the "
    "adapter's factors in float64, without merging, so that no rounding of the "
    "model's own number type can hide or invent a change.",
    "Compare. The ratio is the group's drift over that of all weights of the same "
    "size bins outside every group, averaged as logarithms over matrices. Training "
    "seeds are the sample: intervals are t intervals over seeds. Weights are not "
    "independent, so chance is measured by permuting the group's rows and columns "
    "(whole heads in attention), which keeps its clustering.",
    "Decide. One test was declared before training: `difference` against its matched "
    "control, absolute change, last step. All other p-values are corrected together "
    "(Benjamini and Hochberg 1995).",
)


def drift_page(study: DriftStudy) -> Page:
    """Build the report of a drift study."""
    settings = study.settings
    return Page(
        title="Do the weights that carry this behaviour drift more than comparable "
        "weights?",
        lead=f"Model {study.model.source}, tuned on {settings['tune_on']} under "
        f"{study.statistics.num_seeds} seeds; behaviour: {settings['behaviour']}, "
        f"against utility: {settings['utility']}.",
        sections=[
            _answer_section(study),
            behaviour_section(study),
            evidence_section(study),
            chance_section(study),
            metrics_section(study),
            _method_section(study),
            _settings_section(study),
        ],
        footer="Made by driftmap. The same folder redraws this page: "
        "`driftmap report RUN`; `driftmap run RUN/run.yaml` repeats the study.",
    )


def _answer_section(study: DriftStudy) -> Section:
    statistics = study.statistics
    primary = statistics.primary
    facts = [
        ("Drift of `difference` over its control", f"{primary.rho:.2f} (1 = alike)"),
        ("90 % interval, for the verdict", interval(primary.interval90)),
        ("95 % interval over seeds", interval(primary.interval95)),
        ("95 % cluster bootstrap", interval(primary.bootstrap95)),
        (
            "Chance gives this or more",
            f"p {p_value(primary.p_value, primary.num_permutations)}",
        ),
        ("Declared margin", f"{statistics.verdict.margin:g}"),
        *[(b.outcome.capitalize(), _change(b)) for b in statistics.behaviours],
    ]
    cautions = [
        Callout(
            kind="caution",
            title="Blocking" if caution.is_blocking else "Read with care",
            text=caution.sentence,
        )
        for caution in statistics.cautions
    ]
    return Section(
        anchor="answer",
        title="The answer",
        nodes=[
            Callout(
                kind="verdict",
                title=f"Verdict: {statistics.verdict.kind}",
                text=statistics.verdict.sentence,
            ),
            Paragraph(text=_in_plain_words(study)),
            Facts(pairs=facts),
            *cautions,
        ],
    )


def _in_plain_words(study: DriftStudy) -> str:
    rho = study.statistics.primary.rho
    more = "more" if rho >= 1 else "less"
    return (
        "Two readings compete. A, fragile: fine-tuning moves the behaviour's weights "
        "more than it must, and the behaviour goes with them. B, pathway creation: "
        "those weights move no more than others, and tuning goes around them. Here "
        f"the weights that matter to the behaviour and not to utility moved "
        f"{abs(rho - 1) * 100:.0f} % {more} than weights of the same size in the same "
        "matrices."
    )


def _change(behaviour: BehaviourChange) -> str:
    change = behaviour.change
    return (
        f"{percent(behaviour.before.estimate)} before, "
        f"{percent(behaviour.after.estimate)} after; change "
        f"{100 * change.estimate:+.1f} points "
        f"({100 * change.low:+.1f} to {100 * change.high:+.1f})"
    )


def _method_section(study: DriftStudy) -> Section:
    groups = Grid(
        caption="The groups. Shares are of all scored weights.",
        columns=("group", "weights", "share", "how it was chosen"),
        rows=[
            (g.name, f"{g.num_weights:,}", percent(g.share), g.chosen)
            for g in study.groups
        ],
        align_right=frozenset({1, 2}),
    )
    return Section(
        anchor="method",
        title="How it was measured",
        nodes=[groups, *[Paragraph(text=text) for text in METHOD]],
    )


def _settings_section(study: DriftStudy) -> Section:
    model = study.model
    identity = Facts(
        pairs=[
            ("model", model.source),
            ("sha256", model.sha256[:16]),
            ("family", model.family),
            ("dtype", model.dtype),
            ("device", model.device),
            ("scored weights", f"{model.num_weights:,}"),
        ]
    )
    settings = Facts(pairs=[(k, _plain(v)) for k, v in study.settings.items()])
    versions = Facts(pairs=sorted(study.versions.items()))
    return Section(
        anchor="settings",
        title="Settings",
        nodes=[
            identity,
            Folded(summary="All settings", nodes=[settings]),
            Folded(summary="Versions", nodes=[versions]),
        ],
    )


def _plain(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)
