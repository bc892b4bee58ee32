"""Pooling and depthwise convolution equal the CPU provider's, in either layout."""

from types import SimpleNamespace
from unittest import mock

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
from runtime_ep_cpu.ops import table
from runtime_ep_cpu.ops._windows import place
from runtime_ep_cuda.codegen.depthwise import depthwise
from runtime_ep_cuda.codegen.expression import Expression, Instruction
from runtime_ep_cuda.codegen.pooling import average_pool, lp_pool, max_pool
from runtime_ep_cuda.codegen.windows import Slide

HALF, SINGLE = np.float16, np.float32
VALUES = SimpleNamespace(wanted=(True, False))
BOTH = SimpleNamespace(wanted=(True, True))

# image, kernel, attributes
WINDOWS = (
    ((11,), (3,), {"strides": (2,), "pads": (1, 0)}),
    ((9, 8), (3, 3), {"strides": (2, 2), "pads": (1, 1, 1, 1)}),
    ((9, 8), (2, 3), {"strides": (2, 3), "ceil_mode": 1, "pads": (0, 1, 1, 0)}),
    ((7, 9), (2, 3), {"dilations": (3, 2), "pads": (1, 2, 1, 2)}),
    ((4, 5, 6), (2, 2, 3), {"strides": (2, 1, 2), "pads": (0, 1, 1, 1, 0, 1)}),
    ((12, 9), (7, 6), {"pads": (3, 3, 3, 2), "strides": (3, 2)}),
    ((9, 8), (5, 5), {"pads": (2, 2, 2, 2)}),
)


def last(rank):
    return (0, *range(2, rank), 1)


def slide(kernel, attributes):
    """Return the window of a node's attributes."""
    chosen = {k: v for k, v in attributes.items() if k != "ceil_mode"}
    return Slide.of(kernel, **chosen)


def rounding(kernel, size=1.0):
    """Return how far sums in float may be off: terms, each of some size, and as many."""
    return np.prod(kernel) * 2.0**-24 * size


def pooled(op, image, kernel, attributes, make, dtype, order, **more):
    """Return an example of a pool beside the CPU provider's."""
    function = table.find("", op, 22).function
    outside = {"call": VALUES} if op == "MaxPool" else {}
    x = normal((2, 8, *image))
    size = place(image, kernel, **attributes).out
    rank = len(image) + 2
    layout = last(rank) if order == "last" else None
    window = slide(kernel, attributes)
    extra = {k: v for k, v in more.items() if k in ("count_include_pad", "p")}

    def reference(x):
        return function(x, kernel_shape=kernel, **attributes, **outside, **extra)

    label = f"{op}_{'x'.join(map(str, kernel))}_{'x'.join(map(str, image))}"
    told = "_".join(f"{k}{v}" for k, v in extra.items())
    return Example(
        f"{label}_{np.dtype(dtype).name}_{order}_{told}", [given(x, dtype, order=layout)],
        [wanted(dtype, (2, 8, *size), order=layout)],
        lambda x, y: make(x, y, window), reference, ulps=more.get("ulps", 0.51),
        absolute=rounding(kernel) if op == "AveragePool" else 0.0,
    )  # fmt: skip


def pools():
    for image, kernel, attributes in WINDOWS:
        for dtype, order in ((HALF, "last"), (SINGLE, "first")):
            yield pooled("MaxPool", image, kernel, attributes, max_pool, dtype, order)
            for padded in (0, 1):
                yield pooled(
                    "AveragePool", image, kernel, attributes,
                    lambda x, y, w, padded=padded: average_pool(x, y, w, bool(padded)),
                    dtype, order, count_include_pad=padded, ulps=4.0,
                )  # fmt: skip
            for p in (1, 2, 3):
                yield pooled(
                    "LpPool", image, kernel, attributes,
                    lambda x, y, w, p=p: lp_pool(x, y, w, p), dtype, order, p=p, ulps=4.0,
                )  # fmt: skip


def other_types():
    image, kernel, attributes = WINDOWS[1]
    function = table.find("", "MaxPool", 22).function
    window = slide(kernel, attributes)

    def reference(x):
        return function(x, kernel_shape=kernel, call=VALUES, **attributes)

    for dtype in (np.int8, np.uint8, BFLOAT16, np.float64):
        x = (normal((1, 16, *image)) * 40).clip(-100, 100)
        x = abs(x) if dtype == np.uint8 else x
        yield Example(
            f"max_pool_{np.dtype(dtype).name}", [given(x, dtype, order=last(4))],
            [wanted(dtype, (1, 16, 5, 4), order=last(4))],
            lambda x, y: max_pool(x, y, window), reference,
        )  # fmt: skip
    x = np.full((1, 1, 4, 4), -np.inf)
    x[0, 0, 3, 3] = np.nan
    yield Example(
        "max_pool_of_nan", [given(x, SINGLE)], [wanted(SINGLE, (1, 1, 2, 2))],
        lambda x, y: max_pool(x, y, Slide.of((2, 2), (2, 2))),
        lambda x: np.array([[[[-np.inf, -np.inf], [-np.inf, np.nan]]]]),
    )  # fmt: skip


def indices():
    function = table.find("", "MaxPool", 22).function
    for image, kernel, attributes in WINDOWS[:5]:
        for storage in (0, 1):
            x = np.rint(normal((2, 3, *image)) * 2)
            size = place(image, kernel, **attributes).out
            shape = (2, 3, *size)
            order = last(len(shape)) if storage else None
            yield Example(
                f"max_pool_at_{'x'.join(map(str, image))}_{kernel[0]}_{storage}",
                [given(x, HALF, order=order)],
                [wanted(HALF, shape, order=order), wanted(np.int64, shape)],
                lambda x, y, i, k=kernel, a=attributes, s=storage: max_pool(
                    x, y, slide(k, a), i, s
                ),
                lambda x, k=kernel, a=attributes, s=storage: tuple(
                    function(x, kernel_shape=k, call=BOTH, storage_order=s, **a)
                ),
            )  # fmt: skip


# kernel, strides, dilations, pads, image, channels
DEPTHWISE = (
    ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1), (6, 7), 16),
    ((3, 3), (2, 2), (1, 1), (0, 0, 1, 1), (7, 8), 8),
    ((5, 5), (1, 1), (1, 1), (2, 2, 2, 2), (6, 9), 12),
    ((7, 7), (1, 1), (1, 1), (3, 3, 3, 3), (8, 5), 8),
    ((3, 3), (1, 1), (2, 2), (2, 2, 2, 2), (7, 7), 8),
    ((3,), (1,), (1,), (2, 0), (13,), 5),
    ((1, 5), (1, 2), (1, 1), (0, 2, 0, 1), (3, 10), 8),
    ((3, 3, 3), (1, 2, 1), (1, 1, 1), (1,) * 6, (4, 5, 6), 8),
    ((3, 3), (3, 1), (1, 1), (0, 1, 0, 1), (7, 1), 8),
)


def busy(*tensors):
    """Return the launches that there would be if the tensors were large."""
    with mock.patch("runtime_ep_cuda.codegen.depthwise.BUSY", 0):
        return depthwise(*tensors)


def depthwises():
    convolve = table.find("", "Conv", 11).function
    for number, (kernel, strides, dilations, pads, image, channels) in enumerate(
        DEPTHWISE
    ):
        window = Slide.of(kernel, strides, dilations, pads)
        size = place(image, kernel, strides=strides, dilations=dilations, pads=pads).out
        rank = 2 + len(image)

        def reference(x, w, *bias, k=kernel, s=strides, d=dilations, p=pads):
            flat = np.moveaxis(w, -1, 0)[:, None]
            return convolve(
                x, np.ascontiguousarray(flat), *bias, kernel_shape=k, strides=s,
                dilations=d, pads=p, group=x.shape[1],
            )  # fmt: skip

        for dtype in (HALF, SINGLE, BFLOAT16):
            x = given(normal((2, channels, *image)), dtype, order=last(rank))
            w = given(normal((*kernel, channels), 1), dtype)
            b = given(normal(channels, 2), SINGLE)
            yield Example(
                f"depthwise_{number}_{np.dtype(dtype).name}", [x, w, b],
                [wanted(dtype, (2, channels, *size), order=last(rank))],
                lambda x, w, b, y, window=window: busy(x, w, y, window, b),
                reference, ulps=1.0, absolute=rounding(kernel, size=4.0),
            )  # fmt: skip
        yield Example(
            f"depthwise_{number}_of_few", [x, w], [wanted(BFLOAT16, (2, channels, *size))],
            lambda x, w, y, window=window: depthwise(x, w, y, window), reference,
            ulps=1.0, absolute=rounding(kernel, size=4.0),
        )  # fmt: skip
    yield from with_epilogues(convolve)


def with_epilogues(convolve):
    clipped = Expression(
        3,
        (
            Instruction("add", (0, 1)),
            Instruction("multiply", (3, 2)),
            Instruction("relu", (4,)),
        ),
        (5,),
    )
    shape = (2, 16, 6, 7)
    x = given(normal(shape), HALF, order=last(4))
    w = given(normal((3, 3, 16), 1), HALF)
    residual = given(normal(shape, 2), HALF, order=last(4))
    scale = given(normal((16, 1, 1), 3), SINGLE)

    def reference(x, w, r, s):
        flat = np.ascontiguousarray(np.moveaxis(w, -1, 0)[:, None])
        y = convolve(x, flat, kernel_shape=(3, 3), pads=(1, 1, 1, 1), group=16)
        return np.maximum((y + r) * s, 0)

    window = Slide.of((3, 3), pads=(1, 1, 1, 1))
    for order in (last(4), None):
        yield Example(
            f"depthwise_with_epilogue_{'last' if order else 'first'}",
            [x, w, residual, scale], [wanted(HALF, shape, order=order)],
            lambda x, w, r, s, y: busy(x, w, y, window, None, clipped, [r, s]),
            reference, ulps=1.0, absolute=1e-6,
        )  # fmt: skip


ALSO_WIDE = (
    "MaxPool_3x3_9x8_float16_last_",
    "AveragePool_7x6_12x9_float32_first_count_include_pad1",
    "max_pool_at_9x8_3_0",
    "depthwise_0_float16",
    "depthwise_3_float32",
)
"""Examples that are computed with indices of 64 bits, too."""


def examples():
    """One example or more for each pool and window."""
    families = (pools, other_types, indices, depthwises)
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
    (launch,) = launches_of("MaxPool_3x3_9x8_float16_last_")
    assert "_v8_" in launch.kernel.name
    (launch,) = launches_of("MaxPool_3x3_9x8_float32_first_")
    assert "_v1_" in launch.kernel.name


def test_a_thread_computes_neighbours_of_a_depthwise_convolution():
    (launch,) = launches_of("depthwise_0_float16")
    assert launch.kernel.name.startswith("depthwise_3x3_1x1x1x1_g4")
    assert "_v8_" in launch.kernel.name


def test_few_neighbours_are_computed_by_a_thread_each():
    (launch,) = launches_of("depthwise_0_of_few")
    assert launch.kernel.name.startswith("depthwise_3x3_1x1x1x1_g1")
    x = wanted(HALF, (8, 32, 112, 112), order=last(4))
    (launch,) = depthwise(
        x, wanted(HALF, (3, 3, 32)), x, Slide.of((3, 3), pads=(1,) * 4)
    )
    assert launch.kernel.name.startswith("depthwise_3x3_1x1x1x1_g4")


def test_another_image_needs_no_new_kernel():
    def kernel(height):
        x = wanted(HALF, (1, 8, height, 9), order=last(4))
        w = wanted(HALF, (3, 3, 8))
        y = wanted(HALF, (1, 8, height, 9), order=last(4))
        return depthwise(x, w, y, Slide.of((3, 3), pads=(1,) * 4))[0].kernel

    assert kernel(5) == kernel(50)


def test_weights_that_do_not_fit_are_refused():
    x = wanted(HALF, (1, 8, 5, 5))
    with pytest.raises(ValueError, match="do not convolve"):
        depthwise(x, wanted(HALF, (3, 3, 4)), x, Slide.of((3, 3)))
