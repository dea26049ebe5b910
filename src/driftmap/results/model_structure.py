"""How do two models differ in what they are made of, before any weight is read?"""

from dataclasses import dataclass
from typing import Literal

TreeSource = Literal["configuration", "tensor names"]
"""What a tree of modules was read from: the model's own code, or the names in its
files, which know no classes."""

WrapKind = Literal[
    "lora", "dora", "embedding", "saved", "copied", "bias", "tokens", "other"
]
"""What an adapter does to a module: factors beside it, factors with lengths of rows,
factors beside an embedding, a trained copy of all of it, a copy that was not trained, a
trained bias, trained rows of single tokens, something else."""

TreeChange = Literal["same", "wrapped", "changed", "base-only", "tuned-only"]
"""How a module of the tuned model stands to that of the base: equal in kind and shape,
with an adapter on it, of another kind or shape, or in one of them alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrap:
    """What an adapter puts on one module.

    Args:
        kind: What it does there.
        rank: Of the factors; None where there are none.
        alpha: What the scale is made from; None where there are no factors.
        scale: What the product of the factors is multiplied by.
        num_trained: Weights that it stores for the module and that were trained.
    """

    kind: WrapKind
    rank: int | None
    alpha: float | None
    scale: float | None
    num_trained: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleLine:
    """One module of one model.

    Args:
        kind: Its class, such as `Linear`; empty where only names are known.
        shape: Of its weight, as stored; empty for a module without one.
        num_parameters: Weights in it and below it, once each (count).
        wrap: What an adapter puts on it; None for nothing.
    """

    kind: str
    shape: tuple[int, ...]
    num_parameters: int
    wrap: Wrap | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeRow:
    """One line of two trees side by side.

    Args:
        depth: How deep in the tree, from 0.
        name: The module's own name; `0-31` for equal neighbours that are folded.
        times: Modules that stand in this line; 1 where nothing is folded.
        base: The module before; None where the base lacks it or is not there.
        tuned: The module after; None where it lacks it.
        change: How the two stand to each other.
    """

    depth: int
    name: str
    times: int
    base: ModuleLine | None
    tuned: ModuleLine | None
    change: TreeChange


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeCount:
    """How much is stored in one number type.

    Args:
        dtype: As safetensors spells it: `F32`, `BF16`, ...
        num_tensors: Tensors (count).
        num_weights: Their entries (count).
    """

    dtype: str
    num_tensors: int
    num_weights: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOutline:
    """One model, from its configuration and the headers of its files.

    Args:
        source: Folder or hub id.
        model_type: As its configuration says; empty where there is none.
        architecture: Class of the model; empty where nothing names it.
        tree_from: What its tree was read from.
        num_parameters: Weights, each once (count).
        num_bytes: Of its weights on disk; None where they are not there.
        types: Number types, the largest share first; empty without weights.
        tied: Whether head and embedding are one tensor.
        quantisation: Method its weights are rounded by; empty for none.
    """

    source: str
    model_type: str
    architecture: str
    tree_from: TreeSource
    num_parameters: int
    num_bytes: int | None
    types: tuple[TypeCount, ...]
    tied: bool
    quantisation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedModules:
    """Modules that one adapter treats alike.

    Args:
        name: Their path, with ranges of numbers where they have numbers:
            `model.layers.0-31.self_attn.q_proj`.
        times: How many they are.
        shape: Rows and columns of what is added, `[out in]`; that of the stored tensor
            where there are no factors.
        wrap: What is put on each.
        dtype: Number type of what is stored.
    """

    name: str
    times: int
    shape: tuple[int, ...]
    wrap: Wrap
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSetting:
    """A setting and its value, written for a person."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterOutline:
    """What an adapter is made of.

    Args:
        source: Its folder.
        peft_type: `LORA` and the like.
        base_name: Model that it says it was made for; empty if it does not.
        settings: Rank, alpha, dropout and all else that decides what it adds.
        wrapped: What it puts where.
        num_trained: Weights that were trained (count).
        num_bytes: Of its file.
    """

    source: str
    peft_type: str
    base_name: str
    settings: tuple[NamedSetting, ...]
    wrapped: tuple[WrappedModules, ...]
    num_trained: int
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredShape:
    """Tensors of one shape that only one of two models has.

    Args:
        name: With ranges of numbers where there are several.
        times: How many they are.
        shape: Of each.
        dtype: Of each.
    """

    name: str
    times: int
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapePair:
    """Tensors that both models have, in another shape or number type.

    Args:
        name: With ranges of numbers where there are several.
        times: How many they are.
        base_shape: Of each, before.
        tuned_shape: Of each, after.
        base_dtype: Before.
        tuned_dtype: After.
    """

    name: str
    times: int
    base_shape: tuple[int, ...]
    tuned_shape: tuple[int, ...]
    base_dtype: str
    tuned_dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingPair:
    """A setting of a configuration that differs, as text; `-` where it is missing."""

    name: str
    base: str
    tuned: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerDiff:
    """How two tokenizers differ.

    Args:
        base_size: Tokens of the base (count).
        tuned_size: Tokens of the tuned model (count).
        only_base: Some tokens that only the base has.
        num_only_base: How many they are.
        only_tuned: Some tokens that only the tuned model has.
        num_only_tuned: How many they are.
        num_moved: Tokens of both that stand for another number.
        settings: Special tokens and other settings that differ.
        other_rules: Parts of `tokenizer.json` beside the tokens that differ, such as
            `merges` and `pre_tokenizer`.
        template_differs: Whether the template of chats differs.
    """

    base_size: int
    tuned_size: int
    only_base: tuple[str, ...]
    num_only_base: int
    only_tuned: tuple[str, ...]
    num_only_tuned: int
    num_moved: int
    settings: tuple[SettingPair, ...]
    other_rules: tuple[str, ...]
    template_differs: bool

    @property
    def is_same(self) -> bool:
        """Whether no difference was found."""
        counts = self.num_only_base, self.num_only_tuned, self.num_moved
        return not (any(counts) or self.other_rules or self.has_other_words)

    @property
    def has_other_words(self) -> bool:
        """Whether settings or the template of chats differ, which change no token."""
        return bool(self.settings) or self.template_differs


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureDiff:
    """Two models side by side: their modules, tensors, settings and tokenizers.

    Args:
        base_name: How the base was named.
        tuned_name: How what was made of it was named.
        base: The base; None where it is not at hand.
        why_no_base: Why it is not; empty where it is.
        tuned: The tuned model; None for an adapter.
        adapter: What was put on the base; None for a whole model.
        rows: Both trees, equal neighbours folded.
        only_base: Tensors that the tuned model lacks.
        only_tuned: Tensors that the base lacks; of an adapter, none.
        differing: Tensors of another shape or number type.
        settings: Settings of the configurations that differ.
        tokenizer: How tokenizers differ; None where one of them is not there.
        num_checkpoints: Checkpoints of the training (count); the last is shown.
    """

    base_name: str
    tuned_name: str
    base: ModelOutline | None
    why_no_base: str
    tuned: ModelOutline | None
    adapter: AdapterOutline | None
    rows: tuple[TreeRow, ...]
    only_base: tuple[StoredShape, ...]
    only_tuned: tuple[StoredShape, ...]
    differing: tuple[ShapePair, ...]
    settings: tuple[SettingPair, ...]
    tokenizer: TokenizerDiff | None
    num_checkpoints: int

    @property
    def has_same_shape(self) -> bool:
        """Whether both models have the same tensors in the same shapes and types."""
        return not (self.only_base or self.only_tuned or self.differing)
