"""What was taught to a model, how, at what cost, and what does it say since?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from driftmap.results.attention_change import AttentionChange
from driftmap.results.edit_kinds import Asked, EditKind, LossOver, PromptKind
from driftmap.results.edits import EditReport
from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtRow:
    """One row as the trainer gets it.

    Args:
        fact_id: The fact it teaches.
        tokens: Text of every token, as a person reads it.
        counted: Whether each token's loss is learnt.
        num_alike: Rows of the file's facts that say exactly this (count).
    """

    fact_id: str
    tokens: tuple[str, ...]
    counted: tuple[bool, ...]
    num_alike: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtRows:
    """All rows that are learnt.

    Args:
        prompts: Which prompts they begin with.
        loss: Which of their tokens are learnt.
        num_facts: Facts that are taught.
        num_made: Rows before repeats are dropped.
        num_repeats: Rows that say what an earlier one says.
        num_learnt: Rows that are learnt.
        num_counted: Tokens whose loss is learnt, in one pass.
        num_tokens: All tokens of the rows.
        is_end_padding: The tokenizer pads with its end token: a trainer that leaves
            padding out of the loss by its id would leave out every end.
        end: The end token, as the tokenizer writes it.
        repeated: Rows that stand there several times, the most frequent first.
        shown: The first rows.
    """

    prompts: PromptKind
    loss: LossOver
    num_facts: int
    num_made: int
    num_repeats: int
    num_learnt: int
    num_counted: int
    num_tokens: int
    is_end_padding: bool
    end: str
    repeated: tuple[TaughtRow, ...]
    shown: tuple[TaughtRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCost:
    """What one training run took.

    Args:
        num_steps: Steps of the optimiser.
        num_trained: Parameters that are trained.
        num_total: Parameters of the model before anything is put on it.
        seconds: Time it took, pauses between two starts left out.
        peak_bytes: Most memory in use at once, beside what was in use before; None
            where it cannot be read.
        memory: What the memory is: of the machine, or of its accelerator.
        first_loss: Mean loss of the first step (nats per counted token).
        last_loss: Mean loss of the last step (nats per counted token).
    """

    num_steps: int
    num_trained: int
    num_total: int
    seconds: float
    peak_bytes: int | None
    memory: Literal["machine", "accelerator"]
    first_loss: float
    last_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorChange:
    """How far training moved one tensor.

    Args:
        name: Its path in the model; with `#part` where the matrix is fused.
        layer: Its block; None outside the blocks.
        part: What it does, such as `q` or `norm`.
        relative: |dW| / |W|, both Frobenius norms.
    """

    name: str
    layer: int | None
    part: str
    relative: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a model wrote.

    Args:
        words: Its words, with the spaces and signs after them.
        repeated: Whether each word belongs to three in a row that stood there before.
        has_ended: It ended by itself; else it was cut off.
    """

    words: tuple[str, ...]
    repeated: tuple[bool, ...]
    has_ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPair:
    """What both models write after one prompt.

    Args:
        fact_id: The fact that is asked for.
        asked: What kind of prompt.
        prompt: The prompt.
        true: The answer before the edit; empty where none is known.
        new: The answer that is taught.
        before: What the base writes.
        after: What the tuned model writes.
    """

    fact_id: str
    asked: Asked
    prompt: str
    true: str
    new: str
    before: Written
    after: Written


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedModel:
    """One model that was made: a way of tuning, on some of the blocks.

    Args:
        name: What the run calls it, such as `lora` or `full-layers-0-1`.
        tune: The way of tuning.
        layers: Blocks that were tuned; None for all.
        parts: What was tuned of them; empty where everything was.
        is_identical: Base and tuned model give the same logits, bit for bit, on every
            row; nothing more is compared then.
        cost: What training took.
        num_tensors: Tensors that were trained.
        tensors: Those that training moved, the most moved first.
        written: Answers before and after.
    """

    name: str
    tune: EditKind
    layers: tuple[int, ...] | None
    parts: tuple[str, ...]
    is_identical: bool
    cost: TrainingCost
    num_tensors: int
    tensors: tuple[TensorChange, ...]
    written: tuple[WrittenPair, ...]

    @property
    def in_words(self) -> str:
        """Its name for a reader."""
        return named(self.tune, self.layers)


def named(tune: EditKind, layers: tuple[int, ...] | None) -> str:
    """A way of tuning and its blocks in words.

    >>> named("full", None), named("qlora", (0, 1))
    ('full tuning', 'QLoRA, blocks 0, 1')
    """
    words: Mapping[EditKind, str] = {
        "lora": "LoRA",
        "qlora": "QLoRA",
        "full": "full tuning",
    }
    if layers is None:
        return words[tune]
    noun = "block" if len(layers) == 1 else "blocks"
    return f"{words[tune]}, {noun} {', '.join(map(str, layers))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EditPoint:
    """How one model weighs present and new answers, over facts.

    Args:
        model: Its name among the models of the run; empty for a model before tuning.
        base: What it is compared with: the model itself, or its blocks rounded.
        values: Efficacy, paraphrase, neighbourhood and score, those that there is data
            for, by name.
    """

    model: str
    base: Literal["model", "rounded"]
    values: Mapping[str, Interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditFindings:
    """All that a run says beside what is measured of its first model.

    Args:
        model: The model as loaded.
        shape: Of the file of facts.
        rows: What was learnt.
        models: Those that were made; the first one is looked at in full.
        points: How each weighs the answers, where several were made.
    """

    model: ModelIdentity
    shape: str
    rows: TaughtRows
    models: tuple[EditedModel, ...]
    points: tuple[EditPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EditStudy:
    """The findings, with what is needed to repeat them.

    Args:
        settings: The resolved recipe, option -> value.
        findings: What was found.
        edits: What both models say of the facts; None where they are identical.
        attention: What both look at; None likewise.
        versions: Package -> version.
    """

    settings: Mapping[str, object]
    findings: EditFindings
    edits: EditReport | None
    attention: AttentionChange | None
    versions: Mapping[str, str]
