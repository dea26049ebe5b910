"""What is said in a sentence of how two models are built?"""

from collections.abc import Iterator, Sequence

from driftmap.results.claims import Claim, Standing
from driftmap.results.model_structure import (
    AdapterOutline,
    StructureDiff,
    TokenizerDiff,
    WrappedModules,
)

_ADDED = {
    "lora": "low-rank factors (LoRA)",
    "dora": "low-rank factors and lengths of rows (DoRA)",
    "embedding": "low-rank factors of embeddings (LoRA)",
    "saved": "trained copies of whole modules",
    "bias": "trained biases",
    "tokens": "trained rows of single tokens",
    "other": "other trained weights",
}


def structure_claims(found: StructureDiff) -> tuple[Claim, ...]:
    """Put into sentences what sets two models apart before a weight is read.

    Args:
        found: Both models side by side.
    """
    return tuple(
        Claim(topic="structure", says=says, standing=standing)
        for says, standing in (*_made(found), *_tokens(found.tokenizer))
    )


def _made(found: StructureDiff) -> Iterator[tuple[str, Standing]]:
    if found.adapter is not None:
        yield _adapter(found, found.adapter), "context"
        misfits = [one.name for one in (*found.only_tuned, *found.differing)]
        if misfits:
            yield (
                f"The adapter was made for another model: `{misfits[0]}` is not in "
                f"this base in the shape that it adds to{_and_more(misfits)}.",
                "found",
            )
        return
    if found.has_same_shape:
        assert found.tuned is not None
        num = sum(one.num_tensors for one in found.tuned.types)
        counted = f"{num:,} tensors" if num else "tensors"
        yield (
            f"Both models have the same {counted}, in the same shapes and number "
            "types.",
            "context",
        )
        return
    yield f"The two are built differently: {_joined([*_differences(found)])}.", "found"


def _adapter(found: StructureDiff, adapter: AdapterOutline) -> str:
    what = _joined([*_additions(adapter.wrapped)]) or "nothing"
    trained = f"{adapter.num_trained:,} trained weights"
    if found.base is not None:
        num = found.base.num_parameters
        share = 100 * adapter.num_trained / max(1, num)
        digits = f"{share:.1f}" if share >= 0.1 else f"{share:.1g}"
        trained += f", {digits} % of the base's {num:,}"
    alone = " It is shown by itself, since its base is not at hand."
    return (
        f"The adapter puts {what} on the base: {trained}."
        f"{alone if found.base is None else ''}"
    )


def _additions(wrapped: Sequence[WrappedModules]) -> Iterator[str]:
    for kind, said in _ADDED.items():
        ours = [one for one in wrapped if one.wrap.kind == kind]
        if ours:
            num = sum(one.times for one in ours)
            yield f"{said}{_ranks(ours)} on {_several(num, 'module')}"


def _ranks(wrapped: Sequence[WrappedModules]) -> str:
    ranks = sorted({one.wrap.rank for one in wrapped if one.wrap.rank is not None})
    if not ranks:
        return ""
    return f" of rank {' or '.join(map(str, ranks))}"


def _differences(found: StructureDiff) -> Iterator[str]:
    sides = ("the tuned model lacks", found.only_base), ("it has", found.only_tuned)
    for said, tensors in sides:
        if tensors:
            num = sum(one.times for one in tensors)
            whose = " of the base" if tensors is found.only_base else " more"
            yield f"{said} {_several(num, 'tensor')}{whose} (`{tensors[0].name}`)"
    shapes = [one for one in found.differing if one.base_shape != one.tuned_shape]
    types = [one for one in found.differing if one.base_shape == one.tuned_shape]
    for said, pairs in (("shape", shapes), ("number type", types)):
        if pairs:
            num = sum(one.times for one in pairs)
            has = "has" if num == 1 else "have"
            yield f"{_several(num, 'tensor')} {has} another {said} (`{pairs[0].name}`)"


def _tokens(found: TokenizerDiff | None) -> Iterator[tuple[str, Standing]]:
    if found is None:
        return
    if found.is_same:
        yield (
            f"Both read text as the same {found.tuned_size:,} tokens.",
            "context",
        )
        return
    parts = [
        f"{_several(num, 'token')} {said}"
        for num, said in (
            (found.num_only_base, "only of the base"),
            (found.num_only_tuned, "only of the tuned model"),
            (found.num_moved, "with another number"),
        )
        if num
    ]
    rules = ", ".join(found.other_rules)
    parts += [f"other rules ({rules})"] if rules else []
    parts += ["other settings or chat template"] if found.has_other_words else []
    yield f"Their tokenizers differ: {_joined(parts)}.", "found"


def _joined(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if parts[1:] else parts)


def _several(num: int, what: str) -> str:
    return f"{num:,} {what}" if num == 1 else f"{num:,} {what}s"


def _and_more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
