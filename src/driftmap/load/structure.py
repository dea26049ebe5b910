"""What do two models have in common in structure, and what has only one of them?

Nothing but configurations and headers of files is read, so a comparison of models of
any size takes a moment. An adapter whose base is not at hand is shown by itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from driftmap.core.errors import ModelError
from driftmap.load.adapter_outline import OutlinedAdapter, outline_of_adapter
from driftmap.load.checkpoint import find_outline
from driftmap.load.folded_names import Folded, fold_names
from driftmap.load.outline import Outlined, Settings, Tensor, lines_of_names, outline_of
from driftmap.load.paired_trees import paired_rows
from driftmap.load.tokenizer_diff import tokenizer_diff
from driftmap.load.training_runs import TrainingRun
from driftmap.results.model_structure import (
    ModuleLine,
    SettingPair,
    ShapePair,
    StoredShape,
    StructureDiff,
    TreeRow,
)

_INCIDENTAL = ("_name_or_path", "transformers_version", "use_cache", "torch_dtype")


def compare_structure(base: str, tuned: TrainingRun) -> StructureDiff:
    """Put two models side by side without reading a weight.

    Args:
        base: Folder or hub id of the model before tuning.
        tuned: What was made of it; the last checkpoint is looked at.

    Returns:
        Their modules, tensors, settings and tokenizers. Where the base is not at hand
        and an adapter was made of it, the adapter by itself.

    Raises:
        ModelError: A folder is broken, or the base of a whole model is not there.
    """
    try:
        folder, why = find_outline(base), ""
    except ModelError as error:
        if tuned.is_full or error.topic != "model-not-found":
            raise
        folder, why = None, str(error)
    before = None if folder is None else outline_of(folder, base)
    if tuned.is_full:
        assert folder is not None, "a whole model needs its base"
        found = _of_models(before, outline_of(tuned.last, str(tuned.last)))
    else:
        found = _of_adapter(before, outline_of_adapter(tuned.last, str(tuned.last)))
    return replace(
        found,
        base_name=base,
        tuned_name=str(tuned.folder),
        why_no_base=why,
        tokenizer=None if folder is None else tokenizer_diff(folder, tuned.last),
        num_checkpoints=len(tuned.checkpoints),
    )


def _of_models(base: Outlined | None, tuned: Outlined) -> StructureDiff:
    assert base is not None, "a whole model needs its base"
    before, after = base.tensors, tuned.tensors
    gone = {n: t for n, t in before.items() if n not in after.keys() | tuned.aliases}
    new = {n: t for n, t in after.items() if n not in before.keys() | base.aliases}
    pairs = {
        name: (before[name], after[name])
        for name in before
        if name in after and before[name] != after[name]
    }
    return StructureDiff(
        base_name="",
        tuned_name="",
        base=base.outline,
        why_no_base="",
        tuned=tuned.outline,
        adapter=None,
        rows=_rows_of_models(base, tuned),
        only_base=_stored_shapes(gone),
        only_tuned=_stored_shapes(new),
        differing=tuple(_shape_pair(one) for one in fold_names(pairs)),
        settings=_setting_pairs(base.settings, tuned.settings),
        tokenizer=None,
        num_checkpoints=1,
    )


def _rows_of_models(base: Outlined, tuned: Outlined) -> tuple[TreeRow, ...]:
    """Both trees from the same source: classes on one side alone tell nothing."""
    if base.outline.tree_from == tuned.outline.tree_from:
        return paired_rows(base.modules, tuned.modules)
    before, after = (
        lines_of_names({name: tensor.shape for name, tensor in one.tensors.items()})
        for one in (base, tuned)
    )
    return paired_rows(before, after)


def _of_adapter(base: Outlined | None, adapter: OutlinedAdapter) -> StructureDiff:
    return StructureDiff(
        base_name="",
        tuned_name="",
        base=None if base is None else base.outline,
        why_no_base="",
        tuned=None,
        adapter=adapter.outline,
        rows=_alone(adapter) if base is None else _on_base(base, adapter),
        only_base=(),
        only_tuned=() if base is None else _nowhere(base, adapter),
        differing=() if base is None else _misfits(base, adapter),
        settings=(),
        tokenizer=None,
        num_checkpoints=1,
    )


def _alone(adapter: OutlinedAdapter) -> tuple[TreeRow, ...]:
    """What an adapter knows of; only what it trains has a size."""
    names = {f"{path}.weight": shape for path, shape in adapter.shapes.items()}
    known = {
        path: replace(line, num_parameters=0)
        for path, line in lines_of_names(names).items()
    }
    return paired_rows(None, _wrapped(known, adapter))


def _on_base(base: Outlined, adapter: OutlinedAdapter) -> tuple[TreeRow, ...]:
    unknown = {
        path: ModuleLine(kind="", shape=shape, num_parameters=0, wrap=None)
        for path, shape in adapter.shapes.items()
        if path not in base.modules
    }
    return paired_rows(base.modules, _wrapped({**base.modules, **unknown}, adapter))


def _wrapped(
    modules: Mapping[str, ModuleLine], adapter: OutlinedAdapter
) -> dict[str, ModuleLine]:
    """The tree with the adapter on it: weights it trains count where they stand."""
    added = dict.fromkeys(modules, 0)
    for path, wrap in adapter.wraps.items():
        words = path.split(".")
        for depth in range(len(words) + 1):
            above = ".".join(words[:depth])
            added[above] = added.get(above, 0) + wrap.num_trained
    return {
        path: replace(
            line,
            num_parameters=line.num_parameters + added[path],
            wrap=adapter.wraps.get(path),
        )
        for path, line in modules.items()
    }


def _nowhere(base: Outlined, adapter: OutlinedAdapter) -> tuple[StoredShape, ...]:
    """What the adapter tunes and the base does not have."""
    return _stored_shapes(
        {
            path: Tensor(shape, "")
            for path, shape in adapter.shapes.items()
            if path not in base.modules
        }
    )


def _misfits(base: Outlined, adapter: OutlinedAdapter) -> tuple[ShapePair, ...]:
    """Modules of the base whose matrix is not of the shape that is added to it."""
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for path, wrap in adapter.wraps.items():
        line, added = base.modules.get(path), adapter.shapes[path]
        if line is None or wrap.rank is None or len(line.shape) != 2 or not added:
            continue
        if added not in (line.shape, line.shape[::-1]):
            pairs[path] = Tensor(line.shape, ""), Tensor(added, "")
    return tuple(_shape_pair(one) for one in fold_names(pairs))


def _stored_shapes(tensors: Mapping[str, Tensor]) -> tuple[StoredShape, ...]:
    return tuple(
        StoredShape(
            name=one.name,
            times=one.times,
            shape=one.value.shape,
            dtype=one.value.dtype,
        )
        for one in fold_names(tensors)
    )


def _shape_pair(one: Folded[tuple[Tensor, Tensor]]) -> ShapePair:
    base, tuned = one.value
    return ShapePair(
        name=one.name,
        times=one.times,
        base_shape=base.shape,
        tuned_shape=tuned.shape,
        base_dtype=base.dtype,
        tuned_dtype=tuned.dtype,
    )


def _setting_pairs(base: Settings, tuned: Settings) -> tuple[SettingPair, ...]:
    return tuple(
        SettingPair(name=name, base=_said(base, name), tuned=_said(tuned, name))
        for name in _names(base, tuned)
        if base.get(name) != tuned.get(name)
    )


def _names(*settings: Settings) -> Iterable[str]:
    names = dict.fromkeys(name for one in settings for name in one)
    return (name for name in names if name not in _INCIDENTAL)


def _said(settings: Settings, name: str) -> str:
    return str(settings[name]) if name in settings else "-"
