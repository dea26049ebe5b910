import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftmap.core.errors import UsageError
from driftmap.tune.schedule import checkpoint_steps, drift_steps, total_steps
from driftmap.tune.settings import TuningSettings


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
