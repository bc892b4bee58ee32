"""Reductions and places of extremes equal NumPy's."""

import numpy as np
import pytest
from codegen.examples import (
    BFLOAT16,
    Example,
    check,
    given,
    is_float,
    name_of,
    normal,
    prepared,
    wanted,
)
from runtime_ep_cpu.ops.reduce import REDUCTIONS, _position
from runtime_ep_cuda.codegen import arg, reduction
from runtime_ep_cuda.codegen.expression import SAME, Expression, Instruction

LAST = (0, 2, 3, 1)
OPS = {
    "sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin",
    "prod": "ReduceProd", "l1": "ReduceL1", "l2": "ReduceL2",
    "sum_square": "ReduceSumSquare", "log_sum": "ReduceLogSum",
    "log_sum_exp": "ReduceLogSumExp",
}  # fmt: skip
SQUARE = Expression(1, (Instruction("multiply", (0, 0)),), (1,))
SCALED = Expression(2, (Instruction("multiply", (0, 1)),), (2,))


def reduce(name, op, x, dtype, axes, *, order=None, keep=True, cut=False, **layout):
    """Return an example of a reduction, of NumPy's in float64 or in integers.

    Sums may be off by a unit of the last place of the sum of absolute values.
    """
    places = tuple(axis % x.ndim for axis in axes)
    shape = tuple(
        1 if axis in places else size
        for axis, size in enumerate(x.shape)
        if keep or axis not in places
    )
    inputs = [given(x, dtype, order=order, **layout)]
    y = wanted(dtype, shape)
    scratch = []
    if cut:
        need = reduction.reduction_scratch([inputs[0][0]], y, x.shape, axes)
        assert need, "this reduction is not cut"
        scratch = [wanted(np.uint8, (need,))]

    def make(x, y, parts=None):
        return reduction.reduce(op, SAME, [x], y, x.shape, axes, scratch=parts)

    def reference(x):
        return REDUCTIONS[OPS[op]][1](x, places, keep)

    half = is_float(dtype) and np.dtype(dtype).itemsize < 4
    many = np.abs(np.nan_to_num(x, posinf=0, neginf=0)).sum(axis=places).max()
    return Example(
        name, inputs, [y], make, reference,
        ulps=2 if half else 8,
        absolute=(2**-22 if np.dtype(dtype).itemsize < 8 else 2**-51) * float(many),
        scratch=scratch,
    )  # fmt: skip


def of_floats():
    """Yield every operation on floats, along rows and columns."""
    for op in OPS:
        x = normal((5, 37))
        x = np.abs(x) + 0.5 if op in ("log_sum", "prod") else x
        yield reduce(f"{op} of rows", op, x, np.float32, (1,))
        yield reduce(f"{op} of columns", op, x, np.float32, (0,), keep=False)
    for dtype in (np.float16, BFLOAT16, np.float64):
        kind = np.dtype(dtype).name
        yield reduce(f"mean {kind}", "mean", normal((3, 48)), dtype, (-1,))
        yield reduce(f"long sum {kind}", "sum", normal((2, 9000)), dtype, (1,))
        yield reduce(f"max {kind}", "max", normal((6, 40)), dtype, (0,))
        yield reduce(f"power {kind}", "log_sum_exp", normal((6, 40)), dtype, (1,))


def of_shapes():
    """Yield reductions over sets of axes, in several layouts, cut and not."""
    image = normal((2, 16, 5, 7))
    for order in (None, LAST):
        way = "last" if order else "first"
        yield reduce(f"pool {way}", "mean", image, np.float16, (2, 3), order=order)
        yield reduce(f"axes {way}", "sum", image, np.float32, (0, 2), order=order)
        yield reduce(f"channels {way}", "max", image, np.float32, (1,), order=order)
        yield reduce(f"all {way}", "sum_square", image, np.float32, (0, 1, 2, 3))
    yield reduce("nothing", "sum", image, np.float32, ())
    yield reduce("of one", "log_sum_exp", normal((4, 1)), np.float32, (1,), keep=False)
    yield reduce("of none", "max", normal((4, 0)), np.float32, (1,), keep=False)
    yield reduce("none to a mean", "mean", normal((4, 0)), np.float32, (1,))
    strided = reduce(
        "strided", "sum", normal((4, 9)), np.float32, (1,), strides=(-40, 3)
    )
    yield strided
    big = normal((3, 70000))
    yield reduce("cut rows", "mean", big, np.float32, (1,), cut=True)
    yield reduce("cut powers", "log_sum_exp", big, np.float16, (1,), cut=True)
    yield reduce("cut to one", "l2", normal((90, 1000)), np.float16, (0, 1), cut=True)
    tall = normal((9000, 16))
    yield reduce("cut columns", "sum", tall, np.float16, (0,), cut=True)
    whole = np.arange(90000).reshape(300, 300)
    yield reduce("cut integers", "mean", whole, np.int32, (0, 1), cut=True)


def of_integers():
    """Yield every operation on some type of integers, wrapping around."""
    whole = np.arange(-60, 60).reshape(8, 15) * 7
    types = (np.int32, np.int64, np.int8, np.uint8, np.uint64)
    for number, op in enumerate(OPS):
        for dtype in (types[number % 5], types[(number + 2) % 5]):
            x = whole.astype(dtype)
            x = np.maximum(x, 1) if op.startswith("log") else x
            x = x % 9 if op == "log_sum_exp" else x
            yield reduce(f"{op} {np.dtype(dtype).name}", op, x, dtype, (1,))
    for op in ("max", "min"):
        yield reduce(f"{op} of bools", op, whole % 4 == 0, bool, (0,))
        yield reduce(f"{op} of no integers", op, whole[:, :0], np.int8, (1,))


def special():
    """Yield reductions of infinities and NaN."""
    x = normal((6, 40))
    x[0, 3], x[1, 4], x[2, 5] = np.nan, np.inf, -np.inf
    x[3] = -np.inf
    x[4, 1], x[4, 2] = np.inf, -np.inf
    x[5] = 1e-40
    for op in ("sum", "max", "min", "log_sum_exp", "l1"):
        yield reduce(f"special {op}", op, x, np.float32, (1,))
        yield reduce(f"special columns {op}", op, x.T, np.float32, (0,))


def with_expressions():
    """Yield a reduction with work before and after, into a narrower type."""

    def make(x, w, s, y, z):
        after = Expression(2, (*SCALED.instructions,), (2, 0))
        return reduction.reduce(
            "sum", SCALED, [x, w], y, (4, 6, 40), (2,),
            after=after, further=[s], results=[y, z],
        )  # fmt: skip

    def reference(x, w, s):
        found = (x * w).sum(axis=2)
        return found * s, found

    yield Example(
        "expressions",
        [
            given(normal((4, 6, 40)), np.float16),
            given(normal((6, 1)), np.float32),
            given(normal((6,)), np.float32),
        ],
        [wanted(BFLOAT16, (4, 6)), wanted(np.float32, (4, 6))],
        make,
        reference,
        ulps=8,
        absolute=1e-5,
    )


def place(name, x, dtype, axis, largest, last, order=None, cut=False):
    """Return an example of ArgMax or ArgMin."""
    shape = tuple(1 if n == axis else size for n, size in enumerate(x.shape))
    inputs, y = [given(x, dtype, order=order)], wanted(np.int64, shape)
    need = reduction.reduction_scratch([inputs[0][0]], y, x.shape, [axis])

    def make(x, y, parts=None):
        return arg.arg_extreme(
            SAME, [x], y, x.shape, axis, largest=largest, last=last, scratch=parts
        )

    return Example(
        name, inputs, [y], make,
        lambda x: _position("argmax" if largest else "argmin", x, axis, 1, last),
        scratch=[wanted(np.uint8, (need,))] if cut else [],
    )  # fmt: skip


def places():
    """Yield places of extremes, with ties, NaN and infinities."""
    x = np.random.default_rng(1).integers(0, 5, (6, 50)).astype(float)
    x[1, [3, 9]] = np.nan
    x[2, [4, 8]] = np.inf
    x[3] = -np.inf
    for largest in (False, True):
        for last in (False, True):
            way = f"{'max' if largest else 'min'} {'last' if last else 'first'}"
            yield place(f"{way}, rows", x, np.float32, 1, largest, last)
            yield place(f"{way}, columns", x, np.float16, 0, largest, last)
    whole = np.random.default_rng(2).integers(-5, 5, (3, 8, 4, 5))
    for dtype in (np.int8, np.int64, np.uint8, np.float64):
        kind = np.dtype(dtype).name
        yield place(f"{kind} of channels", whole, dtype, 1, True, False, order=LAST)
    yield place("cut", normal((1, 99999)), np.float32, 1, True, False, cut=True)


def examples():
    """Yield all examples of reductions."""
    for group in (of_floats, of_shapes, of_integers, special, with_expressions, places):
        yield from group()


EXAMPLES = list(examples())


@pytest.fixture(scope="module")
def device():
    yield from prepared(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_reductions_equal_numpy(example, device):
    check(example, device)
