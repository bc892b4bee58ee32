"""Builds one plan of cuDNN's without a device, as a build machine would.

usage: python -m benchmarks.gpu.deviceless PROPERTIES.json SM PLAN
"""

from __future__ import annotations

import ctypes
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.gpu.here import with_tests


def main() -> None:
    """Write the plan; ends with an exception where there is none."""
    with_tests()
    from library import stub_libcuda
    from runtime_ep_cuda import cudnn

    from benchmarks.gpu.points import image

    properties, sm, target = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        stub = stub_libcuda.build(Path(folder))
        ctypes.CDLL(str(stub), mode=ctypes.RTLD_GLOBAL)
        text = Path(properties).read_text()
        count = json.loads(text)["multiProcessorCount"]
        place = cudnn.Device(int(sm), count, description=text, most=1)
        (plan,) = cudnn.candidates(place, image(), 1 << 28)
        Path(target).write_bytes(plan.save())


if __name__ == "__main__":
    main()
