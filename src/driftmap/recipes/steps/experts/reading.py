"""What does a study of experts read, and which item is learned from?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from driftmap.core.errors import DataError, UsageError
from driftmap.core.progress import say
from driftmap.core.seeds import child_seed
from driftmap.load.samples import SampleSet, read_samples
from driftmap.load.unsafe_items import read_unsafe_items
from driftmap.recipes.expert_options import (
    ExpertTuningOptions,
    IdentifyOptions,
    ItemOptions,
)
from driftmap.results.samples import Sample
from driftmap.results.unsafe_items import (
    SplitItems,
    UnsafeItem,
    UnsafeItems,
    split_items,
    with_response,
)

CONSTANT = "I cannot assist with that request as it may be harmful or unsafe."
"""The wanted answer where none is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertData:
    """All that a study of experts reads.

    Args:
        train: Items to learn from; each has its refusal, but for `own`.
        held_out: Items to judge by; those of `train` where there are no others.
        benign: Ordinary samples.
        harmless: Prompts that should be answered.
        num_read: Items of the source (count).
        num_judged_out: Left out because the attack did not work (count).
        is_in_sample: Outcomes are read on the items that are learned from.
        sha256: Hash of each source by what it is for.
    """

    train: tuple[UnsafeItem, ...]
    held_out: tuple[UnsafeItem, ...]
    benign: tuple[Sample, ...]
    harmless: tuple[Sample, ...]
    num_read: int
    num_judged_out: int
    is_in_sample: bool
    sha256: Mapping[str, str]


def read_all(
    source: str,
    options: ItemOptions,
    identify: IdentifyOptions,
    tune: ExpertTuningOptions,
) -> ExpertData:
    """Read every source, before a model is loaded.

    Args:
        source: The requests to refuse.
        options: What else is read, and what the wanted answer is.
        identify: How experts are ranked: some ways need more of the data.
        tune: How experts are tuned, likewise.

    Raises:
        DataError: A source is missing or broken, or lacks what is asked of it.
        UsageError: An option needs a source that is not given.
    """
    read = read_unsafe_items(source)
    others = None if options.held_out is None else read_unsafe_items(options.held_out)
    split = _split(read, others, options.max_samples)
    benign = _samples(options.benign)
    harmless = _samples(options.harmless)
    if identify.contrast != "none" and benign is None:
        raise UsageError(
            f"--contrast {identify.contrast} compares with ordinary requests; give "
            "them with --benign"
        )
    _require_goals(split.train, options, identify, tune)
    train = tuple(_with_refusals(split.train, options, 0))
    held_out = split.held_out or split.train
    refusing = tuple(_with_refusals(held_out, options, len(train)))
    named = {"data": read, "held_out": others, "benign": benign, "harmless": harmless}
    return ExpertData(
        train=train,
        held_out=refusing,
        benign=() if benign is None else benign.samples,
        harmless=() if harmless is None else harmless.samples,
        num_read=read.num_read,
        num_judged_out=read.num_judged_out,
        is_in_sample=not split.held_out,
        sha256={name: one.sha256 for name, one in named.items() if one is not None},
    )


def _split(read: UnsafeItems, others: UnsafeItems | None, count: int) -> SplitItems:
    if others is None:
        split = split_items(read.items, count)
    else:
        whole = (*read.items[:count], *others.items)
        split = split_items(whole, min(count, len(read.items)))
    if split.num_same_goal:
        say(
            f"{split.num_same_goal} items ask for the same as one that is learned "
            "from; they are not judged by"
        )
    if not split.held_out:
        say(
            f"all {len(split.train)} items are learned from, so outcomes are read on "
            "the same ones; give fewer to --max-samples, or others to --held-out"
        )
    return split


def _samples(source: str | None) -> SampleSet | None:
    return None if source is None else read_samples(source)


def _require_goals(
    items: tuple[UnsafeItem, ...],
    options: ItemOptions,
    identify: IdentifyOptions,
    tune: ExpertTuningOptions,
) -> None:
    """Refuse what needs the plain request where an item does not tell it."""
    lacking = [item.id for item in items if not item.goal]
    if not lacking:
        return
    aligns = not (identify.identify_only or tune.skip_router_training)
    needs = {
        "--identify routing": "routing" in identify.methods,
        "--safe-response own": options.safe_response == "own",
        "aligning routers (leave it out with --skip-router-training)": aligns,
    }
    for what, needed in needs.items():
        if needed:
            raise DataError(
                f"{lacking[0]} has no `goal`, the plain request inside it, which "
                f"{what} compares with; {len(lacking)} of {len(items)} items lack it"
            )


def _with_refusals(
    items: tuple[UnsafeItem, ...], options: ItemOptions, first: int
) -> list[UnsafeItem]:
    """Give each item the answer that is wanted; `own` ones come from the model."""
    if options.safe_response == "dataset":
        lacking = [item.id for item in items if not item.response]
        if lacking:
            raise DataError(
                f"{lacking[0]} has no `response`, the refusal that --safe-response "
                f"dataset takes; {len(lacking)} of {len(items)} items lack it"
            )
        return list(items)
    if options.safe_response == "file":
        assert options.safe_response_file is not None
        lines = _lines(options.safe_response_file)
        return [
            with_response(item, lines[_drawn(number, len(lines))])
            for number, item in enumerate(items, start=first)
        ]
    return [with_response(item, CONSTANT) for item in items]


def _drawn(number: int, count: int) -> int:
    """Which line an item gets, whatever other items there are."""
    return int(np.random.default_rng(child_seed(number, "refusal")).integers(count))


def _lines(path: Path) -> list[str]:
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise DataError(
            f"{path}: it cannot be read ({error}); give a text file"
        ) from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path}: it holds no refusal; write one a line")
    return lines
