"""Runs a command in a process that fails by itself, to see how the others end.

`torchrun --nproc-per-node 2 tests/rank_faults.py FAULT WORD...`
"""

import sys

from driftmap.cli.main import main
from driftmap.core.errors import ModelError
from driftmap.core.launch import read_launch


def no_model(source):
    """A machine without the model."""
    raise ModelError(f"{source.model}: it is not on this machine; copy it")


def break_down(*_args, **_kwargs):
    """What nobody foresees."""
    raise OSError("the bus fell off")


def interrupted(*_args, **_kwargs):
    """A person who has seen enough."""
    raise KeyboardInterrupt


def fail(fault, rank):
    """Make this process fail, if it is the one."""
    import driftmap.load.model
    from driftmap.tune.trainer import WatchedTrainer

    if fault == "load" and rank == 1:
        driftmap.load.model.load_model = no_model
    if fault == "step" and rank == 1:
        WatchedTrainer._clip_grad_norm = break_down
    if fault == "interrupt" and rank == 0:
        WatchedTrainer._clip_grad_norm = interrupted


if __name__ == "__main__":
    import os

    fail(sys.argv[1], read_launch(os.environ).rank)
    sys.exit(main(sys.argv[2:]))
