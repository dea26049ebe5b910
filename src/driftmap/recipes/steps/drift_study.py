"""In which order does a drift study do its work?"""

from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path

import torch

from driftmap.core.errors import UsageError
from driftmap.core.progress import say
from driftmap.families.matrices import site_weight
from driftmap.load.model import load_model
from driftmap.measure.drift import DriftBaseline, drift_baseline
from driftmap.recipes.drift import Drift
from driftmap.recipes.steps.bench import (
    Study,
    evaluation_data,
    scoring_data,
    tuning_data,
)
from driftmap.recipes.steps.drifting import drift_step
from driftmap.recipes.steps.grouping import group_step, load_groups
from driftmap.recipes.steps.inference import Findings, statistics_step
from driftmap.recipes.steps.reporting import REPORT, report_step
from driftmap.recipes.steps.tuning import LiveDrift, tune_step
from driftmap.store.plain import to_plain
from driftmap.store.run_dir import RunDir
from driftmap.tune.adapter import tuned_sites

FREE = (
    "until",
    "out",
    "source.device",
    "source.device_map",
    "scoring.score_batch_size",
    "scoring.memory",
    "evaluation.eval_batch_size",
)
"""Settings that change where, how far or how fast, but not what comes out."""
