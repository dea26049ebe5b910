"""Rows of originals and their versions, small enough for tiny models."""

from itertools import count, islice
from pathlib import Path

from tiny_studies import write_rows

THINGS = ("lamp", "river", "stone", "cloud", "wheel", "glass", "paper", "sugar")


def row(sample_id, original_id, version, prompt, response):
    return {
        "id": sample_id,
        "original_id": original_id,
        "version": version,
        "messages": [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": response},
        ],
    }


def save_similar_rows(folder: Path, num: int = 8) -> dict[str, Path]:
    """Originals, paraphrases that share their answer, and others that do not."""
    names = (
        f"{thing}{'' if turn == 0 else turn}" for turn in count() for thing in THINGS
    )
    named = list(enumerate(islice(names, num)))
    originals = [
        row(f"s{n}", f"s{n}", "original", f"where is the {thing}", f"{thing} is {n}")
        for n, thing in named
    ]
    paraphrased = [
        row(f"s{n}p", f"s{n}", "paraphrased", f"find a {thing} now", f"{thing} is {n}")
        for n, thing in named
    ]
    generated = [
        row(f"s{n}g", f"s{n}", "generated", f"find a {thing} now", f"it is {thing}")
        for n, thing in named
    ]
    return {
        "originals": write_rows(folder / "originals.jsonl", originals),
        "paraphrased": write_rows(folder / "paraphrased.jsonl", paraphrased),
        "generated": write_rows(folder / "generated.jsonl", generated),
    }
