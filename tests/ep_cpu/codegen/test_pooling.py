"""Pooling over images against a formula over every window in float64."""

from itertools import product

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import run
from image_memory import laid_out, read_back
from oracle import DTYPES, identity
from runtime_ep_cpu.codegen import pixels, pooling
from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.target import host, named, runnable

TARGETS = runnable()
FORMULAS = {
    "sum": np.sum,
    "mean": np.sum,
    "max": lambda x: x.max(initial=-np.inf),
    "min": lambda x: x.min(initial=np.inf),
    "l1": lambda x: np.abs(x).sum(),
    "l2": lambda x: np.sqrt((x * x).sum()),
    "sum_square": lambda x: (x * x).sum(),
    "prod": np.prod,
}


class Axis:
    """Windows along one axis: where each begins, of how many taps how far apart."""

    def __init__(self, size, kernel, stride=1, gap=1, before=0, after=0):
        self.size, self.kernel, self.gap = size, kernel, gap
        reach = (kernel - 1) * gap + 1
        count = (size + before + after - reach) // stride + 1
        self.starts = [i * stride - before for i in range(count)]

    def taps(self, start):
        every = [start + i * self.gap for i in range(self.kernel)]
        return [i for i in every if 0 <= i < self.size]


PLAIN = Axis(1, 1)


def pooled(spec, x, axes, pitch=None, target=None, threads=1, divisor=True):
    """Pool an image [batch, channels, 3 sizes]; return each result like it."""
    results = ["float"] if spec.family == "pool" else None
    parameters = dict(spec.parameters)
    if results is None:
        results = [parameters["element"], "i64"]
    else:
        results = [parameters["epilogue"].results[0][1]]
    batch, channels = x.shape[:2]
    sizes = [len(axis.starts) for axis in axes]
    memory, steps = laid_out(x, pitch)
    made = [laid_out(np.zeros((batch, channels, *sizes), DTYPES[e])) for e in results]
    positions = [axes[1].size * axes[2].size, axes[2].size, 1]
    tables = []
    for axis, step, position in zip(axes, steps[1:], positions, strict=True):
        rows = []
        for start in axis.starts:
            taps = axis.taps(start)
            first = taps[0] if taps else 0
            count = len(taps) if divisor else axis.kernel
            rows += [first * step, len(taps), max(count, 1), first * position]
        tables.append(np.array(rows, np.int64))
    taps = np.prod([axis.kernel for axis in axes])
    plan = pixels.plan(batch, channels, sizes, taps, [s for _, s in made])
    gaps = [axis.gap for axis in axes]
    values = [
        *(m for m, _ in made),
        memory,
        *tables,
        *(gap * step for gap, step in zip(gaps, steps[1:], strict=True)),
        *(gap * step for gap, step in zip(gaps, positions, strict=True)),
        int(np.prod([axis.size for axis in axes])),
        steps[0],
        *plan.numbers,
    ]
    assert len(values) == len(pixels.fields(len(made), pooling.EXTRA))
    run(spec, values, plan.chunks, 0, threads, target or host())
    return [read_back(m, s, (batch, channels, *sizes)) for m, s in made]


def wanted(x, axes, formula, divisor=None):
    batch, channels = x.shape[:2]
    sizes = [len(axis.starts) for axis in axes]
    y = np.zeros((batch, channels, *sizes))
    for place in product(*map(range, sizes)):
        taps = [axis.taps(axis.starts[i]) for axis, i in zip(axes, place, strict=True)]
        window = x[np.ix_(range(batch), range(channels), *taps)].astype(np.float64)
        for n, c in product(range(batch), range(channels)):
            y[(n, c, *place)] = formula(window[n, c])
            if divisor:
                y[(n, c, *place)] /= max(1, np.prod([len(t) for t in taps]))
    return y


def spec_of(operation, given="float", prologue=None, epilogue=None):
    computed = Expression(("float",), (), ((0, given),))
    return Spec.of(
        "pool",
        operation=operation,
        prologue=prologue or identity(given),
        epilogue=epilogue or computed,
    )


def numbers(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


WINDOWS = {
    "3x3 by 2, padded": (PLAIN, Axis(9, 3, 2, 1, 1, 1), Axis(8, 3, 2, 1, 1, 1)),
    "2x2 with gaps": (PLAIN, Axis(7, 2, 1, 3), Axis(9, 2, 2, 2, 1)),
    "line": (PLAIN, Axis(20, 4, 3, 1, 2, 1), PLAIN),
    "box": (Axis(4, 2, 1, 1, 1), Axis(5, 3, 2), Axis(6, 2, 2, 1, 0, 1)),
    "everything": (Axis(3, 3), Axis(7, 7), Axis(5, 5)),
    "beyond the image": (PLAIN, Axis(3, 2, 4, 1, 4, 6), Axis(4, 1, 3, 1, 3, 3)),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("operation", FORMULAS)
@pytest.mark.parametrize("windows", WINDOWS)
def test_windows_are_reduced(target, operation, windows):
    axes = WINDOWS[windows]
    for channels, pitch in ((1, 1), (5, 9), (16, 16), (70, 80), (133, 133)):
        x = numbers((2, channels, *(axis.size for axis in axes)), seed=channels)
        (found,) = pooled(spec_of(operation), x, axes, pitch, named(target))
        want = wanted(x, axes, FORMULAS[operation], operation == "mean")
        np.testing.assert_allclose(found, want, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("element", ["half", "bfloat"])
def test_narrow_floats_are_computed_as_float32(target, element):
    axes = WINDOWS["3x3 by 2, padded"]
    x = numbers((2, 37, 1, 9, 8), DTYPES[element])
    for operation in ("mean", "max", "l2"):
        (found,) = pooled(spec_of(operation, element), x, axes, 40, named(target))
        want = wanted(x, axes, FORMULAS[operation], operation == "mean")
        limit = {"half": 1e-3, "bfloat": 8e-3}[element]
        got = found.astype(np.float64)
        np.testing.assert_allclose(got, want, rtol=limit, atol=limit * 1e-3)


@pytest.mark.parametrize("target", TARGETS)
def test_nan_and_infinities_win_as_they_should(target):
    axes = (PLAIN, Axis(5, 3, 1, 1, 1, 1), Axis(5, 3, 1, 1, 1, 1))
    x = numbers((1, 20, 1, 5, 5))
    x[0, ::2, 0, 2, 3] = np.nan
    x[0, ::3, 0, 1, 1] = np.inf
    x[0, 1] = -np.inf
    (found,) = pooled(spec_of("max"), x, axes, target=named(target))
    want = wanted(x, axes, FORMULAS["max"])
    np.testing.assert_array_equal(found, want.astype(np.float32))


def positions_of(x, axes):
    """Return the largest of each window and where it stands, tap by tap."""
    batch, channels, *whole = x.shape
    sizes = [len(axis.starts) for axis in axes]
    best = np.full((batch, channels, *sizes), -np.inf, x.dtype)
    where = np.zeros(best.shape, np.int64)
    for n, c, *place in np.ndindex(best.shape):
        top, index = None, -1
        taps = [axis.taps(axis.starts[i]) for axis, i in zip(axes, place, strict=True)]
        for tap in product(*taps):
            value = x[(n, c, *tap)]
            nan = np.isnan(value) and top is not None and not np.isnan(top)
            if top is None or value > top or nan:
                top, index = value, np.ravel_multi_index(tap, whole)
        if top is not None:
            best[(n, c, *place)] = top
        where[(n, c, *place)] = (n * channels + c) * np.prod(whole) + index
    return best, where


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize("element", ["float", "half"])
def test_the_first_of_equal_elements_has_its_position_told(target, windows, element):
    axes = WINDOWS[windows]
    random = np.random.default_rng(3)
    shape = (2, 21, *(axis.size for axis in axes))
    x = random.integers(0, 3, shape).astype(DTYPES[element])
    x[random.random(shape) < 0.05] = np.nan
    x[1, 4] = -np.inf
    spec = Spec.of("pool_positions", element=element)
    for pitch in (21, 32):
        found, where = pooled(spec, x, axes, pitch, named(target))
        best, wanted_positions = positions_of(x, axes)
        np.testing.assert_array_equal(found, best)
        np.testing.assert_array_equal(where, wanted_positions)


def test_a_mean_divides_by_what_it_is_told():
    axes = WINDOWS["3x3 by 2, padded"]
    x = numbers((1, 8, 1, 9, 8))
    (found,) = pooled(spec_of("mean"), x, axes, divisor=False)
    np.testing.assert_allclose(found, wanted(x, axes, np.sum) / 9, rtol=1e-5, atol=1e-6)


def test_prologue_and_epilogue_are_part_of_the_kernel():
    axes = WINDOWS["box"]
    x = numbers((1, 19, 4, 5, 6))
    cube = Expression(
        ("float",),
        (
            Instruction("absolute", (0,)),
            Instruction("multiply", (1, 1)),
            Instruction("multiply", (2, 1)),
        ),
        ((3, "float"),),
    )
    root = Expression(("float",), (Instruction("sqrt", (0,)),), ((1, "float"),))
    (found,) = pooled(spec_of("sum", prologue=cube, epilogue=root), x, axes)
    want = wanted(x, axes, lambda w: np.sqrt((np.abs(w) ** 3).sum()))
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_means_of_large_windows_lose_little():
    x = np.full((1, 3, 1, 300, 300), 0.1, np.float32)
    axes = (PLAIN, Axis(300, 300), Axis(300, 300))
    (found,) = pooled(spec_of("mean"), x, axes)
    np.testing.assert_allclose(found, np.float32(0.1), rtol=5e-6)


@pytest.mark.parametrize("shape", [(1, 200, 1, 30, 30), (3, 5, 1, 40, 20)])
def test_threads_change_no_bit(shape):
    x = numbers(shape)
    axes = (PLAIN, Axis(shape[3], 3, 1, 1, 1, 1), Axis(shape[4], 3, 2))
    found = [pooled(spec_of("mean"), x, axes, threads=n)[0] for n in (1, 2)]
    np.testing.assert_array_equal(*found)
