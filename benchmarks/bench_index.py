"""How fast does an index grow, what does a sample take, and how fast is a search?

`python benchmarks/bench_index.py [SAMPLES [FOLDER]]`: by default a million synthetic
samples of 4 KiB in the system's temporary folder (5 GB of disk, removed afterwards).
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from driftmap.capture.gradients import show_gradients
from driftmap.core.places import TensorPlace
from driftmap.engine.run import run_shards
from driftmap.engine.work import Shard
from driftmap.families.tensors import find_tensors
from driftmap.load.chunks import chunked_batches
from driftmap.measure.sketch import Sketches
from driftmap.results.index import (
    IndexedSample,
    IndexHeader,
    IndexPart,
    IndexSettings,
    IndexTensor,
    Span,
)
from driftmap.results.samples import EncodedSample
from driftmap.results.sketches import SketchedSamples, SketchSettings
from driftmap.store.index.folder import Index
from driftmap.store.index.header import save_header
from driftmap.store.index.search import Query, nearest
from driftmap.store.index.shards import SHARDS, shard_bytes, writing_shard

NUM_TENSORS, SIZE, SHARD = 4, 512, 1024
TOKENS, BUILT = 128, 32


def header(num_samples, *, tensors=NUM_TENSORS, size=SIZE, keep="fp16"):
    table = tuple(
        IndexTensor(
            place=TensorPlace(name=f"tensor.{n}", part="q", num_weights=2048 * 2048),
            shape=(2048, 2048),
            num_numbers=size,
        )
        for n in range(tensors)
    )
    span = Span(start=0, stop=num_samples)
    part = IndexPart(data="", sha256="", num_samples=num_samples, spans=(span,))
    settings = IndexSettings(
        model="",
        adapter=None,
        model_sha256="",
        template=None,
        template_sha256="",
        loss_on="answer",
        dtype="float32",
        sketch=SketchSettings(size=size),
        keep=keep,
        shard_size=SHARD,
    )
    return IndexHeader(tensors=table, settings=settings, parts=(part,))


class Synthetic:
    """Rows of unit length, other ones in every shard."""

    def __init__(self, whole):
        self.header = whole
        dice = np.random.default_rng(0)
        rows = dice.normal(size=(NUM_TENSORS, SHARD, SIZE)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=2, keepdims=True)
        self.rows = rows
        self.energies = dice.uniform(0.5, 2, size=(SHARD, NUM_TENSORS))

    def open(self):
        """Nothing has to be loaded."""
        return self

    def sketched(self, shard, num):
        """Rows of a shard: those of the first one, their numbers moved on."""
        sign = 1 - 2 * (shard // SIZE % 2)
        turned = [sign * np.roll(rows[:num], shard, axis=1) for rows in self.rows]
        return SketchedSamples(
            sample_ids=tuple(f"{shard}.{row}" for row in range(num)),
            tensors=tuple(tensor.place for tensor in self.header.tensors),
            rows=tuple(turned),
            energies=self.energies[:num],
            settings=self.header.settings.sketch,
        )

    def make(self, shard: Shard, folder: Path):
        """Write one shard."""
        sketched = self.sketched(shard.number, shard.num_samples)
        samples = [
            IndexedSample(
                id=one,
                original_id=one,
                version="original",
                token_ids=(),
                counted=(),
                prompt_length=0,
            )
            for one in sketched.sample_ids
        ]
        with writing_shard(folder, self.header, shard.num_samples) as writer:
            writer.put(0, samples, sketched)


def bench_search(folder, num_samples):
    whole = header(num_samples)
    made = Synthetic(whole)
    folder.mkdir(parents=True)
    save_header(folder, whole)
    shards = [
        Shard(number=one.number, start=one.start, stop=one.stop)
        for one in whole.shards()
    ]
    begin, used = time.perf_counter(), time.process_time()
    run_shards(made, shards, folder / SHARDS)
    took, used = time.perf_counter() - begin, time.process_time() - used
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"{num_samples:,} samples, {size / num_samples:,.0f} bytes each, all files")
    print(f"written, synced and hashed: {took:.1f} s, {used:.1f} of the processor")
    index = Index(folder)
    begin, used = time.perf_counter(), time.process_time()
    total = sum(
        int(shard.view(range(NUM_TENSORS)).view(np.int16).sum(dtype=np.int64))
        for shard in index.shards()
    )
    took, used = time.perf_counter() - begin, time.process_time() - used
    assert total, "rows are not all zero"
    print(f"reading every row: {took:.1f} s, {used:.1f} of the processor")
    for num_queries in (1, 10, 100):
        for tensors in (range(NUM_TENSORS), range(1)):
            query = asked(made, num_queries, tuple(tensors))
            begin, used = time.perf_counter(), time.process_time()
            found = nearest(index, query, 201)
            took, used = time.perf_counter() - begin, time.process_time() - used
            own = found.samples[:, 0] == np.arange(num_queries)
            assert own.all(), "a query that is in the index is found first"
            print(
                f"{num_queries} queries, {len(query.tensors)} of {NUM_TENSORS} "
                f"tensors, best 201: {took:.1f} s, {used:.1f} of the processor"
            )


def asked(made, num, tensors):
    """The first samples of the index themselves."""
    sketched = made.sketched(0, num)
    return Query(sketched=sketched, tensors=tensors, weights=np.ones(len(tensors)))


def bench_build():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=8,
        num_attention_heads=8,
        max_position_embeddings=512,
    )
    model = LlamaForCausalLM(config).eval()
    dice = np.random.default_rng(0)
    counted = np.arange(TOKENS) >= TOKENS // 2
    encoded = [
        EncodedSample(
            sample_id=str(n),
            token_ids=dice.integers(0, 4096, TOKENS, dtype=np.int32),
            counted=counted,
            prompt_length=TOKENS // 2,
        )
        for n in range(BUILT)
    ]
    rules = find_tensors(model)
    places = [place for rule in rules for place in rule.places]
    batches = chunked_batches(
        encoded, range(BUILT), chunk=64, batch_tokens=2048, pad_id=0
    )
    weights = sum(parameter.numel() for parameter in model.parameters())
    print(f"model: {weights / 1e6:.1f} M weights, {len(places)} tensors, T = {TOKENS}")
    show_gradients(model, rules, batches[:1], lambda _: None)  # warm
    begin = time.process_time()
    show_gradients(model, rules, batches, lambda _: None)
    alone = time.process_time() - begin
    print(f"forward and backward alone: {BUILT / alone:.1f} samples a processor second")
    for kind in ("fold", "two-sided"):
        sketches = Sketches(places, SketchSettings(kind=kind))
        show_gradients(model, rules, batches[:1], sketches.take)  # makes the tables
        sketches = Sketches(places, SketchSettings(kind=kind))
        begin = time.process_time()
        show_gradients(model, rules, batches, sketches.take)
        took = time.process_time() - begin
        print(f"{kind}: {BUILT / took:.1f} samples a processor second")


def bench_bytes():
    for tensors, size, keep in ((113, 1024, "fp16"), (113, 256, "int8")):
        whole = header(SHARD, tensors=tensors, size=size, keep=keep)
        each = shard_bytes(whole, SHARD) / SHARD
        print(f"{tensors} tensors x {size} x {keep}: {each:,.0f} bytes a sample")


def main(words):
    num_samples = int(words[0]) if words else 1_000_000
    bench_build()
    bench_bytes()
    parent = Path(words[1]) if len(words) > 1 else None
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        bench_search(Path(folder) / "index", num_samples)


if __name__ == "__main__":
    main(sys.argv[1:])
