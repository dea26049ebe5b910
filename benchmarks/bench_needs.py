"""How far is the memory and disk that a study says it needs from what it takes?

Every size runs in a fresh process. Each step starts from given-back memory; its peak
is read from the system, above the level before. A tiny study runs first, so that
libraries that load when first used do not count. Run with
`python benchmarks/bench_needs.py`; ends with 1 where an estimate is off by more than
a factor of 1.5. With the name of a size it prints one JSON object for that size.
"""

import ctypes
import gc
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = {
    "tiny": (64, 2),
    "3 M": (128, 4),
    "18 M": (320, 10),
    "60 M": (640, 10),
}
"""Hidden units and layers by name."""

VOCABULARY = 16384
PROMPT_WORDS, RESPONSE_WORDS = 40, 40
RUNS = 2


def make_model(folder, hidden, layers):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from driftmap.worlds.tokenizer import make_tokenizer, save_tokenizer
    from driftmap.worlds.words import all_words

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    save_tokenizer(make_tokenizer(all_words()), folder)


def make_rows(file, seed):
    from driftmap.worlds.words import all_words

    draw, words = random.Random(seed), list(all_words())
    lines = [
        json.dumps(
            {
                "prompt": " ".join(draw.choices(words, k=PROMPT_WORDS)),
                "response": " ".join(draw.choices(words, k=RESPONSE_WORDS)),
            }
        )
        for _ in range(24)
    ]
    file.write_text("\n".join(lines))
    return str(file)


def study_of(folder, hidden, layers):
    from types import SimpleNamespace

    from driftmap.load.source import ModelSource
    from driftmap.recipes.options import (
        EvaluationOptions,
        GroupOptions,
        ScoringOptions,
        TestingOptions,
    )
    from driftmap.tune.settings import TuningSettings

    folder.mkdir()
    make_model(folder / "model", hidden, layers)
    data = [make_rows(folder / f"{n}.jsonl", n) for n in range(3)]
    return SimpleNamespace(
        seed=0,
        source=ModelSource(model=str(folder / "model"), device="cpu"),
        behaviour=data[0],
        utility=data[1],
        tune_on=data[2],
        scoring=ScoringOptions(num_samples=8, score_batch_size=4),
        groups=GroupOptions(share=0.02, p=0.05, q=0.05),
        lora=TuningSettings(max_steps=2, batch_size=4, grad_accum=1, save_steps=1),
        evaluation=EvaluationOptions(
            num_eval_samples=16, eval_batch_size=16, max_new_tokens=4
        ),
        testing=TestingOptions(seeds=RUNS, permutations=99),
        out=folder / "run",
    )


def settings_of(drift):
    from dataclasses import asdict, is_dataclass

    return {k: asdict(v) if is_dataclass(v) else v for k, v in vars(drift).items()}


def plan_of(drift):
    from driftmap.recipes.freeze_options import FreezeOptions
    from driftmap.recipes.options import ElsewhereOptions, OutputOptions, StudyPlan

    return StudyPlan(
        scoring=drift.scoring,
        groups=drift.groups,
        lora=drift.lora,
        freezing=FreezeOptions(),
        evaluation=drift.evaluation,
        testing=drift.testing,
        elsewhere=ElsewhereOptions(),
        output=OutputOptions(),
        is_trial=False,
        until="report",
    )


class Peaks:
    """Measures the peak of each step above the level before it."""

    def __init__(self):
        self.found = {}

    def of(self, name, work):
        """Do some work and note its peak under a name."""
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        made = work()
        self.found[name] = _status("VmHWM") - before
        return made


def run(drift, estimate):
    """Run a study step by step; returns what was estimated and measured."""
    from driftmap.load.model import load_model
    from driftmap.recipes.steps import bench, data, rows
    from driftmap.recipes.steps.behaviour import evaluation
    from driftmap.recipes.steps.behaviour.changes import (
        behaviour_changes,
        behaviour_step,
    )
    from driftmap.recipes.steps.groups import choosing as grouping
    from driftmap.recipes.steps.inference import drifting
    from driftmap.recipes.steps.inference import testing as inference
    from driftmap.recipes.steps.tuning import training as tuning
    from driftmap.recipes.steps.tuning.freezing import ALL_MOVE

    peaks = Peaks()
    sources = rows.Sources(
        behaviour=drift.behaviour, utility=drift.utility, tune_on=drift.tune_on
    )
    read = rows.read_study(sources, drift.scoring, drift.evaluation, drift.seed)
    loaded = peaks.of("load", lambda: load_model(drift.source))
    encoded = data.encode_study(loaded, read, drift.scoring)
    with bench.opened(loaded, drift.out, settings_of(drift), "drift", ()) as study:
        mobile = tuning.mobile_sites(study, drift.lora)
        estimated = peaks.of(
            "estimate", lambda: estimate(study, encoded, plan_of(drift))
        )
        chosen = peaks.of(
            "scoring",
            lambda: grouping.group_step(
                study, encoded.scored, drift.scoring, drift.groups, mobile
            ),
        )
        live = tuning.live_drift(study, chosen)
        runs = peaks.of(
            "fine-tuning",
            lambda: [
                tuning.tune_step(
                    study,
                    encoded.learnt,
                    drift.lora,
                    live,
                    n,
                )
                for n in range(RUNS)
            ],
        )
        moved = drifting.drift_step(study, runs, live)
        judged = peaks.of(
            "evaluation",
            lambda: evaluation.all_steps(study, encoded.asked, drift.evaluation, runs),
        )
        behaviour_step(study, judged)
        from driftmap.recipes.steps.groups.files import AGREEMENT_FILE
        from driftmap.store.tables import load_table

        peaks.of(
            "the statistics",
            lambda: inference.statistics_step(
                study,
                inference.Findings(
                    groups=grouping.load_groups(study, chosen),
                    tuned=runs,
                    drift=moved,
                    behaviours=behaviour_changes(judged, study.seed),
                    num_shared=0,
                    is_trial=False,
                    agreement=load_table(chosen.path(AGREEMENT_FILE)),
                    kept=ALL_MOVE,
                ),
                drift.testing,
            ),
        )
    files = [p for p in drift.out.rglob("*") if p.is_file()]
    peaks.found["disk"] = sum(p.stat().st_size for p in files)
    return estimated, peaks.found


def _status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(x for x in lines if x.startswith(name)).split()[1])


def estimate(study, encoded, plan):
    from driftmap.recipes.steps.needs import foreseen as needs

    estimates = needs.study_estimates(study, encoded, plan)
    found = {e.what: e.memory.device + e.memory.host for e in estimates}
    parts = needs.study_disk(study, encoded, plan)
    # The report takes the same for every size and most of the time: it is left out.
    sizes = [part.num_bytes for part in parts if part.what != "report"]
    return found | {"disk": sum(sizes)}


def measure(name):
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        warm = study_of(Path(folder) / "warm", *SIZES["tiny"])
        run(warm, estimate)
        return run(study_of(Path(folder) / "sized", *SIZES[name]), estimate)


def figures(name):
    """Estimated and measured bytes of each step of one size, from a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, name], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    from driftmap.core.units import format_bytes

    worst = 1.0
    print("| weights | what | estimated | measured | ratio |\n|---|---|---|---|---|")
    for name in [size for size in SIZES if size != "tiny"]:
        found = figures(name)
        for what, (estimated, measured) in found.items():
            ratio = estimated / measured
            worst = max(worst, ratio, 1 / ratio)
            print(
                f"| {name} | {what} | {format_bytes(estimated)} "
                f"| {format_bytes(measured)} | {ratio:.2f} |",
                flush=True,
            )
    print(f"\nfurthest off: a factor of {worst:.2f}")
    return int(worst > 1.5)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(main())
    estimated, measured = measure(sys.argv[1])
    print(json.dumps({k: (estimated[k], measured[k]) for k in estimated}))
