"""Questions with choices, of one task or several, made up from a few words."""

import numpy as np

from driftmap.results.utility import ChoiceItem

WORDS = [
    "blue",
    "green",
    "sky",
    "salt",
    "water",
    "one",
    "two",
    "three",
    "four",
    "seven",
    "cannot",
    "help",
]


def items(count=24, *, task="colours", seed=0):
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        drawn = rng.choice(WORDS, 2 + number % 3, replace=False).tolist()
        before = "" if number % 2 else " "
        made.append(
            ChoiceItem(
                task=task,
                item_id=f"{task}-{number}",
                context=f"What colour is {WORDS[number % 12]}?{before}",
                choices=tuple(f"{'' if before else ' '}{word}" for word in drawn),
                answer=int(rng.integers(len(drawn))),
            )
        )
    return made
