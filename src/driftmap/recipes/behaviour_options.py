"""How much of what two models do is read?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourOptions:
    """What the steps on behaviour and on readings are given.

    Args:
        max_new_tokens: Longest answer to a request (tokens).
        batch_size: Prompts asked at a time; changes speed and memory alone (count).
        window: Most tokens of a text that are read at once (tokens); later windows
            share half of theirs with the one before.
        show: Texts, facts and answers that the report shows one by one (count).
        num_states: Texts and prompts, of each the first ones, whose hidden states,
            keys and values are compared (count).
        has_chance: Compare with a random change of the same size, where memory allows.
    """

    max_new_tokens: int = 32
    batch_size: int = 16
    window: int = 512
    show: int = 6
    num_states: int = 12
    has_chance: bool = True
