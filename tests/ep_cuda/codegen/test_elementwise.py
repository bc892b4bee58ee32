"""Element-wise kernels over every layout: vectors, broadcasts, strides, tiles, rests."""

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
)  # fmt: skip
from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import SAME, Expression, Instruction
from runtime_ep_cuda.codegen.indices import Axes, collapsed, magic
from runtime_ep_cuda.tensor import Buffer, Tensor

ADD = Expression(2, (Instruction("add", (0, 1)),), (2,))
SCALED = Expression(
    3, (Instruction("multiply", (0, 1)), Instruction("add", (3, 2))), (4,)
)
SPLIT = Expression(2, (Instruction("add", (0, 1)), Instruction("less", (0, 1))), (2, 3))
HALF, SINGLE, DOUBLE = np.float16, np.float32, np.float64


def launched(expression):
    count = expression.operands
    return lambda *t: elementwise(expression, t[:count], t[count:])


def added(name, a, b, y, **more):
    return Example(name, [a, b], [y], launched(ADD), np.add, **more)


def flat():
    """Everything dense: one axis, in vectors, with and without a rest."""
    for dtype in (HALF, BFLOAT16, SINGLE, DOUBLE):
        for size in (1, 8, 37, 600):
            a, b = (given(normal(size, i), dtype) for i in range(2))
            name = f"flat_{np.dtype(dtype).name}_{size}"
            yield added(name, a, b, wanted(dtype, size), ulps=0.5)
    for offset in (1, 4, 8):
        a = given(normal(100), HALF, offset=offset)
        b = given(normal(100, 1), HALF)
        yield added(f"offset_{offset}", a, b, wanted(HALF, 100), ulps=0.5)
    a, b = given(normal((2, 3, 40)), SINGLE), given(normal((2, 3, 40), 1), HALF)
    y = wanted(BFLOAT16, (2, 3, 40))
    yield added("mixed", a, b, y, ulps=0.51)
    yield Example(
        "two_results", [given(normal(77), HALF), given(normal(77, 1), SINGLE)],
        [wanted(SINGLE, 77), wanted(np.bool_, 77)], launched(SPLIT),
        lambda a, b: (a + b, a < b),
    )  # fmt: skip


def broadcast():
    """Operands that are smaller: scalars, channels of either layout, columns, rows."""
    x = given(normal((2, 24, 3, 5)), HALF)
    last = given(normal((2, 24, 3, 5)), HALF, order=(0, 2, 3, 1))
    channel = given(normal((24, 1, 1), 1), SINGLE)
    scalar = given(np.array(0.5), SINGLE)

    def scaled(name, x, a, b, y):
        return Example(
            name, [x, a, b], [y], launched(SCALED), lambda x, a, b: x * a + b, ulps=0.6,
        )  # fmt: skip

    yield scaled("channels", x, channel, scalar, wanted(HALF, x[0].shape))
    y = wanted(HALF, x[0].shape, order=(0, 2, 3, 1))
    yield scaled("channels_last", last, channel, scalar, y)
    column, row = given(normal((9, 1)), SINGLE), given(normal((1, 16), 1), SINGLE)
    yield added("outer_sum", column, row, wanted(SINGLE, (9, 16)))
    yield added("wide_rows", column, row, wanted(SINGLE, (9, 16), order=(1, 0)))
    yield added("of_scalars", scalar, scalar, wanted(SINGLE, ()))
    yield Example(
        "of_a_scalar", [scalar, row], [wanted(SINGLE, (3, 2, 16))], launched(ADD),
        lambda a, b: np.broadcast_to(a + b, (3, 2, 16)),
    )  # fmt: skip


def strided():
    """Slices, gaps, steps and reversed axes."""
    wide = given(normal((6, 16)), HALF, strides=(24, 1), offset=8)
    dense = given(normal((6, 16), 1), HALF)
    yield added("rows_with_gaps", wide, dense, wanted(HALF, (6, 16)), ulps=0.5)
    y = wanted(HALF, (6, 16), strides=(32, 1), offset=16)
    yield added("into_a_slice", wide, dense, y, ulps=0.5)
    ragged = given(normal((6, 13), 1), HALF, strides=(16, 1))
    y = wanted(HALF, (6, 13), strides=(24, 1))
    yield added("rows_with_rests", ragged, ragged, y, ulps=0.5)
    odd = given(normal((6, 16)), HALF, strides=(17, 1), offset=1)
    yield added("misaligned_rows", odd, dense, wanted(HALF, (6, 16)), ulps=0.5)
    step = given(normal((5, 7)), SINGLE, strides=(40, 3))
    back = given(normal((5, 7), 1), SINGLE, strides=(7, -1))
    yield added("steps", step, back, wanted(SINGLE, (5, 7)))
    deep = given(normal((2, 3, 2, 3, 2)), SINGLE, strides=(500, 90, 30, 7, 2))
    flat = given(normal((2, 3, 2, 3, 2), 1), SINGLE, order=(4, 1, 0, 3, 2))
    yield added("five_axes", deep, flat, wanted(SINGLE, (2, 3, 2, 3, 2)))


def turned():
    """Operands whose innermost axis is another: tiles, whole and cut, odd and even."""
    for dtype in (HALF, SINGLE, DOUBLE):
        for shape in ((2, 40, 36), (1, 33, 70), (3, 16, 128)):
            a = given(normal(shape), dtype, order=(0, 2, 1))
            b = given(normal(shape, 1), dtype)
            name = f"turned_{np.dtype(dtype).name}_{'x'.join(map(str, shape))}"
            yield added(name, a, b, wanted(dtype, shape), ulps=0.5)
    shape = (2, 20, 5, 6)
    x = given(normal(shape), SINGLE, order=(0, 2, 3, 1))
    other = given(normal((20, 1, 1), 1), HALF)
    yield added("to_channels_first", x, other, wanted(HALF, shape), ulps=0.51)
    x = given(normal(shape), SINGLE)
    y = wanted(HALF, shape, order=(0, 2, 3, 1))
    yield added("to_channels_last", x, other, y, ulps=0.51)
    a, b = (given(normal((64, 48), i), DOUBLE, order=(1, 0)) for i in range(2))
    yield added("both_turned", a, b, wanted(DOUBLE, (64, 48)))
    many = [given(normal((34, 66), i), HALF, order=(1, 0)) for i in range(6)]
    total = Expression(6, (Instruction("total", tuple(range(6))),), (6,))
    yield Example(
        "many_turned", many, [wanted(HALF, (34, 66))], launched(total),
        lambda *x: sum(x), absolute=2e-6,
    )  # fmt: skip
    column = given(normal((40, 1)), SINGLE)
    a = given(normal((40, 50)), SINGLE, order=(1, 0), offset=3)
    yield added("turned_and_broadcast", a, column, wanted(SINGLE, (40, 50)))
    x = given(normal((3, 640)), HALF, order=(1, 0))
    yield added(
        "few_to_turn", x, given(normal(640), HALF), wanted(HALF, (3, 640)), ulps=0.5
    )


def large():
    chosen = ("flat_float16_37", "channels_last", "turned_float32_1x33x70", "five_axes")
    small = (*flat(), *broadcast(), *strided(), *turned())
    return [wide(example) for example in small if example.name in chosen]


def bytes_and_bools():
    truth = given(normal(50) > 0)
    where = Expression(3, (Instruction("where", (0, 1, 2)),), (3,))
    yield Example(
        "where", [truth, given(normal(50), HALF), given(np.array(2.0), HALF)],
        [wanted(HALF, 50)], launched(where), np.where,
    )  # fmt: skip
    x = given(np.arange(90) % 7 - 3, np.int8)
    yield Example("bytes", [x], [wanted(np.int8, 90)], launched(SAME), lambda x: x)
    yield Example("widened", [x], [wanted(SINGLE, 90)], launched(SAME), lambda x: x)
    yield Example(
        "truth", [x], [wanted(np.bool_, 90)], launched(SAME), lambda x: x != 0
    )


def examples():
    """One example or more for each path."""
    for family in (flat, broadcast, strided, turned, large, bytes_and_bools):
        yield from family()


EXAMPLES = list(examples())


@pytest.fixture(scope="module")
def device():
    yield from prepared(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_kernels_equal_numpy(example, device):
    check(example, device)


def launches_of(name):
    return next(e for e in EXAMPLES if e.name == name).launches


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("flat_float16_600", "elementwise_f16_f16_f16_ccc_r1_v8"),
        ("flat_float32_600", "elementwise_f32_f32_f32_ccc_r1_v4"),
        ("flat_float16_37", "elementwise_f16_f16_f16_ccc_r1_v8_rest"),
        ("channels_last", "elementwise_f16_f32_f32_f16_ccbc_r2_v8"),
        ("misaligned_rows", "elementwise_f16_f16_f16_sss_r2_v1"),
        ("offset_4", "elementwise_f16_f16_f16_ccc_r1_v4"),
        ("turned_float16_2x40x36", "elementwise_tiled_f16_f16_f16_td_r3_v2"),
        ("to_channels_last", "elementwise_tiled_f32_f16_f16_td_r3_v1"),
        ("few_to_turn", "elementwise_f16_f16_f16_sss_r2_v1"),
    ],
)
def test_the_layout_decides_the_kernel(name, kernel):
    (launch,) = launches_of(name)
    assert launch.kernel.name.rpartition("_")[0] == kernel


def test_a_new_shape_needs_no_new_kernel():
    def kernel(rows):
        a, b = given(normal((rows, 24)), HALF)[0], given(normal(24), HALF)[0]
        return elementwise(ADD, [a, b], [wanted(HALF, (rows, 24))])[0].kernel

    assert kernel(5) == kernel(777)


def test_empty_tensors_launch_nothing():
    empty = wanted(SINGLE, (3, 0, 4))
    assert elementwise(ADD, [empty, empty], [empty]) == []


def test_more_than_32_bits_of_elements_get_indices_of_64():
    buffer = Buffer(2**33)
    x = Tensor.dense(buffer, SINGLE, (2**16, 2**16))
    (launch,) = elementwise(SAME, [x], [x])
    assert "_wide_" in launch.kernel.name
    assert launch.grid[0] * 256 * 4 == 2**32


def test_axes_are_collapsed_where_all_tensors_agree():
    axes = Axes((2, 3, 4, 1, 5), ((60, 20, 5, 5, 1), (60, 20, 5, 0, 1)))
    assert collapsed(axes) == Axes((120,), ((1,), (1,)))
    axes = Axes((2, 3, 4), ((12, 4, 1), (0, 4, 1)))
    assert collapsed(axes) == Axes((2, 12), ((12, 1), (0, 1)))
    axes = Axes((2, 3, 4), ((1, 8, 2), (12, 4, 1)))
    assert collapsed(axes, leading=0) == Axes((12, 2), ((2, 1), (1, 12)))


def test_division_by_multiplication_is_exact():
    random = np.random.default_rng(0)
    for divisor in [1, 2, 3, 5, 7, 49, 641, 2**16 + 1, 2**30, 2**31 - 1]:
        multiplier, shift = magic(divisor)
        near = divisor * random.integers(0, 2**31 // divisor, 50)
        values = {
            0,
            1,
            2**31 - 1,
            *near.tolist(),
            *(near - 1).tolist(),
            *(near + 1).tolist(),
        }
        for n in values:
            if 0 <= n < 2**31:
                assert ((n * multiplier >> 32) + n) >> shift == n // divisor
        assert multiplier < 2**32


def test_shapes_that_do_not_fit_are_refused():
    x = wanted(SINGLE, (3, 4))
    with pytest.raises(ValueError, match="2 operands wanted"):
        elementwise(ADD, [x], [x])
    with pytest.raises(ValueError, match="one shape"):
        elementwise(SAME, [x], [x, wanted(SINGLE, (4, 3))])
