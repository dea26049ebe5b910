"""How does a person say which model to load?"""

from dataclasses import dataclass
from typing import Literal

Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model, what lies on top of it, and where it goes."""

    model: str
    """Folder or hub id of the model."""

    adapter: str | None = None
    """Folder or hub id of a PEFT adapter to put on top; none by default."""

    dtype: Dtype = "float32"
    """Number type that the weights are loaded in."""

    device: str = "auto"
    """Where to run: auto, cpu, cuda, cuda:INDEX or mps."""

    device_map: str | None = None
    """How to spread a model over several GPUs (auto, balanced, sequential); by default
    it stays on one."""

    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only for authors you trust."""
