"""Normalizations against their formulas in float64, and against onnxruntime."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from evaluate import narrow, run_node
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from peers import by_onnxruntime
from runtime.errors import ExecutionError

pytestmark = pytest.mark.filterwarnings("error")

HALVES = [np.float16, ml_dtypes.bfloat16]
shapes = hnp.array_shapes(min_dims=2, max_dims=5, min_side=1, max_side=4)


def random(shape, dtype=np.float32, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * 2 + 1).astype(dtype)


def statistics(channels, dtype=np.float32):
    scale, b, mean, var = (random(channels, dtype, seed) for seed in range(1, 5))
    return scale, b, mean, np.abs(var)


def along_channels(values, x):
    return narrow(values).reshape(-1, *(1,) * (x.ndim - 2))


def normalized(x, scale, b, mean, var, epsilon=1e-5):
    scale, b, mean, var = (along_channels(v, x) for v in (scale, b, mean, var))
    return (narrow(x) - mean) / np.sqrt(var + epsilon) * scale + b


@given(shape=shapes, opset=st.sampled_from([7, 9, 14, 15]))
def test_batch_normalization_uses_the_given_statistics(shape, opset):
    x, given_ones = random(shape), statistics(shape[1:2])
    [y] = run_node("BatchNormalization", [x, *given_ones], {"epsilon": 1e-3}, opset)
    wanted = normalized(x, *given_ones, epsilon=1e-3)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("opset", [1, 6])
def test_early_batch_normalization_tests_only_when_told(opset):
    x, given_ones = random((2, 3, 4, 4)), statistics((3,))
    legacy = {"consumed_inputs": [0] * 5} if opset == 1 else {}
    [y] = run_node(
        "BatchNormalization", [x, *given_ones], {"is_test": 1, **legacy}, opset
    )
    np.testing.assert_allclose(y, normalized(x, *given_ones), rtol=1e-4, atol=1e-4)
    y, *_ = run_node("BatchNormalization", [x, *given_ones], legacy, opset, outputs=5)
    scale, b, *_ = given_ones
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    np.testing.assert_allclose(
        y, normalized(x, scale, b, mean, var), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("opset", [6, 7, 9])
def test_training_gives_five_results_before_opset_14(opset):
    x, (scale, b, mean, var) = random((4, 3, 5)), statistics((3,))
    y, *rest = run_node(
        "BatchNormalization",
        [x, scale, b, mean, var],
        {"momentum": 0.75},
        opset,
        outputs=5,
    )
    own_mean, own_var = x.mean((0, 2)), x.var((0, 2))
    wanted = normalized(x, scale, b, own_mean, own_var)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)
    running = [0.75 * mean + 0.25 * own_mean, 0.75 * var + 0.25 * own_var]
    for found, expected in zip(rest, [*running, own_mean, own_var], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_batch_normalization_may_be_per_activation_before_opset_9():
    x, given_ones = random((4, 3, 5)), statistics((3, 5))
    [y] = run_node("BatchNormalization", [x, *given_ones], {"spatial": 0}, 7)
    scale, b, mean, var = given_ones
    np.testing.assert_allclose(
        y, (x - mean) / np.sqrt(var + 1e-5) * scale + b, 1e-3, 1e-3
    )
    y, running, *_ = run_node(
        "BatchNormalization", [x, *given_ones], {"spatial": 0}, 7, outputs=5
    )
    wanted = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * scale + b
    np.testing.assert_allclose(y, wanted, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        running, 0.9 * mean + 0.1 * x.mean(0), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64, *HALVES])
@pytest.mark.parametrize("kept", [np.float32, np.float64])
def test_training_keeps_each_type(dtype, kept):
    x, (scale, b, mean, var) = random((4, 3, 5), dtype), statistics((3,), kept)
    inputs = [x, scale.astype(dtype), b.astype(dtype), mean, var]
    y, running_mean, running_var = run_node(
        "BatchNormalization", inputs, {"training_mode": 1}, 15, outputs=3
    )
    assert (y.dtype, running_mean.dtype, running_var.dtype) == (dtype, kept, kept)
    own = narrow(x)
    rtol = 1e-4 if np.dtype(dtype).itemsize > 2 else 0.05
    wanted = normalized(x, inputs[1], inputs[2], own.mean((0, 2)), own.var((0, 2)))
    np.testing.assert_allclose(narrow(y), wanted, rtol=rtol, atol=rtol)
    wanted = 0.9 * narrow(var) + 0.1 * own.var((0, 2))
    np.testing.assert_allclose(running_var, wanted, rtol=1e-4)


def test_batch_normalization_of_a_vector_has_one_channel():
    x, given_ones = random((5,)), statistics((1,))
    [y] = run_node("BatchNormalization", [x, *given_ones], opset=15)
    scale, b, mean, var = (float(v[0]) for v in given_ones)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5) * scale + b, 1e-4)


def test_statistics_of_nothing_raise_no_warning():
    x, given_ones = random((0, 3, 4)), statistics((3,))
    y, mean, _ = run_node(
        "BatchNormalization", [x, *given_ones], {"training_mode": 1}, 15, outputs=3
    )
    assert y.shape == (0, 3, 4)
    assert np.isnan(mean).all()
    [y] = run_node("InstanceNormalization", [random((2, 3, 0)), *given_ones[:2]])
    assert y.shape == (2, 3, 0)


def test_statistics_must_fit_the_channels():
    with pytest.raises(ExecutionError, match="do not fit"):
        run_node("BatchNormalization", [random((2, 4, 3)), *statistics((3,))], opset=15)


@given(shape=hnp.array_shapes(min_dims=3, max_dims=5, min_side=1, max_side=5))
def test_instance_normalization_is_onnxruntimes(shape):
    inputs = [random(shape), *statistics(shape[1:2])[:2]]
    [y] = run_node("InstanceNormalization", inputs, {"epsilon": 1e-2}, 6)
    [wanted] = by_onnxruntime("InstanceNormalization", inputs, {"epsilon": 1e-2}, 7)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)
    attributes = {"epsilon": 1e-2, "consumed_inputs": [0]}
    [early] = run_node("InstanceNormalization", inputs, attributes, 1)
    np.testing.assert_array_equal(early, y)


def test_instance_normalization_is_precise_for_large_images():
    x = (random((1, 2, 200, 200)) + 1000).astype(np.float32)
    ones, zeros = np.ones(2, np.float32), np.zeros(2, np.float32)
    [y] = run_node("InstanceNormalization", [x, ones, zeros])
    wide = narrow(x)
    wanted = wide - wide.mean((2, 3), keepdims=True)
    wanted /= np.sqrt(wide.var((2, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, wanted, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, *HALVES])
@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_normalization_scales_by_group_and_then_by_channel(dtype, opset, groups):
    x = random((2, 6, 4, 3), dtype)
    count = groups if opset == 18 else 6
    scale, bias = random(count, dtype, 1), random(count, dtype, 2)
    [y] = run_node(
        "GroupNormalization", [x, scale, bias], {"num_groups": groups}, opset
    )
    rows = narrow(x).reshape(2, groups, -1)
    rows = rows - rows.mean(-1, keepdims=True)
    rows /= np.sqrt((rows**2).mean(-1, keepdims=True) + 1e-5)
    each = 6 // count
    scale, bias = (np.repeat(narrow(v), each)[:, None, None] for v in (scale, bias))
    assert y.dtype == dtype
    tolerance = 1e-4 if np.dtype(dtype).itemsize > 2 else 0.05
    wanted = rows.reshape(x.shape) * scale + bias
    np.testing.assert_allclose(narrow(y), wanted, rtol=tolerance, atol=tolerance)


def test_groups_must_divide_the_channels():
    x, ones = random((1, 6, 2)), np.ones(6, np.float32)
    for groups in (4, 0):
        with pytest.raises(ExecutionError, match="do not divide"):
            run_node("GroupNormalization", [x, ones, ones], {"num_groups": groups})


@given(data=st.data(), with_bias=st.booleans())
def test_layer_normalization_is_its_formula(data, with_bias):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x, scale = random(shape), random(shape[axis:], seed=1)
    b = random(shape[axis:], seed=2) if with_bias else None
    y, mean, inverse = run_node(
        "LayerNormalization", [x, scale, b], {"axis": axis}, outputs=3
    )
    axes = tuple(range(axis % len(shape), len(shape)))
    wide = narrow(x)
    wanted_mean = wide.mean(axes, keepdims=True)
    wanted = 1 / np.sqrt(wide.var(axes, keepdims=True) + 1e-5)
    np.testing.assert_allclose(mean, wanted_mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(inverse, wanted, rtol=1e-2)
    wanted = (wide - wanted_mean) * wanted * scale + (0 if b is None else b)
    np.testing.assert_allclose(y, wanted, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, *HALVES])
@pytest.mark.parametrize("stash", [np.float32, ml_dtypes.bfloat16])
def test_mean_and_deviation_have_the_stashed_type(dtype, stash):
    x, scale = random((3, 64), dtype), random((64,), dtype, 1)
    code = 16 if stash is ml_dtypes.bfloat16 else 1
    y, mean, inverse = run_node(
        "LayerNormalization", [x, scale], {"stash_type": code}, outputs=3
    )
    assert (y.dtype, mean.dtype, inverse.dtype) == (dtype, stash, stash)
    wide = narrow(x)
    wanted = (wide - wide.mean(1, keepdims=True)) / wide.std(1, keepdims=True)
    np.testing.assert_allclose(narrow(y), wanted * narrow(scale), rtol=0.1, atol=0.1)


def test_layer_normalization_leaves_its_inputs_alone():
    x, scale, b = random((3, 4)), random((4,)), random((4,))
    before = [v.copy() for v in (x, scale, b)]
    run_node("LayerNormalization", [x, scale, b])
    run_node("RMSNormalization", [x, scale])
    for value, kept in zip((x, scale, b), before, strict=True):
        np.testing.assert_array_equal(value, kept)


@pytest.mark.parametrize("op_type", ["LayerNormalization", "RMSNormalization"])
def test_an_axis_outside_the_input_is_refused(op_type):
    for axis in (2, -3):
        with pytest.raises(ExecutionError, match="axis"):
            run_node(op_type, [random((2, 3)), random((3,))], {"axis": axis})


@pytest.mark.parametrize("dtype", [np.float32, np.float64, *HALVES])
@pytest.mark.parametrize("scale_type", [np.float32, np.float16])
@pytest.mark.parametrize("axis", [-1, 1, 0])
def test_rms_normalization_has_the_type_of_its_scale(dtype, scale_type, axis):
    x = random((3, 4, 5), dtype)
    scale = random(x.shape[axis:], scale_type, 1)
    [y] = run_node("RMSNormalization", [x, scale], {"axis": axis}, 23)
    wide = narrow(x)
    axes = tuple(range(axis % 3, 3))
    wanted = wide / np.sqrt((wide**2).mean(axes, keepdims=True) + 1e-5) * narrow(scale)
    assert y.dtype == scale_type
    np.testing.assert_allclose(narrow(y), wanted, rtol=5e-3, atol=5e-3)


@given(shape=shapes, size=st.integers(1, 6))
def test_lrn_sums_the_squares_around_each_channel(shape, size):
    x = random(shape)
    attributes = {"size": size, "alpha": 0.5, "beta": 0.6, "bias": 2.0}
    [y] = run_node("LRN", [x], attributes, 13)
    wide, wanted = narrow(x), np.empty(shape)
    for c in range(shape[1]):
        low, high = max(0, c - (size - 1) // 2), c + size // 2 + 1
        squares = (wide[:, low:high] ** 2).sum(1)
        wanted[:, c] = wide[:, c] / (2 + 0.5 / size * squares) ** 0.6
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@given(shape=hnp.array_shapes(max_dims=4, max_side=4), p=st.sampled_from([1, 2]))
def test_lp_normalization_leaves_vectors_of_length_one(shape, p):
    x = random(shape)
    for axis in range(-len(shape), len(shape)):
        [y] = run_node("LpNormalization", [x], {"axis": axis, "p": p}, 22)
        wide = narrow(x)
        wanted = wide / np.linalg.norm(wide, p, axis, keepdims=True)
        np.testing.assert_allclose(y, wanted, rtol=1e-4)


def test_lp_normalization_keeps_zeros_and_refuses_other_norms():
    zeros = np.zeros((2, 3), np.float32)
    assert not run_node("LpNormalization", [zeros], opset=22)[0].any()
    with pytest.raises(ExecutionError, match="p must be"):
        run_node("LpNormalization", [zeros], {"p": 3}, 22)
    with pytest.raises(ExecutionError, match="axis"):
        run_node("LpNormalization", [zeros], {"axis": 2}, 22)


@pytest.mark.parametrize("axes", [None, [0], [1, -1], [0, 1, 2, 3]])
@pytest.mark.parametrize("opset", [9, 13])
def test_mean_variance_normalization_is_its_formula(axes, opset):
    x = random((3, 4, 2, 5))
    attributes = {} if axes is None else {"axes": axes}
    [y] = run_node("MeanVarianceNormalization", [x], attributes, opset)
    over = (0, 2, 3) if axes is None else tuple(axes)
    wide = narrow(x)
    wanted = (wide - wide.mean(over, keepdims=True)) / wide.std(over, keepdims=True)
    np.testing.assert_allclose(y, wanted, rtol=1e-3, atol=1e-4)
    with pytest.raises(ExecutionError, match="axes"):
        run_node("MeanVarianceNormalization", [x], {"axes": [4]}, opset)
