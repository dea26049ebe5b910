"""Tunes under `torchrun`, case by case: the same as one process does, to be compared.

`torchrun --nproc-per-node 2 tests/rank_work.py FOLDER CASE...`
"""

import sys
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from driftmap.core.errors import DriftmapError
from driftmap.core.launch import launched
from driftmap.tune import sharded
from driftmap.tune.crew import Dismissed, gathered
from driftmap.tune.freezing import Frozen
from driftmap.tune.run import tune_along
from driftmap.tune.settings import TuningSettings
from frozen_groups import scattered
from tiny import tiny_llama
from tiny_tuning import Watched, llama_sites

RUN = TuningSettings(
    batch_size=2,
    grad_accum=2,
    max_steps=6,
    learning_rate=1e-2,
    weight_decay=0.1,
    lora_dropout=0.3,
    save_steps=3,
    drift_every=2,
)
"""On 13 samples: seven batches, so that the last step of an epoch has one."""

FULL = replace(RUN, tune="full", lora_dropout=0.05)
CASES = {
    "lora": (RUN, None),
    "accumulated": (replace(RUN, batch_size=1, grad_accum=4), None),
    "dora": (replace(RUN, dora=True), None),
    "full": (FULL, None),
    "bfloat16": (FULL, None),
    "lora-bfloat16": (RUN, None),
    "qlora": (replace(RUN, tune="qlora"), None),
    "rows": (RUN, "rows"),
    "columns": (RUN, "columns"),
    "element": (RUN, "element"),
    "rewind": (RUN, "rewind"),
    "full-element": (FULL, "element"),
    "full-rewind": (FULL, "rewind"),
    "resumed": (RUN, None),
    "full-resumed": (FULL, "element"),
}


def tuned(folder: Path, case: str) -> Watched:
    """One case, as the first process or the only one does it."""
    settings, way = CASES[case]
    model = model_of(case)
    sites = llama_sites(model)
    frozen = Frozen(members=scattered(sites), way=way) if way else None
    run = Cut(folder / case)
    run.cut_at = 4 if case.endswith("resumed") else None
    given = {"model": model, "sites": sites, "settings": settings, "frozen": frozen}
    before = {k: v.clone() for k, v in model.state_dict().items()}
    if run.cut_at:
        with suppress(CutError):
            run.run(**given)
        run.cut_at = None
    losses = run.run(**given)
    after = model.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items()), "model changed"
    save_file(
        {"losses": torch.tensor([p.loss_nats for p in losses], dtype=torch.float64)},
        folder / case / "losses.safetensors",
    )
    return run


class CutError(DriftmapError):
    """The run is cut off at a step of its own choice."""


class Cut(Watched):
    """A run that may end early, as an error ends it."""

    cut_at = None

    def _drift(self, step, changes):
        super()._drift(step, changes)
        if step == self.cut_at:
            raise CutError("cut off")


def model_of(case: str) -> torch.nn.Module:
    """The model of a case."""
    hidden = 64 if case == "qlora" else 16
    narrow = torch.bfloat16 if "bfloat16" in case else torch.float32
    return tiny_llama(hidden=hidden).to(narrow)


def main(folder: Path, cases: list[str]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    spread = []
    with launched() as launch, gathered(launch) as crew:
        real = sharded.fully_shard
        sharded.fully_shard = lambda *a, **k: spread.append(real(*a, **k))
        for case in cases:
            attempts = 2 if case.endswith("resumed") else 1
            if launch.is_first:
                tuned(folder, case)
                # Two blocks and the whole: a run of one kind is not taken for another.
                assert len(spread) == 3 * attempts * launch.is_sharded
                spread.clear()
                continue
            model = model_of(case)
            for _ in range(attempts):
                with suppress(Dismissed):
                    crew.wait_for_run()
                    tune_along(model)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
