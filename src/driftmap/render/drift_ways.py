"""By which score were weights chosen, and in which way was the model tuned?"""

from driftmap.render.drift_words import is_tuned_elsewhere
from driftmap.results.drift_study import DriftStudy

_GRADIENT = "the mean over samples of |gradient|"
_FACTORS = {
    "weight": "|weight| times ",
    "difference": "|weight - weight of the base model| times ",
    "none": "",
}
_SCORES = {
    "wanda": "its Wanda score on {samples}: |weight| times the root mean square of its "
    "inputs (Sun et al. 2024)",
    "magnitude": "its size as score",
    "difference": "its distance from the base model's weight as score",
    "random": "a random number as score",
}

Entry = tuple[str, str]

_WORDS: dict[str, Entry] = {
    "snip": (
        "SNIP",
        "The score by which weights are chosen: how much an answer's loss would change "
        "if the weight were 0, to first order.",
    ),
    "gradient": (
        "score",
        "What weights are chosen by: how steeply an answer's loss depends on them.",
    ),
    "wanda": (
        "Wanda",
        "The score by which weights are chosen: the size of a weight times the size of "
        "what it is multiplied by.",
    ),
    "other": ("score", "What weights are chosen by; here it looks at no sample."),
}

_LORA = (
    "LoRA",
    "Fine-tuning by adding a product of two thin matrices to each frozen matrix.",
)
_DORA = ("DoRA", "LoRA that learns the length of each row apart from its direction.")
_FULL = ("full fine-tuning", "Training every number of the model.")


def score_text(study: DriftStudy) -> str:
    """How every weight was scored, as a sentence."""
    score, factor = _score(study)
    samples = "the behaviour's samples and on the utility samples"
    if score == "snip":
        what = f"its SNIP score on {samples}: {_FACTORS[factor]}{_GRADIENT}"
        what += " (Wei et al. 2024)"
    elif score == "snip_batch":
        what = f"a score on {samples}: {_FACTORS[factor]}|mean gradient|"
    else:
        what = _SCORES[score].format(samples=samples)
    return f"Every weight of every linear map inside the blocks gets {what}."


def score_word(study: DriftStudy) -> Entry:
    """The score's name, and what it means."""
    score, factor = _score(study)
    if score in ("snip", "snip_batch"):
        return _WORDS["snip" if (score, factor) == ("snip", "weight") else "gradient"]
    return _WORDS["wanda" if score == "wanda" else "other"]


def tuning_text(study: DriftStudy) -> str:
    """How the model was tuned, as sentences."""
    if is_tuned_elsewhere(study):
        return _elsewhere(study)
    settings = study.settings
    if settings.get("tune") == "full":
        return "Every parameter is trained, in float32, under several seeds."
    kind = "rank-scaled LoRA" if settings.get("rslora") else "LoRA"
    dora = ", with DoRA for the lengths of the rows," * bool(settings.get("dora"))
    rounded = ", on weights rounded to 4 bits" * is_on_four_bits(study)
    text = f"A {kind} adapter{dora} is trained under several seeds{rounded}."
    chosen = settings.get("target_modules") or settings.get("lora_parts") or ()
    if isinstance(chosen, list | tuple) and chosen:
        text += f" It sits on {', '.join(f'`{name}`' for name in chosen)} alone."
    return text


def tuning_words(study: DriftStudy) -> list[Entry]:
    """Names of the ways of tuning, and what they mean."""
    is_full = study.settings.get("tune") == "full" and not is_tuned_elsewhere(study)
    if is_full or is_whole(study):
        return [_FULL]
    has_dora = any(c.name == "dora" for c in study.statistics.cautions)
    return [_LORA, _DORA] if has_dora or study.settings.get("dora") else [_LORA]


def is_whole(study: DriftStudy) -> bool:
    """Whether drift is the difference of whole models."""
    return any(c.name == "whole-models" for c in study.statistics.cautions)


def is_on_four_bits(study: DriftStudy) -> bool:
    """Whether the weights under the adapters are rounded to 4 bits."""
    return study.settings.get("tune") == "qlora"


def _score(study: DriftStudy) -> tuple[str, str]:
    settings = study.settings
    return str(settings.get("score", "snip")), str(settings.get("factor", "weight"))


def _elsewhere(study: DriftStudy) -> str:
    if is_whole(study):
        return (
            "Whole models were trained elsewhere, each in a training run of its own. "
            "At step 0, before training, no weight has moved."
        )
    rounded = " They sit on weights rounded to 4 bits." * is_on_four_bits(study)
    return (
        "The LoRA adapters were trained elsewhere, each in a training run of its own."
        f"{rounded} At step 0, before training, no weight has moved, whether or not "
        "that adapter was saved."
    )
