"""Sites, samples and a watched run for tests of tuning and evaluation."""

from pathlib import Path

import numpy as np

from driftmap.core.places import RowBlocks, Site
from driftmap.results.samples import EncodedSample
from driftmap.tune.live import Follower, Task
from driftmap.tune.run import tune
from driftmap.tune.settings import TuningSettings
from tiny import tiny_llama

LLAMA_PARTS = {
    "q_proj": "q",
    "k_proj": "k",
    "v_proj": "v",
    "o_proj": "o",
    "gate_proj": "gate",
    "up_proj": "up",
    "down_proj": "down",
}


def llama_sites(model):
    """Sites of a Llama, written by hand."""
    return [
        Site(
            path=path,
            layer=int(path.split(".")[2]),
            part=LLAMA_PARTS[path.rpartition(".")[2]],
            num_rows=module.out_features,
            num_columns=module.in_features,
        )
        for path, module in model.named_modules()
        if path.rpartition(".")[2] in LLAMA_PARTS
    ]


def fused_sites(path, parts, rows, columns, *, transposed=False):
    """Equal blocks of rows in one fused module of block 0."""
    return [
        Site(
            path=path,
            layer=0,
            part=part,
            num_rows=rows,
            num_columns=columns,
            split=RowBlocks(start=n * rows, length=rows, stride=rows, count=1),
            transposed=transposed,
        )
        for n, part in enumerate(parts)
    ]


def encoded(name, ids, prompt_length):
    """A sample whose response starts at `prompt_length`."""
    counted = np.arange(len(ids)) >= prompt_length
    return EncodedSample(
        sample_id=name,
        token_ids=np.array(ids, dtype=np.int32),
        counted=counted,
        prompt_length=prompt_length,
    )


def tiny_samples(count=13, *, seed=0, vocab=40, end=2):
    """Random samples of several lengths with an end token."""
    rng = np.random.default_rng(seed)
    return [
        encoded(f"s{n}", [*rng.integers(3, vocab, rng.integers(3, 9)).tolist(), end], 2)
        for n in range(count)
    ]


TINY_RUN = TuningSettings(
    batch_size=2,
    grad_accum=2,
    num_epochs=2,
    learning_rate=1e-2,
    lora_dropout=0.3,
    save_steps=3,
    drift_every=2,
)
"""Eight steps on 13 samples; checkpoints at 0 3 6 8, drift also at 2 4."""


class Watched:
    """A run that keeps adapters on disk and factors in memory."""

    def __init__(self, folder: Path, *, die_at=None, die_before_state=False):
        self.folder = folder
        self.die_at = die_at
        self.die_before_state = die_before_state
        self.factors = {}
        self.checkpoints = []

    def run(
        self,
        *,
        model=None,
        sites=None,
        samples=None,
        settings=TINY_RUN,
        seed=0,
        frozen=None,
        within=(),
    ):
        model = tiny_llama() if model is None else model
        task = Task(
            sites=llama_sites(model) if sites is None else sites,
            samples=tiny_samples() if samples is None else samples,
            settings=settings,
            seed=seed,
            frozen=frozen,
            within=within,
        )
        follower = Follower(
            folder=self.folder / "work",
            on_checkpoint=self._checkpoint,
            on_drift=self._drift,
        )
        return tune(model, task, follower)

    def _checkpoint(self, step, live):
        self.checkpoints.append(step)
        live.save(self.folder / f"step_{step}")

    def _drift(self, step, changes):
        # A mapping may make each change only when it is asked.
        self.factors[step] = dict(changes.items())
        if step == self.die_at:
            raise KeyboardInterrupt

    def adapter_bytes(self, step):
        return (self.folder / f"step_{step}" / "adapter_model.safetensors").read_bytes()
