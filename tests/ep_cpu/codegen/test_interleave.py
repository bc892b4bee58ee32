"""Planes become pixels: any number of channels, rows with gaps, nothing else touched."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import guarded, run
from runtime_ep_cpu.codegen import interleave
from runtime_ep_cpu.codegen.target import named, runnable


@pytest.mark.parametrize("target", runnable())
@pytest.mark.parametrize("channels", range(2, interleave.MOST + 1))
@pytest.mark.parametrize("width", [1, 7, 16, 37])
def test_every_pixel_holds_what_the_planes_hold_there(target, channels, width):
    rng = np.random.default_rng(channels)
    planes = guarded(rng.standard_normal((2, channels, 3, width)).astype(np.float32))
    image = guarded(np.full((2, 5, width + 2, channels), 7, np.float32))
    want = image.copy()
    want[:, 1:4, 1 : width + 1] = planes.transpose(0, 2, 3, 1)
    inside = image[:, 1:4, 1:]
    step = [size // 4 for size in image.strides]
    made = interleave.plan(
        channels,
        (2, 3, width),
        step[:3],
        [size // 4 for size in (planes.strides[0], *planes.strides[2:])],
        planes.strides[1] // 4,
    )
    arguments = [inside.ctypes.data, planes, *made.numbers]
    run(interleave.spec(channels), arguments, made.chunks, target=named(target))
    np.testing.assert_array_equal(image, want)
