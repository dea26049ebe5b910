"""What does a tuning run start from, and what does it show of itself on the way?"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel

from driftmap.core.places import Site
from driftmap.results.samples import EncodedSample
from driftmap.signals.changes import MatrixChange
from driftmap.tune.freezing import Frozen, Hold
from driftmap.tune.settings import TuningSettings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """What is learnt, and how.

    Args:
        sites: Matrices that may be tuned; `settings` may narrow them.
        samples: Encoded samples; the loss is the mean over the counted tokens of a
            step, so an end token counts where the encoding counts it.
        settings: Kind of tuning, steps, learning rate, intervals.
        seed: The run's seed; adapter, data order and dropout have children of it.
        frozen: Weights that may not move; None where all may.
        within: Paths of modules outside of which no parameter is trained; empty where
            nothing is ruled out. Of an adapter `sites` says it.
    """

    sites: Sequence[Site]
    samples: Sequence[EncodedSample]
    settings: TuningSettings
    seed: int
    frozen: Frozen | None = None
    within: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Live:
    """A model while it is tuned.

    Args:
        model: What the trainer trains, and what may be asked at a checkpoint.
        changes: Gives what training has added to each matrix; made when asked for.
        save: Writes the checkpoint into a folder, the same bytes every time.
        holds: What is copied back after every step.
        at_rest: While it is entered, the weights under the change are in place: the
            base of an adapter, or the model before full tuning.
        is_mixed: Whether passes run in bfloat16 over float32 weights.
        is_sharded: Whether the weights are spread over several processes.
    """

    model: PreTrainedModel | PeftModel
    changes: Callable[[], Mapping[Site, MatrixChange]]
    save: Callable[[Path], None]
    holds: tuple[Hold, ...] = ()
    at_rest: Callable[[], AbstractContextManager[None]] = nullcontext
    is_mixed: bool = False
    is_sharded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """Who watches a run, and where the run may keep its state.

    Both calls must be safe to repeat: after a kill they come again for steps
    that the last whole state does not cover, with the same content.

    Args:
        folder: For `state.safetensors` and the trainer's scratch; delete it when
            the run is finished and its results are kept.
        on_checkpoint: Called with step and live model, whose `save` writes it.
        on_drift: Called with step and the change of every tuned matrix; the weights
            in the model are those before tuning while it runs.
    """

    folder: Path
    on_checkpoint: Callable[[int, Live], None]
    on_drift: Callable[[int, Mapping[Site, MatrixChange]], None]
