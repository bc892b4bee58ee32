"""Tiles: any depth, any number of columns, nothing outside touched, nothing spilled."""

import ctypes
import re

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import guarded
from runtime_ep_cpu.codegen.library import Spec, library, written
from runtime_ep_cpu.codegen.machine import assembly, function
from runtime_ep_cpu.codegen.microkernel import UNLIMITED, UNROLL, shapes, tiles
from runtime_ep_cpu.codegen.target import host, named

TARGETS = ["avx512", "avx2", "generic"]
RNG = np.random.default_rng(11)
ADDRESS, NUMBER = ctypes.c_void_p, ctypes.c_int64
PARAMETERS = (
    ADDRESS, NUMBER, ADDRESS, ADDRESS, NUMBER, NUMBER, NUMBER, ADDRESS, NUMBER, ADDRESS
)  # fmt: skip
OF_RUNS = (ADDRESS, NUMBER, ADDRESS)


def target_of(name):
    if name == "avx512" and host().name != "avx512":
        pytest.skip("the machine has no AVX-512")
    return named(name)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def multiply(target, rows, vectors, a, b, c, first, bias, columns, c_row=None):
    spec = Spec.of("tile", rows=rows, vectors=vectors)
    kernels = library(target)
    kernels.load([spec])
    made = function(kernels.address(spec), *PARAMETERS)
    made(
        a.ctypes.data, a.strides[0], b.ctypes.data, c.ctypes.data,
        c.strides[0] // 4 if c_row is None else c_row, b.shape[0], first,
        bias.ctypes.data, columns, b.ctypes.data,
    )  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_every_tile_gives_the_product_for_any_depth_and_columns(name):
    target = target_of(name)
    for vectors, most in shapes(target).items():
        width = target.lanes * vectors
        for rows in range(1, most + 1):
            for k in (0, 1, UNROLL - 1, UNROLL, UNROLL + 1, 37):
                columns = int(RNG.integers(1, width + 1))
                a, b = guarded(floats(rows, k)), guarded(floats(k, width))
                a = a if k else np.zeros((rows, 0), np.float32)
                bias, c = floats(width), guarded(floats(rows, columns))
                before = c.copy()
                want = a.astype(np.float64) @ b.astype(np.float64)
                want = want[:, :columns]
                for first in (1, 0):
                    c[...] = before
                    multiply(target, rows, vectors, a, b, c, first, bias, columns)
                    start = bias[:columns] if first else before
                    np.testing.assert_allclose(c, want + start, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", TARGETS)
def test_rows_may_be_far_apart_or_backwards_and_what_lies_between_is_left(name):
    target = target_of(name)
    vectors, rows = min(shapes(target)), 3
    width = target.lanes * vectors
    a, b, bias = floats(rows, 50), floats(20, width), np.zeros(width, np.float32)
    c = np.full((rows, width + 9), 7, np.float32)
    multiply(target, rows, vectors, a[::-1, 5:25], b, c, 1, bias, width - 1)
    want = a[::-1, 5:25].astype(np.float64) @ b
    np.testing.assert_allclose(c[:, : width - 1], want[:, :-1], atol=2e-5)
    assert (c[:, width - 1 :] == 7).all()


@pytest.mark.parametrize("name", TARGETS)
def test_a_row_is_summed_in_the_same_order_in_every_tile(name):
    target = target_of(name)
    for vectors, most in shapes(target).items():
        width = target.lanes * vectors
        a, b, bias = floats(most, 101), floats(101, width), floats(width)
        alone = np.zeros((most, width), np.float32)
        for row in range(most):
            multiply(target, 1, vectors, a[row:], b, alone[row:], 1, bias, width)
        together = np.zeros((most, width), np.float32)
        multiply(target, most, vectors, a, b, together, 1, bias, width)
        np.testing.assert_array_equal(alone.view(np.int32), together.view(np.int32))


@pytest.mark.parametrize("name", TARGETS)
def test_runs_lie_anywhere_and_are_one_product_of_all_that_they_hold(name):
    target = target_of(name)
    kernels = library(target)
    for vectors, most in shapes(target, runs=True).items():
        width = target.lanes * vectors
        for rows, k, count in ((most, 7, 3), (1, 4, 5), (most - 1, 1, 1), (2, 9, 2)):
            whole = floats(200)
            starts = RNG.integers(0, 150 - 3 * rows, count)
            steps = np.diff(starts, prepend=-k) - k
            steps *= 4
            b, bias = guarded(floats(count * k, width)), floats(width)
            a = np.stack([
                [whole[3 * row + s : 3 * row + s + k] for s in starts]
                for row in range(rows)
            ]).reshape(rows, count * k)  # fmt: skip
            c = guarded(floats(rows, width - 1))
            spec = Spec.of("runs", rows=rows, vectors=vectors)
            kernels.load([spec])
            made = function(kernels.address(spec), *PARAMETERS, *OF_RUNS)
            limits = np.array(UNLIMITED, np.float32)
            made(
                whole.ctypes.data, 12, b.ctypes.data, c.ctypes.data, width - 1, k, 1,
                bias.ctypes.data, width - 1, b.ctypes.data, steps.ctypes.data, count,
                limits.ctypes.data,
            )  # fmt: skip
            want = a.astype(np.float64) @ b + bias
            np.testing.assert_allclose(c, want[:, :-1], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", TARGETS)
def test_results_of_runs_stay_within_limits_and_nan_stays_nan(name):
    target = target_of(name)
    kernels = library(target)
    spec = Spec.of("runs", rows=2, vectors=1)
    kernels.load([spec])
    made = function(kernels.address(spec), *PARAMETERS, *OF_RUNS)
    width = target.lanes
    a, b = np.ones((2, 1), np.float32), np.zeros((1, width), np.float32)
    bias = np.linspace(-9, 9, width, dtype=np.float32)
    bias[:3] = np.nan, np.inf, -np.inf
    steps = np.zeros(1, np.int64)
    for low, high in ((0, np.inf), (0, 6), (-np.inf, 2), (-3, -3)):
        c, limits = floats(2, width), np.array((low, high), np.float32)
        made(
            a.ctypes.data, 4, b.ctypes.data, c.ctypes.data, width, 1, 1,
            bias.ctypes.data, width, b.ctypes.data, steps.ctypes.data, 1,
            limits.ctypes.data,
        )  # fmt: skip
        np.testing.assert_array_equal(c, np.broadcast_to(bias, c.shape).clip(low, high))


def hot_loops(text):
    """Return the lines of every loop, from a label to the last jump back to it."""
    lines, labels, loops = text.splitlines(), {}, []
    for number, line in enumerate(lines):
        if found := re.match(r"\s*([\w.$]+):", line):
            labels[found[1]] = number
        jump = re.match(r"\s+j\w+\s+([\w.$]+)$", line)
        name = jump[1] if jump else ""
        name = name[:-1] if name.endswith("b") and name[:-1].isdigit() else name
        if name in labels:
            loops.append(lines[labels[name] : number + 1])
    return loops


@pytest.mark.skipif(host().name != "avx512", reason="reads AVX-512 code")
@pytest.mark.parametrize("vectors", [1, 2, 3, 4])
@pytest.mark.parametrize("runs", [False, True])
def test_no_tile_spills_a_vector_in_its_loops(vectors, runs):
    target = host()
    for spec in tiles(target, vectors, runs):
        rows = dict(spec.parameters)["rows"]
        text = assembly(written([spec], target), target)
        loops = [
            loop for loop in hot_loops(text) if any("vfmadd" in line for line in loop)
        ]
        sums = sorted(sum("vfmadd" in line for line in loop) for loop in loops)
        one = rows * (2 if vectors == 1 and target.halves else vectors)
        assert sums == [one, UNROLL * one, *([(UNROLL + 1) * one] if runs else [])]
        for loop in loops:
            assert not re.search(r"mov\w\s+%rsp, %rbp", text)
            spilled = [line for line in loop if "mm" in line and "(%rsp" in line]
            assert not spilled
            assert not [line for line in loop if re.search(r"vmova\w+\s+%[yz]mm", line)]


@pytest.mark.skipif(host().name != "avx512", reason="reads AVX-512 code")
def test_a_tile_uses_the_stack_for_no_vector_at_all():
    target = host()
    for vectors, most in shapes(target).items():
        spec = Spec.of("tile", rows=most, vectors=vectors)
        text = assembly(written([spec], target), target)
        spilled = [
            line for line in text.splitlines() if "mm" in line and "(%rsp" in line
        ]
        assert not spilled, spilled
