"""Depthwise tiles and kernels: every size, nothing outside touched, nothing spilled."""

import ctypes
import re

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import guarded
from listing import innermost, on_stack
from runtime_ep_cpu.codegen.depthwise import blocking
from runtime_ep_cpu.codegen.depthwise_tile import MOST_TAPS, along, sizes, tiles
from runtime_ep_cpu.codegen.library import library, written
from runtime_ep_cpu.codegen.machine import assembly, function
from runtime_ep_cpu.codegen.microkernel import UNLIMITED
from runtime_ep_cpu.codegen.target import crossed, named, runnable

TARGETS = runnable()
RNG = np.random.default_rng(17)
ADDRESS, NUMBER = ctypes.c_void_p, ctypes.c_int64
PARAMETERS = (
    ADDRESS, NUMBER, ADDRESS, NUMBER, ADDRESS, ADDRESS, ADDRESS, NUMBER, NUMBER,
    ADDRESS, NUMBER, ADDRESS,
)  # fmt: skip
SHAPES = [(1, 1, 1), (3, 1, 1), (3, 2, 1), (2, 3, 2), (5, 1, 2), (5, 2, 1), (7, 1, 1)]
"""Taps, stride and dilation along a row."""


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def convolve(target, spec, x, w, bias, out, count, limits=UNLIMITED):
    """Run one tile: x [rows, places, lanes], w [rows, taps, lanes], out [pixels, lanes]."""
    kernels = library(target)
    kernels.load([spec])
    made = function(kernels.address(spec), *PARAMETERS)
    steps = np.array([x.strides[0] * row for row in range(len(x))], np.int64)
    kept = np.array(limits, np.float32)
    made(
        x.ctypes.data, x.strides[1], steps.ctypes.data, len(x), w.ctypes.data,
        bias.ctypes.data, out.ctypes.data, out.strides[0] // 4, count,
        steps.ctypes.data, len(steps), kept.ctypes.data,
    )  # fmt: skip


def expected(x, w, bias, pixels, step, gap):
    """Return ``[pixels, lanes]`` in double precision."""
    wide = x.astype(np.float64)
    found = np.broadcast_to(bias.astype(np.float64), (pixels, len(bias))).copy()
    for tap in range(w.shape[1]):
        seen = wide[:, tap * gap : tap * gap + (pixels - 1) * step + 1 : step]
        found += (seen * w[:, tap, None]).sum(0)
    return found


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(("taps", "step", "gap"), SHAPES)
def test_every_tile_sums_the_taps_of_each_pixel(name, taps, step, gap):
    target = named(name)
    for size, spec in zip(sizes(target), tiles(target, taps, step, gap), strict=True):
        for rows, count in ((1, 1), (3, 2)):
            pixels = size * count
            places = (pixels - 1) * step + (taps - 1) * gap + 1
            x = guarded(floats(rows, places, target.lanes))
            w = guarded(floats(rows, taps, target.lanes))
            bias, out = floats(target.lanes), guarded(floats(pixels, target.lanes))
            convolve(target, spec, x, w, bias, out, count)
            want = expected(x, w, bias, pixels, step, gap)
            np.testing.assert_allclose(out, want, rtol=0, atol=2e-5)
            convolve(target, spec, x, w, bias, out, count, (-0.5, 1))
            np.testing.assert_allclose(out, want.clip(-0.5, 1), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", TARGETS)
def test_a_pixel_is_summed_in_the_same_order_in_every_tile(name):
    target = named(name)
    most = sizes(target)[0]
    x, w = floats(3, most + 4, target.lanes), floats(3, 5, target.lanes)
    bias = floats(target.lanes)
    results = []
    for size, spec in zip(sizes(target), tiles(target, 5, 1, 1), strict=True):
        out = np.zeros((most, target.lanes), np.float32)
        convolve(target, spec, x, w, bias, out, most // size)
        results.append(out[: most // size * size])
    for other in results[1:]:
        same = results[0][: len(other)]
        np.testing.assert_array_equal(same.view(np.int32), other.view(np.int32))


@pytest.mark.parametrize("taps", [1, 2, 3, 5, 7, 8, 9, 11, 15, 31, 49])
def test_a_row_is_taken_in_equal_parts_that_fit_registers(taps):
    part = along(taps)
    assert taps % part == 0
    assert part <= MOST_TAPS


@pytest.mark.parametrize("taps", [3, 5, 7])
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(
    ("name", "machine"), [("avx512", "x86_64"), ("avx2", "x86_64"), ("neon", "aarch64")]
)
def test_no_tile_keeps_a_vector_on_the_stack(taps, step, name, machine):
    target = crossed(name, f"{machine}-unknown-linux-gnu")
    for size, spec in zip(sizes(target), tiles(target, taps, step, 1), strict=True):
        text = assembly(written([spec], target), target, remarks=True)
        loops = [line for loop in innermost(text) for line in loop]
        products = [line for line in loops if re.match(r"\s+(vfmadd|fmla)", line)]
        assert len(products) == size * taps
        assert not on_stack(loops)


@pytest.mark.parametrize(
    ("rows", "pixels", "panels", "taps"),
    [(112, 56, 2, 9), (56, 56, 9, 9), (14, 14, 24, 49), (7, 7, 60, 9), (1, 1, 1, 1),
     (3, 1, 200, 9), (500, 64, 1, 25)],
)  # fmt: skip
def test_chunks_hold_every_row_and_panel_once(rows, pixels, panels, taps):
    cut = blocking(rows, pixels, panels, taps, 16)
    assert (cut.blocks - 1) * cut.block < rows <= cut.blocks * cut.block
    assert (cut.groups - 1) * cut.panels < panels <= cut.groups * cut.panels
