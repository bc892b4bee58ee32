"""Tiles: any depth, any number of columns, nothing outside touched, nothing spilled."""

import ctypes
import re

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import guarded
from kernels import readable
from listing import innermost, on_stack
from runtime_ep_cpu.codegen.library import Spec, library, written
from runtime_ep_cpu.codegen.machine import assembly, function
from runtime_ep_cpu.codegen.microkernel import (
    UNLIMITED,
    shapes,
    tiles,
    tiles_of_columns,
    usual_width,
)
from runtime_ep_cpu.codegen.target import host, named, runnable
from runtime_ep_cpu.codegen.tile_assembly import UNROLL

TARGETS = runnable()
RNG = np.random.default_rng(11)
ADDRESS, NUMBER = ctypes.c_void_p, ctypes.c_int64
PARAMETERS = (
    ADDRESS, NUMBER, ADDRESS, ADDRESS, NUMBER, NUMBER, NUMBER, ADDRESS, NUMBER, ADDRESS
)  # fmt: skip
OF_RUNS = (ADDRESS, NUMBER, ADDRESS)


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
    target = named(name)
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
@pytest.mark.parametrize("same", [False, True])
def test_a_tile_may_multiply_by_a_difference_of_panels_which_it_keeps(name, same):
    target = named(name)
    vectors = usual_width(target)
    width, rows = target.lanes * vectors, shapes(target)[vectors]
    spec = Spec.of("difference_tile", rows=rows, vectors=vectors)
    kernels = library(target)
    kernels.load([spec])
    made = function(kernels.address(spec), *PARAMETERS, ADDRESS, ADDRESS)
    for k in (1, UNROLL, 2 * UNROLL + 3):
        a, bias = guarded(floats(rows, k)), floats(width)
        b, less = guarded(floats(k, width)), guarded(floats(k, width))
        into = b if same else guarded(np.zeros((k, width), np.float32))
        c, difference = guarded(floats(rows, width)), b - less
        made(
            a.ctypes.data, a.strides[0], b.ctypes.data, c.ctypes.data, width, k, 1,
            bias.ctypes.data, width, b.ctypes.data, less.ctypes.data, into.ctypes.data,
        )  # fmt: skip
        np.testing.assert_array_equal(into, difference)
        want = a.astype(np.float64) @ difference + bias
        np.testing.assert_allclose(c, want, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", TARGETS)
def test_rows_may_be_far_apart_or_backwards_and_what_lies_between_is_left(name):
    target = named(name)
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
    target = named(name)
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
    target = named(name)
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


@pytest.mark.skipif(not host().halves, reason="has units of a whole register")
@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_a_half_register_of_zeros_is_left_out(vectors):
    target, k = host(), 9
    width = target.lanes * vectors
    columns = width - target.lanes // 2
    whole = tiles_of_columns(target, vectors, columns + 1)
    assert whole == tiles(target, vectors, runs=True)
    kernels, limits = library(target), np.array(UNLIMITED, np.float32)
    steps = np.zeros(1, np.int64)
    for rows, spec in enumerate(tiles_of_columns(target, vectors, columns), 1):
        kernels.load([spec])
        made = function(kernels.address(spec), *PARAMETERS, *OF_RUNS)
        a, b, bias = guarded(floats(rows, k)), guarded(floats(k, width)), floats(width)
        c = guarded(floats(rows, columns))
        made(
            a.ctypes.data, 4 * k, b.ctypes.data, c.ctypes.data, columns, k, 1,
            bias.ctypes.data, columns, b.ctypes.data, steps.ctypes.data, 1,
            limits.ctypes.data,
        )  # fmt: skip
        want = a.astype(np.float64) @ b + bias
        np.testing.assert_allclose(c, want[:, :columns], rtol=0, atol=2e-5)
        text = assembly(written([spec], target), target)
        once = rows * (2 * vectors - 1)
        assert text.count("vfmadd") == (UNROLL + 1) * once


@pytest.mark.parametrize("name", TARGETS)
def test_results_of_runs_stay_within_limits_and_nan_stays_nan(name):
    target = named(name)
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


CODE = readable()
PRODUCT = re.compile(r"\s+(?:vfmadd|fmla)")
MOVE = re.compile(r"\s+(?:vmova\w+\s+%[yz]mm|mov\s+v\d+\.16b)")


@pytest.mark.parametrize("name", CODE)
@pytest.mark.parametrize("runs", [False, True])
def test_no_tile_moves_a_sum_in_its_loops(name, runs):
    target = CODE[name]
    for vectors in shapes(target):
        for spec in tiles(target, vectors, runs):
            one = dict(spec.parameters)["rows"] * vectors
            one *= 2 if vectors == 1 and target.halves else 1
            text = assembly(written([spec], target), target, remarks=True)
            found = [loop for loop in innermost(text) if any(map(PRODUCT.match, loop))]
            sums = sorted(sum(map(bool, map(PRODUCT.match, loop))) for loop in found)
            assert sums == [one, UNROLL * one]
            for loop in found:
                assert not on_stack(loop)
                assert not any(map(MOVE.match, loop))


@pytest.mark.parametrize("name", sorted(CODE.keys() - {"neon"}))
def test_a_tile_uses_the_stack_for_no_vector_at_all(name):
    target = CODE[name]
    for vectors, most in shapes(target).items():
        spec = Spec.of("tile", rows=most, vectors=vectors)
        text = assembly(written([spec], target), target, remarks=True)
        assert not on_stack(text.splitlines())


def test_on_neon_factors_are_lanes():
    target = CODE["neon"]
    for vectors, most in shapes(target).items():
        spec = Spec.of("tile", rows=most, vectors=vectors)
        text = assembly(written([spec], target), target, remarks=True)
        (loop, _) = sorted(
            (loop for loop in innermost(text) if any(map(PRODUCT.match, loop))),
            key=len,
            reverse=True,
        )
        products = [line for line in loop if PRODUCT.match(line)]
        assert all(re.search(r"v\d+\.s\[[0-3]\]$", line) for line in products)
        loads = [line for line in loop if re.match(r"\s+ld", line)]
        assert len(loads) <= most + UNROLL * vectors
