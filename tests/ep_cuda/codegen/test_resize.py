"""Resizing equals the CPU provider's: every mode, rounding, layout and element type."""

import numpy as np
import pytest
from codegen.examples import (
    BFLOAT16,
    Example,
    check,
    given,
    name_of,
    normal,
    prepared,
    wanted,
    wide,
)
from runtime_ep_cpu.ops._interpolation import Method, resized
from runtime_ep_cpu.ops.resize import by_scales, by_sizes
from runtime_ep_cuda.codegen.resize import Table, resize, taps_of

HALF, SINGLE = np.float16, np.float32
LAST = (0, 2, 3, 1)
COORDINATES = (
    "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric",
    "half_pixel_symmetric", "tf_crop_and_resize", "tf_half_pixel_for_nn",
)  # fmt: skip
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple")
ROI = np.array([0, 0, 0.1, -0.2, 1, 1, 0.8, 1.2])


def example(name, x, plan, method, order, **tolerance):
    """Return an example that resizes an array by a plan of axes."""
    array = x[1]
    shape = list(array.shape)
    for axis in plan:
        shape[axis.axis] = axis.size
    tables = []
    inputs = [x]
    for axis, indices, weights in taps_of(plan, method, array.dtype):
        placed = given(indices)
        inputs.append(placed)
        heavy = None if weights is None else given(weights)
        if heavy is not None:
            inputs.append(heavy)
        tables.append(Table(axis, placed[0], heavy and heavy[0]))

    def make(x, *rest):
        y = rest[-1]
        return resize(x, y, tables, method.extrapolation, method.antialias)

    def reference(x, *_):
        return resized(
            x.astype(array.dtype) if array.dtype.kind in "iu" else x, plan, method
        )

    return Example(
        name, inputs, [wanted(array.dtype, shape, order=order)], make, reference,
        **tolerance,
    )  # fmt: skip


def nearest():
    x = normal((2, 16, 5, 6))
    for coordinates in COORDINATES:
        for order in (LAST, None):
            source = given(x, HALF, order=order)
            roi = ROI if coordinates == "tf_crop_and_resize" else None
            plan = by_sizes(x, [2, 16, 11, 4], range(4), roi, "stretch")
            method = Method("nearest", coordinates, extrapolation=7.0)
            name = f"nearest_{coordinates}_{'last' if order else 'first'}"
            yield example(name, source, plan, method, order, ulps=0.0)
    for rounding in ROUNDINGS:
        for scale in (0.6, 2.5):
            plan = by_scales(x, [scale, scale], (2, 3), None)
            method = Method("nearest", "half_pixel", rounding)
            name = f"nearest_{rounding}_{scale}"
            yield example(name, given(x, SINGLE), plan, method, None, ulps=0.0)
    plan = by_scales(x, [2.0, 2.0], (2, 3), None)
    for dtype in (np.int64, np.uint8, BFLOAT16):
        source = given(x * 30 if dtype != np.uint8 else abs(x), dtype, order=LAST)
        name = f"nearest_{np.dtype(dtype).name}"
        yield example(name, source, plan, Method("nearest"), LAST)


def weighted():
    x = normal((2, 8, 5, 7), 3)
    for mode in ("linear", "cubic"):
        for coordinates in COORDINATES:
            for order, dtype in ((LAST, HALF), (None, SINGLE)):
                roi = ROI if coordinates == "tf_crop_and_resize" else None
                plan = by_sizes(x, [2, 8, 9, 4], range(4), roi, "stretch")
                method = Method(mode, coordinates, extrapolation=0.5)
                name = f"{mode}_{coordinates}_{'last' if order else 'first'}"
                source = given(x, dtype, order=order)
                yield example(
                    name, source, plan, method, order, ulps=2.0, absolute=2e-6
                )
    plan = by_scales(x, [1.7, 0.5], (2, 3), None)
    for name, method in (
        ("cubic_sharper", Method("cubic", "half_pixel", cubic_a=-0.5)),
        ("cubic_inside", Method("cubic", "half_pixel", exclude_outside=True)),
        ("linear_antialias", Method("linear", "half_pixel", antialias=True)),
        ("cubic_antialias", Method("cubic", "half_pixel", antialias=True)),
    ):
        source = given(x, BFLOAT16, order=LAST)
        yield example(name, source, plan, method, LAST, absolute=2e-6)
    yield from of_other_ranks()


def of_other_ranks():
    line = normal((2, 4, 9))
    plan = by_sizes(line, [5], (2,), None, "stretch")
    method = Method("linear", "half_pixel")
    yield example("linear_1d", given(line, SINGLE), plan, method, None, absolute=1e-6)
    block = normal((1, 4, 3, 4, 5))
    plan = by_sizes(block, [5, 2, 8], (2, 3, 4), None, "stretch")
    for mode in ("linear", "cubic"):
        yield example(
            f"{mode}_3d", given(block, np.float64, order=(0, 2, 3, 4, 1)), plan,
            Method(mode, "half_pixel"), None, ulps=16.0, absolute=1e-14,
        )  # fmt: skip
    plan = by_scales(line, [3.0, 2.0, 0.5], range(3), None)
    yield example(
        "linear_of_all", given(line, SINGLE), plan, method, None, absolute=1e-6
    )
    small = normal((1, 3, 12, 40))
    plan = by_scales(small, [0.1], (3,), None)
    method = Method("linear", "half_pixel", antialias=True)
    yield example("many_taps", given(small, SINGLE), plan, method, None, absolute=1e-6)


def whole():
    for dtype, scale in ((np.uint8, 60), (np.int8, 40), (np.int32, 1e5)):
        x = np.clip(normal((1, 8, 5, 6)) * scale + (100 if dtype == np.uint8 else 0),
                    np.iinfo(dtype).min, np.iinfo(dtype).max)  # fmt: skip
        plan = by_sizes(x, [7, 4], (2, 3), None, "stretch")
        for mode in ("linear", "cubic"):
            for antialias in (False, True):
                method = Method(mode, "half_pixel", antialias=antialias)
                name = f"{mode}_{np.dtype(dtype).name}{'_antialias' * antialias}"
                yield example(name, given(x, dtype, order=LAST), plan, method, LAST)


ALSO_WIDE = (
    "nearest_tf_crop_and_resize_last",
    "linear_half_pixel_first",
    "cubic_antialias",
    "many_taps",
)
"""Examples that are computed with indices of 64 bits, too."""


def examples():
    """One example or more for each mode."""
    families = (nearest, weighted, whole)
    for example in (example for family in families for example in family()):
        yield example
        if example.name in ALSO_WIDE:
            yield wide(example)


EXAMPLES = list(examples())


@pytest.fixture(scope="module")
def device():
    yield from prepared(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_kernels_equal_numpy(example, device):
    check(example, device)


def launches_of(name):
    return next(e for e in EXAMPLES if e.name == name).launches


def test_channels_are_taken_in_vectors_where_they_lie_innermost():
    assert "_v8_" in launches_of("linear_half_pixel_last")[0].kernel.name
    assert "_v8_" in launches_of("nearest_half_pixel_last")[0].kernel.name


def test_axes_that_stay_have_no_table():
    x = normal((2, 8, 5, 7))
    plan = by_sizes(x, [2, 8, 10, 7], range(4), None, "stretch")
    assert [t.axis for t in taps_of(plan, Method("linear"), SINGLE)] == [2]
    plan = by_sizes(x, x.shape, range(4), None, "stretch")
    assert taps_of(plan, Method("linear"), SINGLE) == []


def test_modes_share_kernels():
    one = launches_of("linear_half_pixel_last")[0].kernel
    assert one == launches_of("linear_align_corners_last")[0].kernel


def test_weights_along_some_axes_only_are_refused():
    x = wanted(SINGLE, (1, 1, 4, 4))
    index, weight = wanted(np.int32, (4, 1)), wanted(SINGLE, (4, 1))
    with pytest.raises(ValueError, match="weighted"):
        resize(x, x, [Table(2, index, weight), Table(3, index, None)])
