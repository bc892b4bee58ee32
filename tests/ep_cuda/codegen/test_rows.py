"""Softmax and normalizations along lines equal NumPy's in float64."""

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
)
from runtime_ep_cuda.codegen import rows
from runtime_ep_cuda.codegen.expression import SAME, Expression, Instruction
from runtime_ep_cuda.codegen.lines import arrange, choose
from runtime_ep_cuda.tensor import Buffer, Tensor

LAST = (0, 2, 3, 1)
ADD = Expression(2, (Instruction("add", (0, 1)),), (2,))
RELU = Expression(1, (Instruction("relu", (0,)),), (1,))


def softmax_of(x, axis, log=False):
    """Return NumPy's softmax, or its logarithm, along an axis or several."""
    y = x - x.max(axis=axis, keepdims=True)
    total = np.exp(y).sum(axis=axis, keepdims=True)
    return y - np.log(total) if log else np.exp(y) / total


def softmax(name, x, dtype, axis, *, log=False, order=None, **layout):
    """Return an example of softmax without anything before or after."""
    return Example(
        name,
        [given(x, dtype, order=order, **layout)],
        [wanted(dtype, x.shape, order=order, **layout)],
        lambda x, y: rows.softmax(SAME, [x], y, axis, log=log),
        lambda x: softmax_of(x, axis, log),
        ulps=2 if np.dtype(dtype).itemsize < 4 else 12,
        absolute=1e-6 if log else 1e-37,
    )


def special_rows():
    """Return rows with infinities, NaN, nothing but -∞, and extremes."""
    x = normal((8, 7), 3)
    x[0, 2] = np.nan
    x[1, 3] = np.inf
    x[2] = -np.inf
    x[3, ::2] = -np.inf
    x[4] = 3e38
    x[5] = [-3e38, 3e38, 0, 1, 2, 3, 4]
    x[6, 0], x[6, 6] = np.inf, -np.inf
    x[7] = 1e-40
    return x


def softmaxes():
    """Yield softmax of many lengths, types and layouts."""
    for dtype in (np.float32, np.float16, BFLOAT16, np.float64):
        kind = np.dtype(dtype).name
        yield softmax(f"short {kind}", normal((9, 5)), dtype, 1)
        yield softmax(f"warp {kind}", normal((3, 24)), dtype, 1, log=True)
        yield softmax(f"block {kind}", normal((2, 768)), dtype, -1)
    wide = normal((2, 5000), 2)
    yield softmax("unaligned block", wide, np.float16, 1, offset=1)
    yield softmax("one", normal((5, 1)), np.float32, 1)
    long = normal((2, 40000), 1)
    yield softmax("long", long, np.float32, 1)
    yield softmax("long log", long, np.float16, 1, log=True)
    yield softmax("channels of NCHW", normal((2, 21, 3, 8)), np.float32, 1)
    yield softmax("channels last", normal((2, 24, 3, 5)), np.float16, 1, order=LAST)
    yield softmax("rows of columns", normal((3, 70, 9)), np.float32, 1, log=True)
    yield softmax("two axes", normal((3, 4, 18)), np.float32, (1, 2))
    yield softmax("long columns", normal((300, 8)), np.float32, 0)
    yield softmax("longer columns", normal((2100, 16)), np.float16, 0)
    for log in (False, True):
        x = special_rows()
        yield softmax(f"special {log}", x, np.float32, 1, log=log)
        x = np.tile(special_rows(), (1, 2400))
        yield softmax(f"long special {log}", x, np.float32, 1, log=log)
        yield softmax(
            f"special columns {log}", special_rows().T, np.float32, 0, log=log
        )


def masked():
    """Yield softmax of scaled scores with a mask before, and a product after."""
    scale = Instruction("constant", (), (("type", "float32"), ("value", 0.125)))
    before = Expression(
        2,
        (scale, Instruction("multiply", (0, 2)), Instruction("add", (3, 1))),
        (4,),
    )
    after = Expression(2, (Instruction("multiply", (0, 1)),), (2,))
    mask = np.where(np.arange(40) < 29, 0.0, -np.inf).reshape(1, 1, 1, 40)
    yield Example(
        "scores with a mask",
        [
            given(normal((2, 3, 5, 40), 0, 9), np.float16),
            given(mask, np.float32),
            given(normal((3, 1, 1)), np.float32),
        ],
        [wanted(np.float16, (2, 3, 5, 40))],
        lambda x, m, s, y: rows.softmax(
            before, [x, m], y, -1, after=after, further=[s]
        ),
        lambda x, m, s: softmax_of(x * 0.125 + m, 3) * s,
        ulps=2,
    )


def normalized(x, axes, scale=1.0, bias=0.0, epsilon=1e-5, centre=True):
    """Return the normalization, the mean and the inverse deviation."""
    mean = x.mean(axis=axes, keepdims=True) * centre
    inverse = 1 / np.sqrt(np.square(x - mean).mean(axis=axes, keepdims=True) + epsilon)
    return (x - mean) * inverse * scale + bias, mean, inverse


def layer_norm(name, x, dtype, axes, *, order=None, **layout):
    """Return an example of LayerNormalization with scale and bias.

    A mean in float is off by a unit of its last place, which scale makes three of.
    """
    shape = x.shape[axes[0] :]
    off = 3e-6 + abs(x.mean()) * 3 * 2**-23
    return Example(
        name,
        [
            given(x, dtype, order=order, **layout),
            given(normal(shape, 1), dtype),
            given(normal(shape, 2), dtype),
        ],
        [wanted(dtype, x.shape, order=order, **layout)],
        lambda x, s, b, y: rows.layer_norm(SAME, [x], s, b, y, axes, 1e-5),
        lambda x, s, b: normalized(x, axes, s, b)[0],
        ulps=2,
        absolute=off if np.dtype(dtype).itemsize < 8 else 1e-13,
    )


def layer_norms():
    """Yield LayerNormalization of many lengths, types and layouts."""
    for dtype in (np.float32, np.float16, BFLOAT16, np.float64):
        kind = np.dtype(dtype).name
        yield layer_norm(f"norm {kind}", normal((3, 2, 256)), dtype, (2,))
        yield layer_norm(f"norm of two axes {kind}", normal((3, 5, 7)), dtype, (1, 2))
    yield layer_norm("norm far from zero", normal((3, 800)) + 3e3, np.float32, (1,))
    far = normal((2, 40000)) + 1e3
    yield layer_norm("long norm far from zero", far, np.float32, (1,))
    yield layer_norm("long norm of halves", normal((1, 40000)), np.float16, (1,))
    yield layer_norm("norm of columns", normal((70, 24)), np.float16, (0,))
    for dtype in (np.float32, np.float16):
        name = f"norm of many rows {np.dtype(dtype).name}"
        yield layer_norm(name, normal((512, 1024)), dtype, (1,))
    yield layer_norm("norm, unaligned", normal((4, 48)), np.float16, (1,), offset=3)


def with_a_sum(name, dtype, shape, centre):
    """Return SkipLayerNormalization: the sum of two is normalized, and a result too."""
    lead = (*shape[:-1], 1)

    def make(x, skip, scale, y, total, *statistics):
        if not centre:
            return rows.rms_norm(ADD, [x, skip], scale, y, [-1], 1e-6, total=total)
        mean, inverse = statistics
        return rows.layer_norm(
            ADD, [x, skip], scale, None, y, [-1], 1e-6,
            total=total, mean=mean, inverse=inverse, after=RELU,
        )  # fmt: skip

    def reference(x, skip, scale):
        y, *statistics = normalized(x + skip, (-1,), scale, 0, 1e-6, centre)
        if not centre:
            return y, x + skip
        return np.maximum(y, 0), x + skip, *statistics

    statistics = [wanted(np.float32, lead), wanted(np.float32, lead)] if centre else []
    return Example(
        name,
        [
            given(normal(shape, 1), dtype),
            given(normal(shape[1:], 2), dtype),
            given(normal(shape[-1:], 3), dtype),
        ],
        [wanted(dtype, shape), wanted(dtype, shape), *statistics],
        make,
        reference,
        ulps=2 if np.dtype(dtype).itemsize < 4 else 8,
        absolute=1e-6,
    )


def in_place():
    """Yield work whose result takes the memory of an operand."""
    for name, shape, order in (
        ("rows", (3, 200), None), ("columns", (30, 16), (0, 1)), ("long", (1, 20000), None)
    ):  # fmt: skip
        axis = 0 if name == "columns" else 1
        x = given(normal(shape), np.float16, order=order)
        yield Example(
            f"softmax of {name} in place", [x], [x[0]],
            lambda x, y, axis=axis: rows.softmax(SAME, [x], y, axis),
            lambda x, axis=axis: softmax_of(x, axis), ulps=2, absolute=1e-7,
        )  # fmt: skip
    x, skip = (
        given(normal((4, 640)), np.float32),
        given(normal((4, 640), 1), np.float32),
    )

    def make(x, skip, total, y):
        return rows.layer_norm(ADD, [x, skip], None, None, y, [1], 1e-5, total=total)

    yield Example(
        "skip norm in place", [x, skip], [x[0], skip[0]], make,
        lambda x, skip: (x + skip, normalized(x + skip, (1,))[0]), ulps=4, absolute=1e-6,
    )  # fmt: skip


def examples():
    """Yield all examples of lines."""
    yield from in_place()
    yield from softmaxes()
    yield from masked()
    yield from layer_norms()
    yield with_a_sum("skip norm", np.float16, (2, 3, 64), True)
    yield with_a_sum("skip norm of odd rows", np.float32, (2, 3, 51), True)
    yield with_a_sum("skip norm of many rows", np.float16, (1, 512, 1024), True)
    yield with_a_sum("skip RMS norm", BFLOAT16, (2, 3, 128), False)
    yield with_a_sum("long skip norm", np.float32, (1, 1, 20000), True)
    yield with_a_sum("long skip RMS norm", np.float16, (1, 1, 20000), False)


EXAMPLES = list(examples())


@pytest.fixture(scope="module")
def device():
    yield from prepared(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_lines_equal_numpy(example, device):
    check(example, device)


def ways():
    """Return the teams that the examples use."""
    return {
        e.launches[0].kernel.name.split("_f")[0].rsplit("_", 1)[0] for e in EXAMPLES
    }


def test_examples_cover_every_way_of_walking():
    assert {
        f"{family}_{way}"
        for family in ("softmax", "layer_norm")
        for way in ("rows", "rows_long", "columns")
    } | {"softmax_columns_long", "rms_norm_rows_long"} <= ways()


def test_a_new_shape_of_the_same_kind_compiles_nothing():
    def names(shape):
        x, y = wanted(np.float16, shape), wanted(np.float16, shape)
        return [each.kernel for each in rows.softmax(SAME, [x], y, -1)]

    assert names((12, 128, 1024)) == names((16, 100, 1000))


def test_neighbouring_axes_become_one():
    x = Tensor.dense(Buffer(0), np.float32, (2, 3, 4, 5))
    lines = arrange(x.shape, (2, 3), [x])
    assert [axis.size for axis in lines.kept] == [6]
    assert [axis.size for axis in lines.along] == [20]
    across = arrange(x.shape, (1,), [x])
    assert [axis.size for axis in across.kept] == [2, 20]
    assert choose(across, [x]).columns


def test_offsets_beyond_32_bits_are_computed_in_64():
    x = Tensor.dense(Buffer(0), np.float16, (1 << 20, 4096))
    launch = rows.softmax(SAME, [x], x, 1)[0]
    assert "i64" in launch.kernel.parameters
