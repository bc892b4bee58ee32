"""Copies and fills equal NumPy: permuted, converted, joined, padded, cut, counted."""

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
from runtime_ep_cuda.codegen import movement

HALF, SINGLE = np.float16, np.float32
LAST = (0, 2, 3, 1)


def copies():
    x = normal((2, 20, 5, 7))
    for dtype in (HALF, SINGLE, np.float64, np.int8):
        label = np.dtype(dtype).name
        for source, target in ((None, LAST), (LAST, None), (LAST, LAST)):
            ends = "_".join("last" if order else "first" for order in (source, target))
            name = f"copy_{label}_{ends}"
            yield Example(
                name, [given(x * 50, dtype, order=source)],
                [wanted(dtype, x.shape, order=target)], movement.copy, lambda x: x,
            )  # fmt: skip
    yield Example(
        "cast", [given(x, SINGLE)], [wanted(HALF, x.shape, order=LAST)], movement.copy,
        lambda x: x, ulps=0.5,
    )  # fmt: skip
    few = normal((2, 3, 9, 11))
    for source, target in ((None, LAST), (LAST, None)):
        yield Example(
            f"few_channels_{'first' if target else 'last'}",
            [given(few, HALF, order=source)], [wanted(HALF, few.shape, order=target)],
            movement.copy, lambda x: x,
        )  # fmt: skip
    yield Example(
        "expand", [given(normal((3, 1, 5)), BFLOAT16)], [wanted(BFLOAT16, (2, 3, 4, 5))],
        movement.copy, lambda x: np.broadcast_to(x, (2, 3, 4, 5)),
    )  # fmt: skip
    yield Example(
        "reversed", [given(normal(21), SINGLE, strides=(-1,))], [wanted(SINGLE, 21)],
        movement.copy, lambda x: x,
    )  # fmt: skip


def joins():
    def make(axis):
        return lambda *t: movement.concat(t[:-1], axis, t[-1])

    for axis, sizes in (
        (1, (8, 16, 0, 24)),
        (0, (2, 3)),
        (2, (5, 1, 7)),
        (1, range(1, 12)),
    ):
        shape = [3, 4, 6]
        arrays = []
        for seed, size in enumerate(sizes):
            shape[axis] = size
            arrays.append(given(normal(shape, seed), HALF))
        shape[axis] = sum(sizes)
        yield Example(
            f"concat_{axis}_of_{len(arrays)}", arrays, [wanted(HALF, shape)], make(axis),
            lambda *x, axis=axis: np.concatenate(x, axis),
        )  # fmt: skip
    images = [given(normal((2, c, 3, 3), c), HALF, order=LAST) for c in (8, 16)]
    yield Example(
        "concat_of_channels", images, [wanted(HALF, (2, 24, 3, 3), order=LAST)], make(1),
        lambda *x: np.concatenate(x, 1),
    )  # fmt: skip
    mixed = [given(normal((2, 20, 4, 5), 1), SINGLE), given(normal((2, 4, 4, 5)), HALF)]
    yield Example(
        "concat_of_layouts", mixed, [wanted(HALF, (2, 24, 4, 5), order=LAST)], make(1),
        lambda *x: np.concatenate(x, 1), ulps=0.5,
    )  # fmt: skip


PADS = (
    ("constant", (0, 0, 1, 2), (0, 0, 2, 0)), ("constant", (0, 2, -1, 0), (1, 0, 3, -2)),
    ("edge", (0, 0, 2, 1), (0, 0, 0, 3)), ("reflect", (0, 0, 2, 7), (0, 1, 1, 9)),
    ("wrap", (1, 0, 0, 6), (0, 0, 5, 9)), ("reflect", (0, 0, -1, 1), (0, 0, 2, -1)),
    ("constant", (0, 0, 0, -4), (0, 0, 0, 5)), ("edge", (0, 0, 0, -3), (0, 0, 0, 0)),
)  # fmt: skip


def pads():
    reference = table.find("", "Pad", 21).function
    x = normal((2, 8, 4, 4))
    for number, (mode, begin, end) in enumerate(PADS):
        shape = [n + a + b for n, a, b in zip(x.shape, begin, end, strict=True)]
        for order in (None, LAST):

            def make(x, y, begin=begin, mode=mode):
                return movement.pad(x, y, begin, mode, 1.5)

            def padded(x, begin=begin, end=end, mode=mode):
                value = np.array(1.5)
                return reference(x, np.array([*begin, *end]), value, mode=mode)

            yield Example(
                f"pad_{mode}_{number}_{'last' if order else 'first'}",
                [given(x, HALF, order=order)], [wanted(HALF, shape, order=order)], make,
                padded,
            )  # fmt: skip
    yield Example(
        "pad_of_bools", [given(np.ones((3, 5), bool))], [wanted(bool, (4, 6))],
        lambda x, y: movement.pad(x, y, (1, 0), "constant", False),
        lambda x: np.pad(x, ((1, 0), (0, 1))),
    )  # fmt: skip
    yield Example(
        "pad_of_one", [given(normal((3, 1)), SINGLE)], [wanted(SINGLE, (3, 4))],
        lambda x, y: movement.pad(x, y, (0, 2), "reflect"),
        lambda x: np.broadcast_to(x, (3, 4)),
    )  # fmt: skip


def fills():
    values = (
        (HALF, 0.1), (SINGLE, -np.inf), (np.float64, 1e300), (np.bool_, True),
        (np.int64, -(2**60)), (np.uint64, 2**64 - 1),
    )  # fmt: skip
    for dtype, value in values:
        yield Example(
            f"fill_{np.dtype(dtype).name}", [], [wanted(dtype, (5, 9))],
            lambda y, value=value: movement.fill(y, value),
            lambda dtype=dtype, value=value: np.full((5, 9), value, dtype),
        )  # fmt: skip
    yield Example(
        "fill_a_slice", [], [wanted(HALF, (5, 9), strides=(12, 1))],
        lambda y: movement.fill(y, 3), lambda: np.full((5, 9), 3.0),
    )  # fmt: skip
    yield Example(
        "range_of_integers", [], [wanted(np.int64, 40)],
        lambda y: movement.range_of(y, 10**12, -3), lambda: 10**12 - 3 * np.arange(40),
    )  # fmt: skip
    yield Example(
        "range_of_floats", [], [wanted(SINGLE, 40)],
        lambda y: movement.range_of(y, 0.5, 0.1), lambda: 0.5 + 0.1 * np.arange(40),
        ulps=0.0,
    )  # fmt: skip
    for k in (-1, 0, 2):
        yield Example(
            f"eye_{k}", [], [wanted(HALF, (4, 6))],
            lambda y, k=k: movement.eye_like(y, k), lambda k=k: np.eye(4, 6, k),
        )  # fmt: skip


def triangles():
    x = given(normal((2, 5, 7)), HALF)
    for upper, function in ((True, np.triu), (False, np.tril)):
        for k in (-2, 0, 3, 100):
            yield Example(
                f"{function.__name__}_{k}", [x], [wanted(HALF, (2, 5, 7))],
                lambda x, y, k=k, upper=upper: movement.trilu(x, y, k, upper),
                lambda x, k=k, function=function: function(x, k),
            )  # fmt: skip


def one_hots():
    indices = np.array([[0, 2, -1], [4, 5, -6]])
    for axis in (0, 1, 2):
        shape = [2, 3]
        shape.insert(axis, 5)
        yield Example(
            f"one_hot_{axis}", [given(indices), given([0.5, 2.0], HALF)],
            [wanted(HALF, shape)],
            lambda i, v, y, axis=axis: movement.one_hot(i, v, y, axis),
            lambda i, v, axis=axis: _one_hot(i, v, axis),
        )  # fmt: skip
    yield Example(
        "one_hot_of_floats", [given([1.0, 3.0], SINGLE), given([0, 1], np.int32)],
        [wanted(np.int32, (2, 4))], lambda i, v, y: movement.one_hot(i, v, y, 1),
        lambda i, v: np.eye(4, dtype=int)[[1, 3]],
    )  # fmt: skip


def _one_hot(indices, values, axis):
    wrapped = np.where(indices < 0, indices + 5, indices)
    places = np.expand_dims(wrapped, axis)
    along = np.arange(5).reshape([5 if a == axis else 1 for a in range(3)])
    return np.where(places == along, values[1], values[0])


ALSO_WIDE = (
    "copy_float16_first_last",
    "concat_of_channels",
    "concat_2_of_3",
    "pad_reflect_3_first",
    "pad_constant_1_last",
    "fill_a_slice",
    "triu_0",
    "one_hot_1",
    "eye_0",
    "range_of_integers",
)
"""Examples that are computed with indices of 64 bits, too."""


def examples():
    """One example or more for each movement."""
    families = (copies, joins, pads, fills, triangles, one_hots)
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


def test_parts_of_one_kind_are_joined_by_one_launch():
    assert len(launches_of("concat_of_channels")) == 1
    assert len(launches_of("concat_1_of_11")) == 2
    assert "_v8_" in launches_of("concat_of_channels")[0].kernel.name


def test_nans_and_unknown_types_are_copied_bit_by_bit():
    x = given(np.zeros(6), "S1")[0]
    (launch,) = movement.copy(x, x)
    assert launch.kernel.name.startswith("elementwise_u8_u8")


def test_images_are_padded_in_vectors_of_channels():
    (launch,) = launches_of("pad_constant_0_last")
    assert "_v8_" in launch.kernel.name


def test_values_are_arguments_and_no_part_of_kernels():
    y = wanted(SINGLE, 8)
    one, two = (movement.fill(y, value)[0].kernel for value in (1, 2))
    assert one == two


def test_wrong_joins_and_modes_are_refused():
    x = wanted(SINGLE, (2, 3))
    with pytest.raises(ValueError, match="joined into"):
        movement.concat([x, x], 1, wanted(SINGLE, (2, 7)))
    with pytest.raises(ValueError, match="no pad mode"):
        movement.pad(x, x, (0, 0), "mirror")
