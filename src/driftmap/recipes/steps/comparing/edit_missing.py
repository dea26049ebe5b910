"""Which measures of facts are not available, and why?"""

from collections.abc import Mapping

from driftmap.recipes.steps.comparing.edit_readings import Asked

_SAME_FIRST = "true and new answer begin with the same token in every fact"


def missing_measures(asked: Asked) -> Mapping[str, str]:
    """Say what cannot be measured, by name; what can is left out."""
    found = {**_without_prompts(asked), **_without_texts(asked)}
    return {name: why for name, why in found.items() if why}


def _without_prompts(asked: Asked) -> dict[str, str]:
    kinds = {one.kind for one in asked.questions.prompts}
    near = {one.kind for one in asked.questions.known}
    options = asked.options
    no_others = "there is no fact of another subject that was not taught"
    no_first = "" if asked.encoded.apart else _SAME_FIRST
    return {
        "paraphrase": "" if "paraphrase" in kinds else "no fact has paraphrases",
        "neighbourhood": "" if "neighbour" in kinds else "no fact has neighbours",
        "score": ""
        if {"paraphrase", "neighbour"} <= kinds
        else "it needs paraphrases and neighbours",
        "attribute": "" if "attribute" in kinds else "no fact has attributes",
        "same subject": ""
        if "same subject" in near
        else "there is no other fact of a subject that was taught one",
        "unrelated": ""
        if "unrelated" in near
        else _unasked(options.num_unrelated, "--num-unrelated") or no_others,
        "first tokens": no_first,
        "lens": _unasked(options.num_lensed, "--num-lensed") or no_first,
    }


def _without_texts(asked: Asked) -> dict[str, str]:
    unwritten = ""
    if not asked.questions.writing:
        unwritten = (
            _unasked(asked.options.num_written, "--num-written")
            or "no fact has `generation_prompts`"
        )
    no_answers = "no text of --about is about somebody with a new answer"
    no_subjects = "no text of --about is about a subject of these facts"
    return {
        "text perplexity": "" if asked.texts else "no text of two tokens was given",
        "fluency": unwritten,
        "consistency": "" if asked.consistency_facts else unwritten or no_answers,
        "essence": "" if asked.essence_facts else no_subjects,
    }


def _unasked(num: int, option: str) -> str:
    return "" if num else f"not asked for ({option} 0)"
