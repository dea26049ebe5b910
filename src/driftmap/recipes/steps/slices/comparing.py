"""By how much do the experts of two checkpoints differ?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from driftmap.core.errors import StoreError
from driftmap.results.expert_tuning import KeptSlice, KeptTensor, ModelSlices
from driftmap.store.expert_slices import load_slices

_READ_AS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceChange:
    """How one expert or router differs between two checkpoints.

    Args:
        key: Which expert or router.
        relative: Length of the difference over the length of the first.
        largest: Largest difference of one weight.
        share_changed: Weights that differ at all (share).
    """

    key: str
    relative: float
    largest: float
    share_changed: float


def comparison(first: Path, second: Path, num_rows: int) -> str:
    """Say what changed between two checkpoints, the largest change first.

    Raises:
        StoreError: They are of two models, or keep an expert in two shapes.
    """
    left, right = load_slices(first), load_slices(second)
    if left.model_sha256 != right.model_sha256:
        raise StoreError(
            f"{second}: is of {right.model} ({right.model_sha256[:12]}) and {first} of "
            f"{left.model} ({left.model_sha256[:12]}); compare slices of one model"
        )
    changes = slice_changes(left, right)
    own = [{one.key for one in side.slices} for side in (left, right)]
    moved = sum(change.share_changed > 0 for change in changes)
    lines = [
        f"{len(changes)} in both, {moved} of them differ; {len(own[0] - own[1])} only "
        f"in {first}, {len(own[1] - own[0])} only in {second}."
    ]
    if changes:
        lines.append("relative change  largest  changed  place")
    lines += [
        f"{c.relative:15.3g}  {c.largest:7.1e}  {c.share_changed:7.1%}  {c.key}"
        for c in changes[:num_rows]
    ]
    if len(changes) > num_rows:
        lines.append(f"and {len(changes) - num_rows} more; see them with --num-rows")
    return "\n".join(lines)


def slice_changes(left: ModelSlices, right: ModelSlices) -> list[SliceChange]:
    """Compare what both hold, the largest relative change first.

    Raises:
        StoreError: They keep a tensor in two shapes or number types.
    """
    others = {one.key: one for one in right.slices}
    changes = [
        _change(one, others[one.key]) for one in left.slices if one.key in others
    ]
    return sorted(changes, key=lambda change: -change.relative)


def _change(left: KeptSlice, right: KeptSlice) -> SliceChange:
    if left.tensors.keys() != right.tensors.keys():
        raise StoreError(
            f"{left.key}: is kept under other names in the second checkpoint; were "
            "both made by one version of transformers?"
        )
    before = np.concatenate([_numbers(left.tensors[n]) for n in sorted(left.tensors)])
    after = np.concatenate([_numbers(right.tensors[n]) for n in sorted(right.tensors)])
    if before.shape != after.shape:
        raise StoreError(f"{left.key}: has another shape in the second checkpoint")
    difference = after - before
    length = float(np.linalg.norm(before))
    moved = float(np.linalg.norm(difference))
    return SliceChange(
        key=left.key,
        relative=moved / length if length else float(moved > 0),
        largest=float(np.abs(difference).max()),
        share_changed=float((difference != 0).mean()),
    )


def _numbers(kept: KeptTensor) -> Float64[np.ndarray, " weight"]:
    if kept.dtype == "BF16":
        bits = kept.values.view("<u2").astype("<u4") << 16
        return bits.view("<f4").astype(np.float64)
    return kept.values.view(_READ_AS[kept.dtype]).astype(np.float64)
