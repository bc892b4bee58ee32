"""Reductions, extremes' positions and running sums, against NumPy in float64."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from peers import by_onnxruntime
from runtime.errors import ExecutionError

pytestmark = pytest.mark.filterwarnings("error")

REDUCTIONS = {
    "ReduceL1": lambda x, **how: np.abs(x).sum(**how),
    "ReduceL2": lambda x, **how: np.sqrt((x * x).sum(**how)),
    "ReduceLogSum": lambda x, **how: np.log(x.sum(**how)),
    "ReduceLogSumExp": lambda x, **how: np.log(np.exp(x).sum(**how)),
    "ReduceMax": np.max,
    "ReduceMean": np.mean,
    "ReduceMin": np.min,
    "ReduceProd": np.prod,
    "ReduceSum": np.sum,
    "ReduceSumSquare": lambda x, **how: (x * x).sum(**how),
}
EMPTY = {
    "ReduceL1": 0,
    "ReduceL2": 0,
    "ReduceLogSum": -np.inf,
    "ReduceLogSumExp": -np.inf,
    "ReduceMax": -np.inf,
    "ReduceMean": np.nan,
    "ReduceMin": np.inf,
    "ReduceProd": 1,
    "ReduceSum": 0,
    "ReduceSumSquare": 0,
}


@st.composite
def reductions(draw):
    """A shape and some of its axes, negative ones among them."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, max_side=4))
    rank = len(shape)
    chosen = draw(st.lists(st.integers(0, rank - 1), unique=True)) if rank else []
    return shape, [axis - draw(st.sampled_from([0, rank])) for axis in chosen]


def positive(shape, dtype="float32", seed=0):
    values = np.random.default_rng(seed).uniform(0.5, 3, shape)
    return np.asarray(values).astype(dtype)


def one(op_type, *inputs, opset=0, **attributes):
    [result] = run_node(op_type, list(inputs), attributes, opset)
    assert isinstance(result, np.ndarray)
    return result


def assert_is(result, wanted, rtol=0.0):
    wanted = np.asarray(wanted)
    assert (result.dtype, result.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_allclose(result, wanted, rtol=rtol, atol=rtol)


def axes_input_since(op_type):
    return 13 if op_type == "ReduceSum" else 18


@pytest.mark.parametrize("op_type", REDUCTIONS)
class TestReductions:
    @given(
        case=reductions(),
        keepdims=st.booleans(),
        dtype=st.sampled_from(["float16", "float32", "float64"]),
    )
    def test_axes_are_reduced(self, op_type, case, keepdims, dtype):
        shape, axes = case
        x = positive(shape, dtype)
        how = {"axis": tuple(axes) or None, "keepdims": keepdims}
        wanted = np.asarray(REDUCTIONS[op_type](x.astype(np.float64), **how))
        tolerance = 3e-3 if dtype == "float16" else 1e-5
        if dtype == "float16" and wanted.max() > 6e4:
            return
        for opset in {axes_input_since(op_type), 18, 20, 28}:
            result = one(
                op_type, x, np.array(axes, np.int64), opset=opset, keepdims=keepdims
            )
            assert_is(result, wanted.astype(dtype), tolerance)
        for opset in (1, 11, axes_input_since(op_type) - 1):
            attributes = {"axes": axes} if axes else {}
            result = one(op_type, x, opset=opset, keepdims=keepdims, **attributes)
            assert_is(result, wanted.astype(dtype), tolerance)

    def test_without_axes_all_are_reduced_and_kept_as_ones(self, op_type):
        x = positive((2, 3))
        wanted = REDUCTIONS[op_type](x, axis=None, keepdims=True)
        assert_is(one(op_type, x), wanted, 1e-6)
        assert_is(one(op_type, x, np.array([], np.int64)), wanted, 1e-6)

    @pytest.mark.parametrize("shape", [(), (2, 3)])
    def test_noop_reduces_each_element_alone(self, op_type, shape):
        x = positive(shape)
        wanted = REDUCTIONS[op_type](x[..., None], axis=-1)
        for axes in ([], [np.array([], np.int64)]):
            result = one(op_type, x, *axes, noop_with_empty_axes=1)
            assert_is(result, wanted, 1e-6)

    @pytest.mark.parametrize("keepdims", [0, 1])
    def test_reducing_nothing_gives_the_neutral_element(self, op_type, keepdims):
        x = np.empty((2, 0, 3), np.float32)
        shape = (2, 1, 3) if keepdims else (2, 3)
        result = one(op_type, x, np.array([1]), keepdims=keepdims)
        assert_is(result, np.full(shape, EMPTY[op_type], np.float32))

    def test_a_zero_sized_result_is_possible(self, op_type):
        x = np.empty((0, 3), np.float32)
        result = one(op_type, x, np.array([1]), keepdims=0)
        assert_is(result, np.empty(0, np.float32))

    @pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64"])
    def test_integers_stay_integers(self, op_type, dtype):
        x = np.array([[1, 2, 4], [3, 3, 5]], dtype)
        wanted = np.trunc(REDUCTIONS[op_type](x.astype(np.float64), axis=1))
        result = one(op_type, x, np.array([1]), opset=18, keepdims=0)
        assert_is(result, wanted.astype(dtype))

    def test_bfloat16_is_computed_in_float32(self, op_type):
        x = positive((4, 50), ml_dtypes.bfloat16)
        wanted = REDUCTIONS[op_type](x.astype(np.float32), axis=1)
        result = one(op_type, x, np.array([1]), keepdims=0)
        assert result.dtype == x.dtype
        np.testing.assert_allclose(
            result.astype(np.float32), wanted, rtol=2**-8, atol=1e-6
        )

    def test_a_scalar_may_name_its_axis_0(self, op_type):
        x = positive(())
        wanted = REDUCTIONS[op_type](x)
        for axis in (0, -1):
            assert_is(one(op_type, x, np.array([axis])), wanted, 1e-6)

    @pytest.mark.parametrize(
        ("axes", "message"),
        [([2], "out of range"), ([-3], "range"), ([0, -2], "twice")],
    )
    def test_axes_must_exist_and_differ(self, op_type, axes, message):
        with pytest.raises(ExecutionError, match=message):
            one(op_type, positive((2, 3)), np.array(axes))

    def test_nan_is_not_lost(self, op_type):
        x = np.array([1, np.nan, 2], np.float32)
        assert np.isnan(one(op_type, x)).all()

    def test_onnxruntime_agrees(self, op_type):
        x = positive((2, 3, 4))
        axes = np.array([0, -1])
        [wanted] = by_onnxruntime(op_type, [x, axes], {"keepdims": 0}, 18)
        result = one(op_type, x, axes, opset=18, keepdims=0)
        assert_is(result, wanted, 1e-5)


def test_means_of_integers_are_rounded_towards_zero():
    x = np.array([-3, -4], np.int32)
    assert_is(one("ReduceMean", x, keepdims=0), np.array(-3, np.int32))
    large = np.full(4, 2**31 - 1, np.int32)
    assert_is(one("ReduceMean", large, keepdims=0), large[0])


def test_large_exponents_do_not_overflow():
    x = np.array([1000, 1000, -1000], np.float32)
    wanted = np.array(1000 + np.log(2), np.float32)
    assert_is(one("ReduceLogSumExp", x, keepdims=0), wanted, 1e-6)
    inf = np.array([np.inf, 1], np.float32)
    assert_is(one("ReduceLogSumExp", inf, keepdims=0), np.array(np.inf, np.float32))
    assert_is(one("ReduceLogSumExp", -inf[:1]), -inf[:1])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool"])
def test_extremes_of_nothing_are_the_types_own(dtype):
    x = np.empty((0, 2), dtype)
    limits = (False, True) if dtype == "bool" else (np.iinfo(dtype).min, None)
    least = limits[0]
    most = True if dtype == "bool" else np.iinfo(dtype).max
    axes = np.array([0])
    assert_is(one("ReduceMax", x, axes, keepdims=0), np.full(2, least, dtype))
    assert_is(one("ReduceMin", x, axes, keepdims=0), np.full(2, most, dtype))


def test_booleans_are_ordered():
    x = np.array([[True, False], [False, False]])
    axes = np.array([1])
    assert_is(one("ReduceMax", x, axes, keepdims=0), np.array([True, False]))
    assert_is(one("ReduceMin", x, axes, keepdims=0), np.array([False, False]))


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
class TestPositions:
    @given(
        shape=hnp.array_shapes(max_dims=4, max_side=4),
        axis=st.integers(-4, 3),
        keepdims=st.booleans(),
        last=st.booleans(),
        dtype=st.sampled_from(["float32", "float16", "bfloat16", "int8", "uint64"]),
    )
    def test_one_extreme_is_found(self, op_type, shape, axis, keepdims, last, dtype):
        axis = axis % (2 * len(shape)) - len(shape)
        draw = np.random.default_rng(0).integers
        x = np.asarray(draw(0, 3, shape))
        find = np.argmax if op_type == "ArgMax" else np.argmin
        wanted = find(x, axis=axis, keepdims=keepdims)
        if last:
            wanted = find(np.flip(x, axis), axis=axis, keepdims=keepdims)
            wanted = x.shape[axis] - 1 - wanted
        result = one(
            op_type,
            x.astype(np.dtype(dtype)),
            axis=axis,
            keepdims=keepdims,
            select_last_index=last,
        )
        assert_is(result, np.asarray(wanted, np.int64))
        if not last:
            old = one(op_type, x, opset=1, axis=axis, keepdims=keepdims)
            assert_is(old, np.asarray(wanted, np.int64))

    def test_the_axis_must_have_elements(self, op_type):
        with pytest.raises(ExecutionError, match="no elements"):
            one(op_type, np.empty((0, 3), np.float32))
        result = one(op_type, np.empty((0, 3), np.float32), axis=1)
        assert_is(result, np.empty((0, 1), np.int64))

    @pytest.mark.parametrize("axis", [2, -3])
    def test_the_axis_must_exist(self, op_type, axis):
        with pytest.raises(ExecutionError, match="out of range"):
            one(op_type, positive((2, 3)), axis=axis)


RUNNING = {"CumSum": np.cumsum, "CumProd": np.cumprod}


@pytest.mark.parametrize("op_type", RUNNING)
class TestRunning:
    @given(
        shape=hnp.array_shapes(max_dims=3, min_side=0, max_side=4),
        axis=st.integers(-3, 2),
        exclusive=st.booleans(),
        reverse=st.booleans(),
        dtype=st.sampled_from(["float32", "float64", "float16", "int32", "int64"]),
    )
    def test_totals_run_along_an_axis(
        self, op_type, shape, axis, exclusive, reverse, dtype
    ):
        axis = axis % (2 * len(shape)) - len(shape)
        x = positive(shape, dtype)
        wide = np.moveaxis(x.astype(np.float64), axis, -1)
        wide = wide[..., ::-1] if reverse else wide
        wanted = RUNNING[op_type](wide, axis=-1)
        if exclusive:
            start = np.full((*wide.shape[:-1], 1), op_type == "CumProd")
            wanted = np.concatenate([start, wanted], axis=-1)[..., : wide.shape[-1]]
        wanted = np.moveaxis(wanted[..., ::-1] if reverse else wanted, -1, axis)
        result = one(op_type, x, np.array(axis), exclusive=exclusive, reverse=reverse)
        tolerance = 3e-3 if dtype == "float16" else 1e-5
        assert_is(result, wanted.astype(dtype), tolerance)

    def test_integers_wrap_around(self, op_type):
        x = np.full(3, 2**30 + 1, np.int32)
        with np.errstate(over="ignore"):
            wanted = RUNNING[op_type](x, dtype=np.int32)
        assert_is(one(op_type, x, np.array(0)), wanted)

    @pytest.mark.parametrize(("shape", "axis"), [((2,), 1), ((2,), -2), ((), 0)])
    def test_the_axis_must_exist(self, op_type, shape, axis):
        with pytest.raises(ExecutionError, match="out of range"):
            one(op_type, positive(shape), np.array(axis))

    def test_the_axis_is_one_number(self, op_type):
        with pytest.raises(ExecutionError, match="scalar"):
            one(op_type, positive((2, 3)), np.array([0, 1]))
