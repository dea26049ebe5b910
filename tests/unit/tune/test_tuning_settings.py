import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftmap.core.errors import UsageError
from driftmap.tune.schedule import checkpoint_steps, drift_steps, total_steps
from driftmap.tune.settings import TuningSettings, matches


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("lora_r", 0, "--lora-r is 0: it must be at least 1"),
        ("save_steps", 0, "--save-steps is 0: it must be at least 1"),
        ("lora_dropout", 1.0, "--lora-dropout is 1.0: it must be from 0 to below 1"),
        ("learning_rate", 0.0, "--learning-rate is 0.0: it must be above 0"),
        ("max_steps", 0, "--max-steps is 0: it must be at least 1, or -1"),
    ],
)
def test_numbers_outside_their_range_are_refused(field, value, text):
    with pytest.raises(UsageError, match=text):
        TuningSettings(**{field: value})


def test_settings_import_neither_torch_nor_transformers():
    code = (
        "import sys, driftmap.tune.settings, driftmap.tune.schedule; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'peft')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(total=st.integers(1, 5000), save=st.integers(1, 700), drift=st.integers(1, 700))
def test_schedules_hold_both_ends_and_are_ascending(total, save, drift):
    saved = checkpoint_steps(total, save)
    measured = drift_steps(total, save, drift)
    for steps in (saved, measured):
        assert steps[0] == 0
        assert steps[-1] == total
        assert list(steps) == sorted(set(steps))
    assert set(saved) <= set(measured)
    assert set(range(0, total, save)) <= set(saved)
    assert set(range(0, total, drift)) <= set(measured)


def test_last_incomplete_batch_is_a_step():
    settings = TuningSettings(batch_size=2, grad_accum=2, num_epochs=3)
    assert total_steps(13, settings) == 12
    assert total_steps(1, settings) == 3


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"rank_pattern": ("q_proj",)}, r"--rank-pattern q_proj: give a module and a"),
        ({"rank_pattern": ("q_proj=0",)}, r"--rank-pattern q_proj=0: give a module"),
        ({"alpha_pattern": ("=8",)}, r"--alpha-pattern =8: give a module and a number"),
        (
            {"alpha_pattern": ("q(=8",)},
            r"--alpha-pattern q\(: is no regular expression",
        ),
        ({"target_modules": ("*_proj",)}, r"--target-modules \*_proj: is no regular"),
        (
            {"target_modules": ("q_proj",), "lora_parts": ("q",)},
            "--lora-parts and --target-modules both say what to tune; give one",
        ),
        (
            {"tune": "full", "dora": True},
            "--dora is about adapters, and --tune full trains the weights themselves",
        ),
        (
            {"tune": "full", "target_modules": ("q_proj",)},
            "--target-modules is about adapters, and --tune full trains the weights",
        ),
        ({"tune": "full", "lora_r": 4}, "--lora-r is about adapters, and --tune full"),
        (
            {"tune": "full", "rank_pattern": ("q=2",)},
            "--rank-pattern is about adapters, and --tune full",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(given, text):
    with pytest.raises(UsageError, match=text):
        TuningSettings(**given)


def test_first_pattern_that_matches_the_end_of_a_path_counts():
    settings = TuningSettings(
        rank_pattern=(r"layers\.0\..*=2", "q_proj=4", "proj=99"),
        alpha_pattern=("self_attn.q_proj=3",),
    )
    paths = [f"model.layers.{n}.self_attn.{m}" for n in (0, 1) for m in ("q_proj", "k")]
    assert [settings.rank(path) for path in paths] == [2, 2, 4, 8]
    assert [settings.alpha(path) for path in paths] == [3, 16, 3, 16]
    assert settings.unused_pattern(paths) == "--rank-pattern proj=99"
    assert settings.unused_pattern([*paths, "x.proj"]) is None


@pytest.mark.parametrize(
    "regex", ["q_proj", r"layers\.1\..*", "a|b", "(x|y)_proj", "."]
)
def test_paths_are_matched_as_peft_matches_them(regex):
    from peft.utils.other import get_pattern_key

    for path in ("model.layers.1.q_proj", "layers.11.q_proj", "b", "x_proj", "ab", "c"):
        assert matches(regex, path) == (get_pattern_key([regex], path) == regex)
