"""What does a finished run of attention hold for whoever draws it?"""

from collections.abc import Mapping
from dataclasses import dataclass

from driftmap.results.attention import (
    AttentionMaps,
    AttentionNumbers,
    AttentionPlace,
    AttentionPrompt,
    AttentionRows,
    KnockOuts,
    QueryFindings,
)
from driftmap.results.provenance import ModelIdentity


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadAttention:
    """What was read of all prompts, and rows of those that are shown.

    Args:
        places: Where the model attends, in the order of layers.
        num_layers: Blocks of the model (count).
        prompts: All that were read.
        numbers: Of every prompt and query.
        rows: Of the prompts that are shown.
        maps: Of those that are shown whole.
        left_out: Why others could not be read -> how many.
    """

    places: tuple[AttentionPlace, ...]
    num_layers: int
    prompts: tuple[AttentionPrompt, ...]
    numbers: tuple[AttentionNumbers, ...]
    rows: tuple[AttentionRows, ...]
    maps: tuple[AttentionMaps, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedTokens:
    """One prompt: what the state of each token brings back.

    Args:
        prompt_id: Which prompt.
        total_effect: What noise on the subject takes from the answer's probability.
        effects: Of each token of the prompt: the most that any layer brings back.
    """

    prompt_id: str
    total_effect: float
    effects: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionEffects:
    """What was done to the first prompts.

    Args:
        window: Layers whose edges were cut together (count).
        knock_outs: Of each prompt with a subject and room for a control.
        traced: Of each prompt with a subject.
        noise_level: Standard deviation of the noise.
        num_draws: Draws of it (count).
    """

    window: int
    knock_outs: tuple[KnockOuts, ...]
    traced: tuple[TracedTokens, ...]
    noise_level: float
    num_draws: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionFindings:
    """All that a run says.

    Args:
        model: The model as loaded.
        places: Where it attends.
        num_layers: Blocks (count).
        queries: Averages of each kind of row.
        prompts: Those that are shown.
        rows: Their rows.
        maps: Whole maps of some of them.
        knock_outs: Those of shown prompts.
        num_read: Prompts that were read (count).
        num_known: Prompts whose given answer is the model's first choice (count).
        num_cut: Prompts whose edges were cut (count).
        num_traced: Prompts whose tokens were traced to some effect (count).
        window: Layers whose edges were cut together; None where none were.
        left_out: Why others could not be read -> how many.
    """

    model: ModelIdentity
    places: tuple[AttentionPlace, ...]
    num_layers: int
    queries: tuple[QueryFindings, ...]
    prompts: tuple[AttentionPrompt, ...]
    rows: tuple[AttentionRows, ...]
    maps: tuple[AttentionMaps, ...]
    knock_outs: tuple[KnockOuts, ...]
    num_read: int
    num_known: int
    num_cut: int
    num_traced: int
    window: int | None
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionStudy:
    """The findings, with what is needed to repeat them.

    Args:
        settings: The resolved recipe, option -> value.
        findings: What was found.
        versions: Package -> version.
    """

    settings: Mapping[str, object]
    findings: AttentionFindings
    versions: Mapping[str, str]
