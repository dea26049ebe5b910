"""How does a person say which model to load?"""

from dataclasses import dataclass
from typing import Literal

Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model, what lies on top of it, and where it goes."""

    model: str
    """The model to study (folder or hub id)."""

    adapter: str | None = None
    """PEFT adapter to put on top of it (folder or hub id); none by default."""

    dtype: Dtype = "float32"
    """Precision that the weights are loaded in (number type)."""

    device: str = "auto"
    """Where to run: auto, cpu, cuda, cuda:INDEX or mps (device)."""

    device_map: str | None = None
    """How to spread a model over several GPUs: auto, balanced or sequential (plan);
    by default it stays on one."""

    trust_remote_code: bool = False
    """Run Python code that comes with the model, for authors you trust (yes or no)."""
