"""Rotary positions against the NumPy kernel in float64."""

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import guarded, run
from runtime_ep_cpu.codegen import rotary
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.target import named, runnable
from runtime_ep_cpu.ops.attention import rotary_embedding

TARGETS = runnable()
ELEMENTS = {
    np.dtype(np.float32): "float",
    np.dtype(np.float16): "half",
    np.dtype(ml_dtypes.bfloat16): "bfloat",
}


def strides(array):
    return [step // array.itemsize for step in array.strides]


def turned(x, cos, sin, positions=None, turn=0, interleaved=False, **how):
    """Run the kernel over ``x (batch, heads, rows, width)``; return y and ``failed``."""
    batch, heads, rows, width = x.shape
    y = how.pop("y", None)
    if y is None:
        y = guarded(np.zeros(x.shape, x.dtype))
    failed = np.zeros(1, np.int64)
    by = rotary.blocking(batch, heads, rows, width)
    values = [part for a in (x, y) for part in (a, *strides(a)[:3])]
    for table in (cos, sin):
        values += [table, *([0] if table.ndim == 2 else []), *strides(table)[:-1]]
    values += [0, 0, 0] if positions is None else [positions, *strides(positions)]
    values += [cos.shape[0], failed, heads, rows, width, turn or width]
    spec = Spec.of("rotary", element=ELEMENTS[x.dtype], interleaved=interleaved)
    run(spec, [*values, by.rows, by.blocks], by.chunks, **how)
    return y, failed[0]


def angles(rows, width, dtype=np.float32):
    random = np.random.default_rng(1)
    return [guarded(random.normal(size=(*rows, width)).astype(dtype)) for _ in range(2)]


def expected(x, cos, sin, positions=None, turn=0, interleaved=False):
    wide = (a.astype(np.float64) for a in (x, cos, sin))
    return rotary_embedding(
        *wide, positions, interleaved=interleaved, rotary_embedding_dim=turn
    )


def sample(shape, dtype=np.float32):
    """Return (batch, heads, rows, width), laid out (batch, rows, heads, width)."""
    batch, heads, rows, width = shape
    random = np.random.default_rng(0)
    whole = random.normal(size=(batch, rows, heads, width)).astype(dtype)
    return guarded(whole).transpose(0, 2, 1, 3)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(
    ("shape", "turn"),
    [
        ((1, 2, 3, 64), 0),
        ((2, 3, 40, 80), 0),
        ((1, 1, 1, 2), 0),
        ((2, 2, 300, 128), 96),
        ((1, 5, 7, 50), 34),
        ((1, 2, 2, 21), 6),
    ],
)
def test_pairs_are_turned_and_the_rest_is_copied(shape, turn, interleaved, target):
    x = sample(shape)
    batch, _, rows, width = shape
    cos, sin = angles((batch, rows), (turn or width) // 2)
    y, failed = turned(x, cos, sin, None, turn, interleaved, target=named(target))
    want = expected(x, cos, sin, None, turn, interleaved)
    np.testing.assert_allclose(y, want, 1e-6, 1e-6)
    assert not failed


@pytest.mark.parametrize("interleaved", [False, True])
def test_positions_choose_rows_of_the_tables(interleaved):
    x = sample((3, 2, 11, 32))
    cos, sin = angles((50,), 16)
    positions = np.random.default_rng(2).integers(0, 50, (3, 22))[:, ::2]
    y, failed = turned(x, cos, sin, positions, 0, interleaved, threads=2)
    want = expected(x, cos, sin, positions, 0, interleaved)
    np.testing.assert_allclose(y, want, 1e-6, 1e-6)
    assert not failed


@pytest.mark.parametrize("wrong", [-1, 50, 1 << 40])
def test_a_position_outside_the_tables_is_told(wrong):
    x = sample((1, 2, 4, 8))
    cos, sin = angles((50,), 4)
    y, failed = turned(x, cos, sin, np.array([[3, wrong, 49, 0]]))
    assert failed == 1
    assert np.isfinite(y).all()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("interleaved", [False, True])
def test_narrow_floats_are_rounded_once(interleaved, dtype, target):
    x = sample((1, 2, 5, 40), dtype)
    cos, sin = angles((1, 5), 20, dtype)
    y, _ = turned(x, cos, sin, None, 0, interleaved, target=named(target))
    want = expected(x, cos, sin, None, 0, interleaved)
    unit = 2.0**-11 if dtype == np.float16 else 2.0**-8
    np.testing.assert_allclose(y.astype(np.float64), want, unit * 1.01, 1e-6)


@pytest.mark.parametrize("interleaved", [False, True])
def test_turning_in_place_is_allowed(interleaved):
    x = sample((2, 2, 9, 70))
    cos, sin = angles((2, 9), 35)
    want = expected(x, cos, sin, None, 0, interleaved)
    turned(x, cos, sin, None, 0, interleaved, y=x)
    np.testing.assert_allclose(x, want, 1e-6, 1e-6)
