"""Resampling against weighted sums of chosen pixels in float64."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import run
from image_memory import laid_out, read_back
from oracle import DTYPES
from runtime_ep_cpu.codegen import pixels
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.target import host, named, runnable

TARGETS = runnable()


def table(places, weights, step):
    """Return the numbers of an axis: offsets, and the bits of several taps' weights."""
    offsets = places * step
    if places.shape[1] == 1:
        return np.ascontiguousarray(offsets)
    bits = weights.astype(np.float32).view(np.uint32).astype(np.int64)
    return np.ascontiguousarray(np.hstack([offsets, bits]))


def resampled(x, places, weights, element, pitch=None, target=None, threads=1):
    """Resample an image [batch, channels, 3 sizes]; places and weights are [out, taps]."""
    taps = tuple(each.shape[1] for each in places)
    moved = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}[x.dtype.itemsize]
    own = element if max(taps) > 1 else moved
    spec = Spec.of("resample", element=own, taps=taps)
    sizes = [len(each) for each in places]
    shape = (*x.shape[:2], *sizes)
    memory, steps = laid_out(x, pitch)
    out, strides = laid_out(np.zeros(shape, x.dtype))
    rows = zip(places, weights, steps[1:], strict=True)
    tables = [table(*row) for row in rows]
    plan = pixels.plan(*x.shape[:2], sizes, np.prod(taps), [strides])
    values = [out, memory, *tables, steps[0], *plan.numbers]
    assert len(values) == len(pixels.fields(1))
    run(spec, values, plan.chunks, 0, threads, target or host())
    return read_back(out, strides, shape)


def wanted(x, places, weights):
    found = x.astype(np.float64)
    for axis, (where, factor) in enumerate(zip(places, weights, strict=True), 2):
        seen = np.take(found, where, axis)
        shape = [1] * seen.ndim
        shape[axis : axis + 2] = where.shape
        factor = factor if where.shape[1] > 1 else np.ones_like(factor)
        found = (seen * factor.reshape(shape)).sum(axis + 1)
    return found


def drawn(sizes, outs, taps, seed=0):
    random = np.random.default_rng(seed)
    rows = list(zip(sizes, outs, taps, strict=True))
    places = [random.integers(0, n, (out, count)) for n, out, count in rows]
    weights = [random.normal(size=(out, count)).astype("f4") for _, out, count in rows]
    return places, weights


TAPS = [(1, 2, 1), (1, 2, 2), (2, 2, 2), (1, 4, 4), (1, 1, 1)]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("taps", TAPS)
@pytest.mark.parametrize("element", ["float", "half", "bfloat"])
def test_pixels_are_weighted_and_summed(target, taps, element):
    sizes, outs = (2, 5, 7), (3, 8, 4)
    for channels, pitch in ((1, 1), (5, 8), (16, 16), (133, 140)):
        places, weights = drawn(sizes, outs, taps, channels)
        x = np.random.default_rng(7).normal(size=(2, channels, *sizes))
        x = x.astype(DTYPES[element])
        found = resampled(x, places, weights, element, pitch, named(target))
        limit = {"float": 3e-6, "half": 2e-3, "bfloat": 2e-2}[element]
        got, want = found.astype(np.float64), wanted(x, places, weights)
        np.testing.assert_allclose(got, want, rtol=limit, atol=4 * limit)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64, np.float32])
def test_a_single_tap_moves_elements_of_any_type(target, dtype):
    sizes = (2, 5, 7)
    places, weights = drawn(sizes, (4, 9, 11), (1, 1, 1))
    x = np.random.default_rng(1).integers(-99, 99, (2, 70, *sizes)).astype(dtype)
    found = resampled(x, places, weights, "", 75, named(target))
    np.testing.assert_array_equal(found, wanted(x, places, weights).astype(dtype))


def test_threads_change_no_bit():
    places, weights = drawn((1, 30, 30), (1, 60, 60), (1, 2, 2))
    x = np.random.default_rng(2).normal(size=(1, 130, 1, 30, 30)).astype(np.float32)
    found = [resampled(x, places, weights, "float", threads=n) for n in (1, 2)]
    np.testing.assert_array_equal(*found)
