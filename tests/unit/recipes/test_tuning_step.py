from functools import partial

import numpy as np
import pytest

from driftmap.families.matrices import site_weight
from driftmap.load.encoding import Encoding, encode
from driftmap.load.samples import read_samples
from driftmap.measure.drift import drift_baseline
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.inference.drifting import drift_step
from driftmap.recipes.steps.tuning.training import (
    LiveDrift,
    checkpoint_folders,
    tune_step,
)
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.store.run_dir import RunDir
from driftmap.store.tables import load_table
from driftmap.tune.settings import TuningSettings

SETTINGS = TuningSettings(
    max_steps=4,
    batch_size=2,
    grad_accum=1,
    save_steps=2,
    drift_every=1,
    learning_rate=0.01,
)
ALL_STEPS = [0, 1, 2, 3, 4]
CHECKPOINTS = [0, 2, 4]


@pytest.fixture
def samples(loaded, data):
    read = read_samples(str(data["tune"]))
    encoded = encode(read.samples, loaded.tokenizer, Encoding(learn_end=True))
    return encoded, read.sha256


@pytest.fixture
def begun(loaded, tmp_path):
    """A study in a new folder, as often as it is called."""
    runs = []

    def begin(seed=0):
        run = RunDir.open(tmp_path / f"run-{len(runs)}", {"seed": seed}, "drift")
        runs.append(run)
        return Study(run=run, loaded=loaded, seed=seed)

    yield begin
    for run in runs:
        run.close()


def live(loaded, name, *, die_at=None):
    """Drift of one group of a few weights; `die_at` counts the steps measured."""
    site = loaded.layout.sites[0]
    members = np.arange(5, dtype=np.int64) + ord(name)
    identity = loaded.identity
    origin = GroupOrigin(
        model_sha256=identity.sha256, base_sha256=identity.base_sha256, rule="top"
    )
    group = WeightGroup(name=name, members={site: members}, origin=origin)
    whole = drift_baseline([group], partial(site_weight, loaded.model))
    asked = []

    def baseline():
        asked.append(name)
        if len(asked) - 1 == die_at:
            raise KeyboardInterrupt
        return whole

    return LiveDrift(groups_key=name * 64, baseline=baseline)


def killed(study, samples, drift):
    """Begin to tune, and give the folder that the killed process leaves."""
    with pytest.raises(KeyboardInterrupt):
        tune_step(study, samples, SETTINGS, drift, 0)
    (work,) = study.run.path.glob("steps/tune-seed-0.work/*")
    return work


def steps_of(table):
    return sorted(set(table["step"].tolist()))


def made(study, outcome):
    return {name: (study.run.path / name).read_bytes() for name in outcome.files}


def test_groups_that_change_on_the_way_are_not_mixed(begun, loaded, samples):
    study, new = begun(), live(loaded, "b")
    killed(study, samples, live(loaded, "a", die_at=3))
    tuned = tune_step(study, samples, SETTINGS, new, 0)
    assert not [name for name in tuned.files if name.startswith("tables/live")]
    drift = load_table(drift_step(study, [tuned], new).path("tables/drift.parquet"))
    assert set(drift["group"].tolist()) == {"b"}
    assert steps_of(drift) == CHECKPOINTS


def test_the_same_groups_go_on_after_a_kill(begun, loaded, samples):
    study, other = begun(), begun()
    killed(study, samples, live(loaded, "a", die_at=3))
    tuned = tune_step(study, samples, SETTINGS, live(loaded, "a"), 0)
    whole = tune_step(other, samples, SETTINGS, live(loaded, "a"), 0)
    assert made(study, tuned) == made(other, whole)
    assert steps_of(load_table(tuned.path(live(loaded, "a").file(0)))) == ALL_STEPS


def test_what_a_killed_write_leaves_is_neither_read_nor_kept(begun, loaded, samples):
    study, other = begun(), begun()
    work = killed(study, samples, live(loaded, "a", die_at=2))
    adapter = work / "checkpoints/step-000002"
    (adapter / "adapter_model.safetensors").write_bytes(b"half")
    (adapter / "tmpxyz").write_bytes(b"half")
    (work / "checkpoint.partial").mkdir()
    (work / "checkpoint.partial/tmpabc").write_bytes(b"half")
    table = work / f"live/{live(loaded, 'a').folder}/.step-000003.parquet.12.tmp"
    table.write_bytes(b"half")
    tuned = tune_step(study, samples, SETTINGS, live(loaded, "a"), 0)
    whole = tune_step(other, samples, SETTINGS, live(loaded, "a"), 0)
    assert made(study, tuned) == made(other, whole)
    assert list(checkpoint_folders(tuned, 0)) == CHECKPOINTS
    assert not work.parent.exists()


def test_drift_of_checkpoints_alone_is_another_result(begun, loaded, samples):
    fresh, later = begun(), begun()
    first = tune_step(fresh, samples, SETTINGS, live(loaded, "b"), 0)
    second = tune_step(later, samples, SETTINGS, live(loaded, "a"), 0)
    assert first.key == second.key
    every = drift_step(fresh, [first], live(loaded, "b"))
    few = drift_step(later, [second], live(loaded, "b"))
    assert every.key != few.key
    whole = load_table(every.path("tables/drift.parquet"))
    read = load_table(few.path("tables/drift.parquet"))
    assert (steps_of(whole), steps_of(read)) == (ALL_STEPS, CHECKPOINTS)
    of_both = [row for row in whole.rows() if row["step"] in CHECKPOINTS]
    assert [row["mean"] for row in read.rows()] == pytest.approx(
        [row["mean"] for row in of_both], nan_ok=True
    )


def test_all_runs_are_read_alike_if_one_lacks_its_live_drift(begun, loaded, samples):
    study, groups = begun(), live(loaded, "b")
    killed(study, samples, live(loaded, "a", die_at=3))
    tuned = [tune_step(study, samples, SETTINGS, groups, n) for n in range(2)]
    assert groups.file(1) in tuned[1].files
    drift = load_table(drift_step(study, tuned, groups).path("tables/drift.parquet"))
    for number in range(2):
        assert steps_of(drift.where(seed=number)) == CHECKPOINTS


def test_neighbouring_seeds_share_no_training(begun, loaded, samples):
    keys, losses = set(), set()
    for seed, number in ((0, 1), (1, 0)):
        tuned = tune_step(begun(seed), samples, SETTINGS, live(loaded, "a"), number)
        table = load_table(tuned.path(f"tables/losses/seed-{number}.parquet"))
        assert set(table["seed"].tolist()) == {number}
        keys.add(tuned.key)
        losses.add(tuple(table["loss_nats"].tolist()))
    assert (len(keys), len(losses)) == (2, 2)
