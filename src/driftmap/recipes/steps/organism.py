"""Where is the built-in model that knows facts, obeys and refuses?

It is trained on the spot, once for each seed, and kept in the user's cache. Training
uses one thread, so that its bytes do not depend on the number of cores.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from transformers import LlamaForCausalLM

from driftmap import results, tune, worlds
from driftmap.load.quiet import no_bars
from driftmap.recipes.steps.making import home, version_of, write_card
from driftmap.recipes.steps.threads import one_thread
from driftmap.results.curriculum import Stock
from driftmap.results.samples import Sample
from driftmap.store.cache import cache_folder, cached
from driftmap.tune.pretrain import (
    ModelShape,
    PretrainSettings,
    make_llama,
    pretrain,
)
from driftmap.worlds.corpus import ROWS_PER_STEP, Stage, corpus_lines
from driftmap.worlds.lines import BOS, EOS
from driftmap.worlds.splits import make_splits
from driftmap.worlds.tokenizer import (
    MAX_LENGTH,
    PAD,
    encode_lines,
    make_tokenizer,
    save_tokenizer,
)
from driftmap.worlds.words import all_words
from driftmap.worlds.world import World, make_world

VERSION = 1
"""Raised when an organism of the same sources should be made anew."""

STAGES: Mapping[Stage, PretrainSettings] = {
    "base": PretrainSettings(steps=600, learning_rate=5e-3, warmup_steps=50),
    "aligned": PretrainSettings(steps=250, learning_rate=1e-3, warmup_steps=10),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Organism:
    """The files of one built-in model.

    Args:
        folder: Holds all of them.
        base: Model folder of the organism that answers everything.
        aligned: Model folder of the one that refuses what does harm.
        data: Samples file by the name of its split.
    """

    folder: Path
    base: Path
    aligned: Path
    data: Mapping[str, Path]


def make_organism(seed: int = 0, folder: Path | None = None) -> Organism:
    """Train the built-in model of a seed, or find it in the cache.

    Args:
        seed: What its world and its weights are drawn from.
        folder: The cache; the user's own one by default.

    Returns:
        Where its files lie. They are shared: copy them before changing them.

    Raises:
        StoreError: The disk is full or the cache may not be written to.
    """
    home = cached(
        folder or cache_folder(),
        f"organism-{version()}-seed{seed}",
        lambda temporary: _make(seed, temporary),
    )
    return Organism(
        folder=home,
        base=home / "base",
        aligned=home / "aligned",
        data={path.stem: path for path in sorted((home / "data").glob("*.jsonl"))},
    )


def version() -> str:
    """Name everything an organism depends on but its seed: version and sources."""
    sources = [Path(__file__)]
    sources += [home(tune) / name for name in ("pretrain.py", "packing.py")]
    sources += [home(results) / "curriculum.py", *sorted(home(worlds).glob("*.py"))]
    return version_of(VERSION, sources)


def _make(seed: int, folder: Path) -> None:
    world = make_world(seed)
    tokenizer = make_tokenizer(all_words())
    for name, samples in make_splits(world, tokenizer).items():
        _write_samples(folder / "data" / f"{name}.jsonl", samples)
    ids = tokenizer.get_vocab()
    shape = ModelShape(
        vocabulary=len(ids),
        max_length=MAX_LENGTH,
        bos_id=ids[BOS],
        eos_id=ids[EOS],
        pad_id=ids[PAD],
    )
    with one_thread(), no_bars():
        model = make_llama(shape, seed)
        losses: dict[str, float] = {}
        for stage, settings in STAGES.items():
            losses[stage] = pretrain(
                model,
                _stocks(world, tokenizer, stage),
                settings,
                seed,
                stage,
            )
            _save(model, tokenizer, folder / stage)
    write_card(folder / "organism.json", "organism", version(), seed, losses)


def _stocks(
    world: World, tokenizer: tokenizers.Tokenizer, stage: Stage
) -> tuple[Stock, ...]:
    return tuple(
        Stock(
            name=kind,
            rows=encode_lines(tokenizer, corpus_lines(world, kind)),
            rows_per_step=count,
        )
        for kind, count in ROWS_PER_STEP[stage].items()
    )


def _save(
    model: LlamaForCausalLM, tokenizer: tokenizers.Tokenizer, folder: Path
) -> None:
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)


def _write_samples(path: Path, samples: tuple[Sample, ...]) -> None:
    path.parent.mkdir(exist_ok=True)
    lines = [json.dumps(_row(sample), ensure_ascii=False) + "\n" for sample in samples]
    path.write_text("".join(lines), encoding="utf-8")


def _row(sample: Sample) -> dict[str, object]:
    if sample.tokens is not None:
        return {
            "input_ids": list(sample.tokens.token_ids),
            "labels": list(sample.tokens.labels),
            "label": sample.label,
        }
    turns = [{"role": m.role, "content": m.content} for m in sample.messages]
    return {"messages": turns, "label": sample.label}
