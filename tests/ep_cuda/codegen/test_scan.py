"""Running sums and products equal NumPy's."""

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
from runtime_ep_cpu.ops.reduce import _cumulated
from runtime_ep_cuda.codegen.expression import SAME, Expression, Instruction
from runtime_ep_cuda.codegen.scan import cumulate

DOUBLED = Expression(1, (Instruction("add", (0, 0)),), (1,))


def cumulated(name, x, dtype, axis, *, before=SAME, order=None, product=False, **ways):
    """Return an example of CumSum or CumProd."""
    exclusive, reverse = ways.get("exclusive", False), ways.get("reverse", False)

    def reference(x):
        x = x if before is SAME else x + x
        function = "cumprod" if product else "cumsum"
        return _cumulated(function, int(product), x, np.array(axis), exclusive, reverse)

    off = 0.0
    if is_float(dtype) and np.dtype(dtype).itemsize == 4 and not product:
        finite = np.nan_to_num(x, posinf=0, neginf=0)
        off = np.abs(finite).sum(axis=axis).max() * 2**-22
    return Example(
        name,
        [given(x, dtype, order=order)],
        [wanted(dtype, x.shape, order=order)],
        lambda x, y: cumulate(before, [x], y, axis, product=product, **ways),
        reference,
        ulps=2 if np.dtype(dtype).itemsize < 4 else 40,
        absolute=off,
    )


def examples():
    """Yield running sums along rows and columns, of every type."""
    for exclusive in (False, True):
        for reverse in (False, True):
            ways = {"exclusive": exclusive, "reverse": reverse}
            way = " ".join(name for name, on in ways.items() if on)
            yield cumulated(f"rows {way}", normal((3, 70)), np.float32, 1, **ways)
            yield cumulated(f"long rows {way}", normal((2, 900)), np.float32, 1, **ways)
            yield cumulated(f"columns {way}", normal((9, 40)), np.float16, 0, **ways)
            x = np.abs(normal((3, 40))) + 0.5
            yield cumulated(f"product {way}", x, np.float64, 1, product=True, **ways)
    whole = np.arange(-300, 300).reshape(10, 60)
    for dtype in (np.int8, np.int32, np.int64, np.uint8, np.uint64):
        yield cumulated(np.dtype(dtype).name, whole, dtype, 1)
        yield cumulated(f"columns {np.dtype(dtype).name}", whole, dtype, 0)
    yield cumulated("wrapping product", whole, np.int32, 1, product=True)
    special = normal((4, 50))
    special[0, 7], special[1, 8], special[2, 9] = np.nan, np.inf, -np.inf
    special[1, 20] = -np.inf
    for axis in (0, 1):
        yield cumulated(f"special {axis}", special, np.float32, axis, exclusive=True)
    image = normal((2, 6, 3, 5))
    yield cumulated("channels last", image, BFLOAT16, 1, order=(0, 2, 3, 1))
    yield cumulated("doubled", image, np.float32, 2, before=DOUBLED)
    yield cumulated("many columns", normal((3, 70000)), np.float16, 0)


EXAMPLES = list(examples())


@pytest.fixture(scope="module")
def device():
    yield from prepared(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_running_sums_equal_numpy(example, device):
    check(example, device)
