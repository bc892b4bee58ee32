"""The TensorRT provider over doubles of TensorRT and of a GPU, as the kit loads it."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [
    str(HERE),
    str(ROOT / "tests/ep_cuda"),
    str(ROOT / "plugins/ep-tensorrt"),
    str(ROOT / "plugins/ep-cuda"),
]

from double.host import HostDriver  # noqa: E402
from runtime.plugin import Device, Probe  # noqa: E402
from runtime_ep_cuda import devices  # noqa: E402
from runtime_ep_tensorrt.info import info as described  # noqa: E402
from runtime_ep_tensorrt.provider import TensorrtProvider  # noqa: E402
from tensorrt_double import Double, installed  # noqa: E402

_found = Probe((Device("cuda", 0),))
_card = devices.replaced(HostDriver)
_card.__enter__()
_major = int(os.environ.get("RUNTIME_TENSORRT_DOUBLE", "11"))
_api = installed(Double(_major, lambda: devices.device(0).driver))
_api.__enter__()


class Doubled(TensorrtProvider):
    """Opens doubles for as long as the process lives."""

    info = replace(described, probe=lambda: _found)


provider = Doubled()
