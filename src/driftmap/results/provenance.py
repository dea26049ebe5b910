"""Which model, exactly, do these numbers speak of?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """A model as loaded.

    Args:
        source: Folder or hub id as the user gave it.
        sha256: Over all that decides what it computes: the base's tensors, what its
            config.json says of the arithmetic, and the adapter, where there is one.
        base_sha256: Over names, dtypes, shapes and bytes of the tensors on disk, of
            the model under the adapter, in name order; independent of how they are
            sharded and of the dtype they were loaded in.
        family: Row of `families` that names its weights.
        dtype: Type the weights were loaded in (`float32`, `bfloat16`, ...).
        device: Where the model is.
        num_weights: Entries of all scored matrices.
    """

    source: str
    sha256: str
    base_sha256: str
    family: str
    dtype: str
    device: str
    num_weights: int
