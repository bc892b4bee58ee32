"""The best elements and their places equal the CPU provider's."""

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
from runtime_ep_cpu.ops._order import _top_k
from runtime_ep_cuda.codegen.topk import topk, topk_refused, topk_scratch


def best(name, x, dtype, k, axis, *, order=None, **ways):
    """Return an example of TopK."""
    shape = tuple(k if n == axis else size for n, size in enumerate(x.shape))
    inputs = [given(x, dtype, order=order)]
    need = topk_scratch(inputs[0][0], k, axis)

    def make(x, values, places, scratch=None):
        return topk(x, values, places, axis, scratch=scratch, **ways)

    def reference(x):
        largest, in_order = ways.get("largest", True), ways.get("in_order", True)
        return _top_k(x, k, axis, largest, in_order)

    return Example(
        name, inputs, [wanted(dtype, shape), wanted(np.int64, shape)], make, reference,
        ulps=0, scratch=[wanted(np.uint8, (need,))] if need else [],
    )  # fmt: skip


def special_lines():
    """Return lines with ties, both zeros, infinities and several NaN."""
    x = np.random.default_rng(5).integers(-3, 4, (5, 90)).astype(float)
    x[0, [4, 60]] = np.nan
    x[1, [8, 9]] = np.inf, -np.inf
    x[2] = np.nan
    x[3, ::2] = -0.0
    x[4, ::3] = 1e-40
    return x


def examples():
    """Yield lines of many lengths and types, sorted from either end."""
    special = special_lines()
    for largest in (False, True):
        for in_order in (False, True):
            ways = {"largest": largest, "in_order": in_order}
            way = f"{'largest' if largest else 'smallest'} {'sorted' * in_order}"
            yield best(f"{way} special", special, np.float32, 70, 1, **ways)
            yield best(f"{way} doubles", special, np.float64, 13, 1, **ways)
            yield best(f"{way} long", normal((2, 9000)), np.float16, 30, 1, **ways)
        for dtype in (np.int8, np.uint8, np.int32, np.int64, np.uint64):
            whole = np.random.default_rng(6).integers(-9, 9, (3, 50))
            kind = np.dtype(dtype).name
            yield best(f"{kind} {largest}", whole, dtype, 11, 1, largest=largest)
    for dtype in (np.float16, BFLOAT16):
        yield best(f"columns {np.dtype(dtype).name}", special, dtype, 3, 0)
    yield best("all of a line", normal((2, 300)), np.float32, 300, 1)
    yield best("of one", normal((4, 1)), np.float32, 1, 1)
    yield best("none", normal((4, 5)), np.float32, 0, 1)
    image = normal((2, 10, 3, 4))
    yield best("channels last", image, np.float32, 4, 1, order=(0, 2, 3, 1))
    yield best("three steps", normal((1, 20000)), np.float32, 2000, 1)
    yield best("long doubles", normal((1, 6000)), np.float64, 100, 1)


EXAMPLES = list(examples())


@pytest.fixture(scope="module")
def device():
    yield from prepared(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_best_equal_the_cpu_provider(example, device):
    check(example, device)


def test_what_is_refused_is_told():
    half = np.dtype(np.float16)
    assert not topk_refused(4096, 4096, half)
    assert not topk_refused(10**6, 2048, half)
    assert "2049 of 5000" in topk_refused(5000, 2049, half)
