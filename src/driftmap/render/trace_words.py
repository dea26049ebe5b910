"""Which words does the page on traces use for the same thing?"""

from driftmap.render.token_charts import Hue
from driftmap.results.trace_kinds import (
    EXACT,
    Noise,
    NoiseKind,
    Outcome,
    TokenRole,
    TraceKind,
    TraceMethod,
)
from driftmap.results.trace_study import TraceFindings
from driftmap.results.traces import RoleEffects, TraceGrid

PLAIN: tuple[TraceKind, ...] = ("hidden", "mlp", "attn")
"""Kinds that have maps of their own."""

HUES: dict[TraceKind, Hue] = {"hidden": "hidden", "mlp": "mlp", "attn": "attn"}

PUT_BACK: dict[TraceKind, str] = {
    "hidden": "one block's output",
    "mlp": "MLP outputs",
    "attn": "attention outputs",
    "severed_mlp": "one block's output, MLP severed",
    "severed_attn": "one block's output, attention severed",
}
"""What was put back, by kind."""

BAR_ROLES: dict[TraceKind, str] = {
    "hidden": "restored hidden",
    "severed_mlp": "restored mlp",
    "severed_attn": "restored attn",
}

ROLE_COLOURS: dict[TokenRole, str] = {
    "first subject": "down",
    "middle subject": "o",
    "last subject": "v",
    "first later": "up",
    "further": "random",
    "last": "q",
}
"""Whose colour the line of a role has."""

UNITS: dict[Outcome, str] = {
    "prob": "probability",
    "log_prob": "nats",
    "logit": "logit",
    "logit_difference": "logits",
    "rank": "places",
    "kl": "nats",
}

NOISES: dict[NoiseKind, str] = {
    "gaussian": "Gaussian noise of standard deviation {level}",
    "uniform": "uniform noise of at most {level}",
    "embedding_gaussian": "noise with the mean and covariance of embeddings",
    "student_t": "Student t noise of the variance of {level}",
    "swap": "the embeddings of other subjects of as many tokens",
    "zero": "zeros",
    "mean": "the mean embedding",
}

METHODS: dict[TraceMethod, str] = {
    "wavefront": "exact: only what a restored state can reach is run again, all "
    "layers of a token as one batch",
    "resume": "exact: every cell is run again from its own layer on",
    "naive": "exact: every cell is a whole run",
    "attribution": "estimated from one gradient at the corrupted run",
    "integrated": "estimated from gradients between corrupted and clean embeddings",
    "grad_drop": "estimated from gradients, one with each block cut out: sizes "
    "without a sign",
}

EDITING = (
    "Where a trace peaks does not tell where editing works best: localisation explains "
    "almost none of how well edits of a layer succeed (Hase et al. 2023, "
    "arXiv:2301.04213). Layers named here say where the answer can be read from, and "
    "nothing about where to change it."
)

CAUTION_TITLES = {
    "unknown": "Many facts that the model does not know",
    "left-out": "Facts that were not traced",
    "one-token": "Subjects of a single token",
    "small-effect": "A small effect to begin with",
    "no-control": "No control outside the subject",
    "strong-control": "Noise elsewhere matters too",
    "negative": "Noise that helps",
    "estimated": "Estimated, not traced",
    "few-subjects": "Few subjects",
    "weak-estimate": "The estimate agrees badly",
}
"""By the names that stats gives them."""


def put_back(kind: TraceKind, window: int | None, method: TraceMethod) -> str:
    """What was put back, and whether what it brings is estimated.

    >>> put_back("mlp", 10, "wavefront"), put_back("hidden", None, "attribution")
    ('MLP outputs, 10 layers at once', "one block's output (estimated)")
    """
    estimated = "" if method in EXACT else " (estimated)"
    if window is None:
        return f"{PUT_BACK[kind]}{estimated}"
    layers = "1 layer" if window == 1 else f"{window} layers"
    return f"{PUT_BACK[kind]}, {layers} at once{estimated}"


def what_was_put_back(of: RoleEffects | TraceGrid) -> str:
    """The same of averages or of one prompt."""
    return put_back(of.kind, of.window, of.method)


def noise_words(noise: Noise) -> str:
    """What was done to the subject's embeddings, as running text.

    >>> noise_words(Noise(level=0.12))
    'Gaussian noise of standard deviation 0.12 is added, in 10 draws, seed 1'
    """
    level = "unknown size" if noise.level is None else f"{noise.level:.3g}"
    what = NOISES[noise.kind].format(level=level)
    if noise.kind in ("swap", "zero"):
        done = f"{what} stand in their place"
    elif noise.replaces or noise.kind == "mean":
        done = f"{what} stands in their place"
    else:
        done = f"{what} is added"
    if noise.num_draws == 1:
        return f"{done}, once"
    return f"{done}, in {noise.num_draws} draws, seed {noise.seed}"


def outcome_title(outcome: Outcome, what: str) -> str:
    """A title of an axis: what is shown, with its unit.

    >>> outcome_title("log_prob", "effect")
    'effect (nats)'
    """
    return f"{what} ({UNITS[outcome]})"


def layer_title(window: int | None) -> str:
    """What columns are: layers, or windows named by the layer in their middle."""
    return "layer" if window is None else "layer in the middle of the window"


def kinds_of(found: TraceFindings) -> list[TraceKind]:
    """Kinds that have averages and maps of their own, in a fixed order."""
    return [kind for kind in PLAIN if found.of_kind(kind) is not None]


def several(num: int, what: str) -> str:
    """A count with its noun.

    >>> several(1, "fact"), several(1200, "fact")
    ('1 fact', '1,200 facts')
    """
    return f"{num:,} {what}" if num == 1 else f"{num:,} {what}s"


def answer_words(grid: TraceGrid) -> str:
    """The answer of a grid, with what it is compared with."""
    against = f" against `{grid.foil.strip()}`" if grid.foil else ""
    return f"`{grid.answer.strip()}`{against}"
