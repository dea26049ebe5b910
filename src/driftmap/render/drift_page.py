"""Do the weights that carry a behaviour drift more? The page that answers it."""

from driftmap.render.drift_answer import answer_section, words_section
from driftmap.render.drift_behaviour import behaviour_section
from driftmap.render.drift_cautions import cautions_at
from driftmap.render.drift_evidence import chance_section, evidence_section
from driftmap.render.drift_metrics import metrics_section
from driftmap.render.page import Facts, Folded, Grid, Page, Section, Terms
from driftmap.render.wording import number, percent, short_name
from driftmap.results.drift_study import DriftStudy

METHOD = (
    (
        "1. Score",
        "Every weight of every linear map inside the blocks gets its SNIP score on "
        "the behaviour's samples and on the utility samples: |weight| times the mean "
        "over samples of |gradient| (Wei et al. 2024).",
    ),
    (
        "2. Group",
        "`difference` holds the weights among the top q by behaviour score that are "
        "not among the top p by utility score. `top` and `utility` are the highest by "
        "either score alone, `random` is drawn blindly, and `matched` has as many "
        "weights as `difference` in each of 40 bins of |weight| of each matrix, "
        "outside every other group.",
    ),
    (
        "3. Tune",
        "A LoRA adapter is trained under several seeds. Drift is read from the "
        "adapter's factors in float64, without merging, so that no rounding of the "
        "model's own number type can hide or invent a change.",
    ),
    (
        "4. Compare",
        "The ratio is the group's drift over that of all weights of the same size "
        "bins outside every group, averaged as logarithms over matrices; what chance "
        "alone puts into the logarithm of a ratio of few weights is taken out. "
        "Training seeds are the sample: intervals are t intervals over seeds. Weights "
        "are not independent, so chance is measured by permuting the group's rows and "
        "columns (whole heads in attention), which keeps its clustering.",
    ),
    (
        "5. Decide",
        "One test was declared before training: `difference` against its matched "
        "control, absolute change, last step. A needs the whole 90 % interval above "
        "the margin, B needs it below while the behaviour changed. All other p-values "
        "are corrected together (Benjamini and Hochberg 1995).",
    ),
)


def drift_page(study: DriftStudy) -> Page:
    """Build the report of a drift study."""
    settings = study.settings
    seeds = study.statistics.num_seeds
    data = {
        name: short_name(str(settings[name]))
        for name in ("behaviour", "utility", "tune_on")
    }
    return Page(
        title="Do the weights that carry this behaviour drift more than comparable "
        "weights?",
        lead=f"Model `{short_name(study.model.source)}`, fine-tuned on "
        f"`{data['tune_on']}` under {seeds} seed{'s' * (seeds != 1)}. The behaviour is "
        f"shown by the samples of `{data['behaviour']}`, ordinary ability by those of "
        f"`{data['utility']}`.",
        sections=[
            answer_section(study),
            words_section(),
            behaviour_section(study),
            evidence_section(study),
            chance_section(study),
            metrics_section(study),
            _method_section(study),
            _settings_section(study),
        ],
        footer="Made by driftmap. `report.txt` beside this page says the same as plain "
        "text, `figures/` holds its charts as PNG and SVG, `tables/` and "
        "`statistics.json` every number. `driftmap report RUN` draws it again; "
        "`driftmap run RUN --out ELSEWHERE` repeats the study.",
    )


def _method_section(study: DriftStudy) -> Section:
    groups = Grid(
        caption="The groups. Shares are of all scored weights. Reproducible: overlap "
        "(Jaccard, 0 to 1) of the groups that two halves of the samples choose, and "
        "what random groups of their sizes would share.",
        columns=(
            "group",
            "weights",
            "share",
            "reproducible",
            "by chance",
            "how it was chosen",
        ),
        rows=[
            (
                f"`{g.name}`",
                f"{g.num_weights:,}",
                percent(g.share),
                number(g.agreement),
                number(g.agreement_by_chance),
                g.chosen,
            )
            for g in study.groups
        ],
        align_right=frozenset({1, 2, 3, 4}),
    )
    return Section(
        anchor="method",
        title="How it was measured",
        nodes=[
            Terms(pairs=METHOD),
            *cautions_at(study, "group"),
            groups,
        ],
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
            Folded(summary="All settings, as in run.yaml", nodes=[settings]),
            Folded(summary="Versions", nodes=[versions]),
        ],
    )


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "not set" if value is None else str(value)
