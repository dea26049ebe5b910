"""How do two models stand side by side before a weight is read?"""

from collections.abc import Iterator, Sequence

from driftmap.core.units import format_bytes
from driftmap.render.page import Callout, Facts, Folded, Grid, Node, Paragraph, Section
from driftmap.render.wording import number, percent, short_name
from driftmap.results.model_structure import (
    AdapterOutline,
    ModelOutline,
    ModuleLine,
    SettingPair,
    ShapePair,
    StoredShape,
    StructureDiff,
    TokenizerDiff,
    TreeRow,
    Wrap,
    WrappedModules,
)
from driftmap.stats.claims.structure import structure_claims

INDENT = "\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}"
"""What stands before a name for each step down the tree; a page keeps it."""

_CHANGES = {
    "same": "",
    "wrapped": "adapter",
    "changed": "differs",
    "base-only": "only in the base",
    "tuned-only": "only in the tuned model",
}
_WRAPS = {
    "lora": "LoRA",
    "dora": "DoRA",
    "embedding": "LoRA of rows",
    "saved": "saved whole",
    "copied": "copied, not trained",
    "bias": "trained bias",
    "tokens": "trained rows",
    "other": "other",
}
_FROM = {
    "configuration": "the model's own code",
    "tensor names": "the names in its files, since transformers has no code for it",
}


def structure_section(found: StructureDiff) -> Section:
    """The page's section on how the two models are built."""
    return Section(
        anchor="structure", title="How are the two built?", nodes=[*_nodes(found)]
    )


def _nodes(found: StructureDiff) -> Iterator[Node]:
    yield Callout(
        kind="note",
        title="Read from configurations and headers of files; no weight was loaded",
        texts=[claim.says for claim in structure_claims(found)],
    )
    if found.why_no_base:
        yield Callout(
            kind="caution", title="Without its base", texts=[f"{found.why_no_base}."]
        )
    yield from _models(found)
    if found.adapter is not None:
        yield from _adapter(found, found.adapter)
    yield _tree(found)
    yield from _tensors(found)
    yield from _settings("Settings that differ", found.settings)
    if found.tokenizer is not None:
        yield from _tokenizers(found.tokenizer)


def _models(found: StructureDiff) -> Iterator[Node]:
    if found.base is None:
        return
    sides = [found.base] if found.tuned is None else [found.base, found.tuned]
    names = ["Base"] if found.tuned is None else ["Base", "Tuned"]
    said = [_said(one) for one in sides]
    yield Grid(
        caption="The models.",
        columns=["", *names],
        rows=[[name, *(one[name] for one in said)] for name in said[0]],
    )


def _said(model: ModelOutline) -> dict[str, str]:
    types = [
        f"{one.dtype}: {one.num_weights:,} in {one.num_tensors:,} tensors"
        for one in model.types
    ]
    return {
        "name": short_name(model.source),
        "model": f"{model.architecture or 'not named'} ({model.model_type or '–'})",
        "weights": f"{model.num_parameters:,}",
        "number types": "; ".join(types) or "no weights at hand",
        "on disk": "–" if model.num_bytes is None else format_bytes(model.num_bytes),
        "head": "tied to the embedding" if model.tied else "of its own",
        "rounded": model.quantisation or "no",
        "modules read from": _FROM[model.tree_from],
    }


def _adapter(found: StructureDiff, adapter: AdapterOutline) -> Iterator[Node]:
    trained = f"{adapter.num_trained:,}"
    if found.base is not None:
        share = adapter.num_trained / max(1, found.base.num_parameters)
        trained += f" ({percent(share)} of the base's {found.base.num_parameters:,})"
    yield Facts(
        pairs=[
            ("adapter", f"{short_name(adapter.source)} ({adapter.peft_type})"),
            ("made for", adapter.base_name or "not named"),
            ("trained weights", trained),
            ("on disk", format_bytes(adapter.num_bytes)),
            *((one.name, one.value) for one in adapter.settings),
        ]
    )
    yield Grid(
        caption="What it puts where; equal modules of several blocks are one line.",
        columns=[
            "module", "times", "shape [out in]", "what", "rank", "alpha", "scale",
            "trained, each", "type",
        ],
        rows=[_wrapped_row(one) for one in adapter.wrapped],
        align_right=frozenset({1, 4, 5, 6, 7}),
    )  # fmt: skip


def _wrapped_row(one: WrappedModules) -> list[str]:
    wrap = one.wrap
    return [
        f"`{one.name}`",
        f"{one.times:,}",
        _shape(one.shape),
        _WRAPS[wrap.kind],
        "–" if wrap.rank is None else str(wrap.rank),
        number(wrap.alpha),
        number(wrap.scale),
        f"{wrap.num_trained:,}",
        one.dtype,
    ]


def _tree(found: StructureDiff) -> Node:
    if found.base is None:
        return Grid(
            caption="The modules that the adapter knows of, with the shape of what is "
            "added to them.",
            columns=["Tuned", "trained weights"],
            rows=[[_cell(row, row.tuned), _weights(row.tuned)] for row in found.rows],
            align_right=frozenset({1}),
        )
    grid = Grid(
        caption="Both trees of modules side by side; equal neighbours are one line, "
        "and weights are those of one of them.",
        columns=["Base", "Tuned", "what differs", "weights"],
        rows=[_tree_row(row) for row in found.rows],
        align_right=frozenset({3}),
    )
    changed = [row for row in found.rows if row.change != "same"]
    if changed or len(found.rows) < 2:
        return grid
    return Folded(
        summary="Both trees are equal: show their modules",
        nodes=[Paragraph(text="No module differs in kind or shape."), grid],
    )


def _tree_row(row: TreeRow) -> list[str]:
    return [
        _cell(row, row.base),
        _cell(row, row.tuned),
        _CHANGES[row.change],
        " → ".join(dict.fromkeys([_weights(row.base), _weights(row.tuned)])),
    ]


def _cell(row: TreeRow, line: ModuleLine | None) -> str:
    if line is None:
        return f"{INDENT * row.depth}–"
    times = f"× {row.times}" if row.times > 1 else ""
    parts = [row.name, times, line.kind, _shape(line.shape), _put(line.wrap)]
    said = " ".join(part for part in parts if part)
    return INDENT * row.depth + (said or "the model")


def _put(wrap: Wrap | None) -> str:
    if wrap is None:
        return ""
    if wrap.rank is None:
        return f"+ {_WRAPS[wrap.kind]}"
    return f"+ {_WRAPS[wrap.kind]}, rank {wrap.rank}, scale {number(wrap.scale)}"


def _weights(line: ModuleLine | None) -> str:
    num = 0 if line is None else line.num_parameters
    return f"{num:,}" if num else "–"


def _shape(shape: Sequence[int]) -> str:
    return f"[{' '.join(map(str, shape))}]" if shape else ""


def _tensors(found: StructureDiff) -> Iterator[Node]:
    lacks = found.adapter is not None
    sides = (
        ("Tensors that only the base has.", found.only_base),
        (
            "Modules that the adapter tunes and the base does not have."
            if lacks
            else "Tensors that only the tuned model has.",
            found.only_tuned,
        ),
    )
    for caption, tensors in sides:
        if tensors:
            yield Grid(
                caption=caption,
                columns=["name", "times", "shape", "type"],
                rows=[_stored_row(one) for one in tensors],
                align_right=frozenset({1}),
            )
    if found.differing:
        yield Grid(
            caption="In both, but in another shape or number type.",
            columns=["name", "times", "base", "tuned"],
            rows=[_pair_row(one) for one in found.differing],
            align_right=frozenset({1}),
        )


def _stored_row(one: StoredShape) -> list[str]:
    return [f"`{one.name}`", f"{one.times:,}", _shape(one.shape), one.dtype or "–"]


def _pair_row(one: ShapePair) -> list[str]:
    return [
        f"`{one.name}`",
        f"{one.times:,}",
        f"{_shape(one.base_shape)} {one.base_dtype}".rstrip(),
        f"{_shape(one.tuned_shape)} {one.tuned_dtype}".rstrip(),
    ]


def _settings(caption: str, settings: Sequence[SettingPair]) -> Iterator[Node]:
    if settings:
        yield Grid(
            caption=f"{caption}.",
            columns=["setting", "base", "tuned"],
            rows=[[f"`{one.name}`", one.base, one.tuned] for one in settings],
        )


def _tokenizers(found: TokenizerDiff) -> Iterator[Node]:
    if found.is_same:
        return
    yield Facts(
        pairs=[
            ("tokens of the base", f"{found.base_size:,}"),
            ("tokens of the tuned model", f"{found.tuned_size:,}"),
            ("only in the base", _named(found.num_only_base, found.only_base)),
            ("only in the tuned model", _named(found.num_only_tuned, found.only_tuned)),
            ("with another number", f"{found.num_moved:,}"),
            ("other rules", ", ".join(found.other_rules) or "none"),
            ("chat template", "differs" if found.template_differs else "the same"),
        ]
    )
    yield from _settings("Settings of the tokenizers that differ", found.settings)


def _named(num: int, some: Sequence[str]) -> str:
    if not num:
        return "none"
    more = f" and {num - len(some):,} more" if num > len(some) else ""
    return f"{num:,}: {', '.join(repr(one) for one in some)}{more}"
