"""The CUDA provider with the host double for a GPU, as the conformance kit loads it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "plugins/ep-cuda")]

from double.host import HostDriver  # noqa: E402
from runtime.plugin import Device, Probe  # noqa: E402
from runtime_ep_cuda import devices  # noqa: E402
from runtime_ep_cuda.info import info as described  # noqa: E402
from runtime_ep_cuda.provider import CudaProvider  # noqa: E402

_found = Probe((Device("cuda", 0),))
_lasting = devices.replaced(HostDriver)
_lasting.__enter__()


class Doubled(CudaProvider):
    """Opens doubles for as long as the process lives."""

    info = replace(described, probe=lambda: _found)


provider = Doubled()
