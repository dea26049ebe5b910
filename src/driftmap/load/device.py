"""Which device does a person mean, and is it there?"""

import re

import torch

from driftmap.core.errors import ModelError


def find_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:INDEX` or `mps` into a device that is there.

    Raises:
        ModelError: The name is unknown, or this machine lacks the device.

    >>> find_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return _best()
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise ModelError(
            f"device {name!r} is unknown; known are auto, cpu, cuda, cuda:INDEX, mps"
        )
    device = torch.device(name)
    there = {"cpu": 1, "mps": int(torch.backends.mps.is_available())}
    count = there.get(device.type, torch.cuda.device_count())
    if (device.index or 0) >= count:
        raise ModelError(
            f"device {name} is not there ({count} of its kind are); use --device auto"
        )
    return device


def _best() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
