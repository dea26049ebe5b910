"""Does a study whose memory runs out end in a sentence, and go on afterwards?"""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource, sys
from dataclasses import replace
from pathlib import Path

import torch

from driftmap.core.errors import ModelError
from driftmap.load.encoding import Encoding, encode
from driftmap.load.model import load_model
from driftmap.load.samples import read_samples
from driftmap.load.source import ModelSource
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.tuning.training import LiveDrift, tune_step
from driftmap.store.run_dir import RunDir
from driftmap.tune.settings import TuningSettings
from tiny_studies import save_tiny_model, write_rows

torch.set_num_threads(1)
home = Path(sys.argv[1])
loaded = load_model(ModelSource(model=str(save_tiny_model(home / "m")), device="cpu"))
rows = [{"prompt": f"{n}", "response": "word " * 15} for n in range(96)]
read = read_samples(str(write_rows(home / "rows.jsonl", rows)))
samples = encode(read.samples, loaded.tokenizer, Encoding(learn_end=True))
before = {k: v.clone() for k, v in loaded.model.state_dict().items()}
live = LiveDrift(groups_key="g" * 64, baseline=lambda: None)
settings = TuningSettings(max_steps=1, batch_size=2, grad_accum=1, drift_every=9)

import driftmap.recipes.steps.tuning.training as tuning
from driftmap.results.table import Table
tuning.drift_table = lambda *a, **k: Table.from_rows([{"step": 0}])

with RunDir.open(home / "run", {"seed": 0}, "drift") as run:
    study = Study(run=run, loaded=loaded, seed=0)
    tune_step(study, (samples, "warm"), settings, live, 9)
    large = replace(settings, batch_size=96)
    size = int(Path("/proc/self/statm").read_text().split()[0])
    limit = size * resource.getpagesize() + (48 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        tune_step(study, (samples, ""), large, live, 0)
    except ModelError as error:
        print("SAID", error)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    after = loaded.model.state_dict()
    same = list(after) == list(before)
    same = same and all(torch.equal(after[k], before[k]) for k in before)
    print("RESTORED", same, run.is_finished("tune-seed-0"))
    tune_step(study, (samples, ""), large, live, 0)
    print("RESUMED", run.is_finished("tune-seed-0"))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="needs a limit on memory: run on Linux"
)
def test_memory_that_runs_out_in_tuning_names_a_smaller_batch(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        capture_output=True, text=True, check=False,
        env={
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "OMP_NUM_THREADS": "1",
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
        },
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines == [
        "SAID fine-tuning ran out of memory; use --batch-size 48 --grad-accum 2, which "
        "are the same 96 samples a step, with another --out",
        "RESTORED True False",
        "RESUMED True",
    ], done.stdout + done.stderr[-2000:]
