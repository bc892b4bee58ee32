"""Normalizations over groups of channels and along vectors equal NumPy's in float64."""

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
from runtime_ep_cpu import formulas
from runtime_ep_cpu.ops import normalize as cpu
from runtime_ep_cpu.ops._array_math import math_of
from runtime_ep_cuda.codegen import group_norm as norms
from runtime_ep_cuda.codegen.expression import SAME, Expression, Instruction

LAST = (0, 2, 3, 1)
SWISH = Expression(1, (Instruction("swish", (0,)),), (1,))
SUM = Expression(2, (Instruction("swish", (0,)), Instruction("add", (2, 1))), (3,))


def group_norm(name, x, dtype, groups, *, after=SAME, order=None, large=False, per=1):
    """Return an example of GroupNormalization; ``per`` channels share a weight."""
    weights = np.promote_types(dtype, np.float32)
    inputs = [
        given(x, dtype, order=order),
        given(normal(x.shape[1] // per, 1), weights),
        given(normal(x.shape[1] // per, 2), weights),
        *([given(normal(x.shape, 3), dtype)] if after is SUM else []),
    ]
    y = wanted(dtype, x.shape, order=order)
    need = norms.group_norm_scratch(inputs[0][0], y, groups)
    assert bool(need) == large

    def make(x, scale, bias, *rest):
        further = rest[:1] if after is SUM else ()
        y, *parts = rest[len(further) :]
        return norms.group_norm(
            x, scale, bias, y, groups, 1e-5,
            after=after, further=further, scratch=parts[0] if parts else None,
        )  # fmt: skip

    def reference(x, scale, bias, *further):
        scale, bias = np.repeat(scale, per), np.repeat(bias, per)
        y = cpu._by_groups(x, scale, bias, groups, 1e-5)
        y = y if after is SAME else formulas.swish(math_of(np), y)
        return y + further[0] if further else y

    size = np.dtype(dtype).itemsize
    return Example(
        name, inputs, [y], make, reference,
        ulps=2,
        absolute=(8e-6 if size < 8 else 1e-13) * max(1, abs(x.mean())),
        scratch=[wanted(np.uint8, (need,))] if need else [],
    )  # fmt: skip


def groups():
    """Yield groups of channels of small and large images, in both layouts."""
    small, large = normal((2, 20, 5, 6)), normal((1, 20, 64, 136)) + 5
    for order in (None, LAST):
        way = "last" if order else "first"
        for dtype in (np.float32, np.float16, BFLOAT16):
            kind = np.dtype(dtype).name
            yield group_norm(f"{way} {kind}", small, dtype, 4, order=order)
        yield group_norm(f"{way} swish", small, np.float16, 2, order=order, after=SWISH)
        yield group_norm(f"{way} instances", small, np.float32, 20, order=order)
        yield group_norm(
            f"{way} large", large, np.float32, 4, order=order, after=SUM, large=True
        )
        yield group_norm(
            f"{way} large halves", large, np.float16, 2, order=order, after=SWISH,
            large=True, per=10,
        )  # fmt: skip
    yield group_norm("a weight per group", small, np.float32, 4, per=5)
    yield group_norm("doubles", small, np.float64, 4)
    yield group_norm("large doubles", large, np.float64, 1, order=LAST, large=True)
    many = normal((1, 80, 16, 32)) + np.arange(80)[:, None, None] // 40 * 3.0
    yield group_norm("more parts than a warp", many, np.float32, 2, large=True)
    wide = normal((8, 256, 16, 16))
    yield group_norm("many groups", wide, np.float16, 32, order=LAST, after=SWISH)
    yield group_norm("one dimension", normal((2, 6, 9)), np.float32, 3)


def vectors():
    """Yield LpNormalization and MeanVarianceNormalization."""
    x = normal((3, 12, 4))
    x[1, :, 2] = 0
    x[2, :, 1] = 1e-40
    for p in (1, 2):
        for axis in (1, 2):
            yield Example(
                f"l{p} norm along {axis}",
                [given(x, np.float32)],
                [wanted(np.float32, x.shape)],
                lambda x, y, axis=axis, p=p: norms.lp_norm(x, y, axis, p),
                lambda x, axis=axis, p=p: _lp_norm(x.astype(np.float32), axis, p),
                ulps=8,
            )
    for axes in ((0, 2, 3), (1,)):
        yield Example(
            f"mean and variance over {axes}",
            [given(normal((2, 3, 4, 5)), np.float32, order=LAST)],
            [wanted(np.float32, (2, 3, 4, 5))],
            lambda x, y, axes=axes: norms.mean_variance_norm(x, y, axes),
            lambda x, axes=axes: cpu.mean_variance_normalization(x, axes=axes),
            absolute=1e-6,
        )


def _lp_norm(x, axis, p):
    """Return the norm of float32, whose squares may vanish."""
    return cpu.lp_normalization(x, axis=axis, p=p).astype(np.float64)


def examples():
    """Yield all examples of normalizations over groups."""
    yield from groups()
    yield from vectors()


EXAMPLES = list(examples())


@pytest.fixture(scope="module")
def device():
    yield from prepared(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_normalizations_equal_numpy(example, device):
    check(example, device)
