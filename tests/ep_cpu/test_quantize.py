"""Quantization against the standard's formula, its reference and onnxruntime."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from evaluate import narrow, run_node
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from peers import by_onnxruntime, by_reference
from runtime.errors import ExecutionError
from runtime.valuetypes import element_code

pytestmark = pytest.mark.filterwarnings("error")

INTEGERS = ["uint8", "int8", "uint16", "int16"]
SMALL = [ml_dtypes.uint4, ml_dtypes.int4, ml_dtypes.uint2, ml_dtypes.int2]
FLOAT8 = [
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e4m3fnuz,
    ml_dtypes.float8_e5m2,
    ml_dtypes.float8_e5m2fnuz,
]


def random(shape, dtype=np.float32, seed=0, spread=20):
    return (np.random.default_rng(seed).normal(size=shape) * spread).astype(dtype)


def scales(shape, dtype=np.float32, seed=1):
    return np.random.default_rng(seed).uniform(0.1, 2, shape).astype(dtype)


def quantize(*inputs, opset=25, **attributes):
    return run_node("QuantizeLinear", list(inputs), attributes, opset)[0]


def dequantize(*inputs, opset=25, **attributes):
    return run_node("DequantizeLinear", list(inputs), attributes, opset)[0]


def integers(x, scale, zero, dtype):
    limits = ml_dtypes.iinfo(dtype)
    y = np.rint(narrow(x) / narrow(scale)) + narrow(zero)
    return np.clip(y, int(limits.min), int(limits.max))


@pytest.mark.parametrize("dtype", [*map(np.dtype, INTEGERS), *SMALL])
@given(
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    data=st.data(),
)
def test_integers_are_rounded_shifted_and_saturated(dtype, shape, data):
    x = random(shape, spread=3 if dtype in SMALL else 200)
    zero = np.asarray(data.draw(st.sampled_from([0, 1]))).astype(dtype)
    scale = np.array(0.5, np.float32)
    y = quantize(x, scale, zero)
    assert (y.dtype, y.shape) == (np.dtype(dtype), shape)
    wanted = integers(x, scale, zero, dtype)
    np.testing.assert_array_equal(narrow(y), wanted)
    back = dequantize(y, scale, zero)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, (wanted - narrow(zero)) * 0.5)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_odd_numbers_go_where_onnxruntime_puts_them(dtype):
    x = np.array(
        [np.nan, np.inf, -np.inf, 1e20, -1e20, 0.5, 1.5, 2.5, -0.5], np.float32
    )
    inputs = [x, np.array(1, np.float32), np.array(3, dtype)]
    np.testing.assert_array_equal(
        quantize(*inputs, opset=21), by_onnxruntime("QuantizeLinear", inputs)[0]
    )


@pytest.mark.parametrize("dtype", INTEGERS)
@given(shape=hnp.array_shapes(max_dims=4, max_side=5), data=st.data())
def test_scales_may_lie_along_an_axis(dtype, shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x, scale = random(shape), scales(shape[axis])
    zero = np.random.default_rng(2).integers(0, 100, shape[axis]).astype(dtype)
    laid = [1] * len(shape)
    laid[axis] = -1
    y = quantize(x, scale, zero, axis=axis, opset=21)
    wanted = integers(x, scale.reshape(laid), zero.reshape(laid), dtype)
    np.testing.assert_array_equal(narrow(y), wanted)
    back = dequantize(y, scale, zero, axis=axis, opset=21)
    wanted = (wanted - zero.reshape(laid)) * scale.reshape(laid)
    np.testing.assert_allclose(back, wanted, rtol=1e-6)


@given(data=st.data(), block=st.integers(1, 4), with_zero=st.booleans())
def test_scales_may_stand_for_blocks(data, block, with_zero):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=6))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    blocks = list(shape)
    blocks[axis] = -(-shape[axis] // block)
    x, scale = random(shape), scales(blocks)
    zero = np.random.default_rng(2).integers(-50, 50, blocks).astype(np.int8)
    inputs = [x, scale, zero] if with_zero else [x, scale]
    attributes = {"axis": axis, "block_size": block}
    y = quantize(*inputs, opset=21, **attributes)
    [wanted] = by_reference("QuantizeLinear", inputs, attributes, 21)
    np.testing.assert_array_equal(y, wanted)
    inputs = [y, *inputs[1:]]
    back = dequantize(*inputs, opset=21, **attributes)
    [wanted] = by_reference("DequantizeLinear", inputs, attributes, 21)
    np.testing.assert_allclose(back, wanted, rtol=1e-6)


@pytest.mark.parametrize("dtype", FLOAT8)
@pytest.mark.parametrize("saturate", [0, 1])
def test_8_bit_floats_saturate_only_when_told(dtype, saturate):
    x = np.array([0, 1.3, -2.7, 1e6, -1e6, np.inf, np.nan], np.float32)
    scale, zero = np.array(0.5, np.float32), np.array(0, dtype)
    y = quantize(x, scale, zero, saturate=saturate)
    largest = float(ml_dtypes.finfo(dtype).max)
    assert y.dtype == dtype
    assert np.isnan(narrow(y)[6])
    if saturate:
        wanted = np.clip(x[:6] / 0.5, -largest, largest).astype(dtype)
        np.testing.assert_array_equal(narrow(y)[:6], narrow(wanted))
    else:
        np.testing.assert_array_equal(
            narrow(y)[:3], narrow((x / 0.5)[:3].astype(dtype))
        )
        assert not np.isfinite(narrow(y)[3:]).any()
    back = dequantize(y[:3], scale, zero)
    np.testing.assert_array_equal(back, narrow(y)[:3] * 0.5)


def test_4_bit_floats_hold_what_they_can():
    kind = ml_dtypes.float4_e2m1fn
    x = np.array([0.2, 0.3, 2.4, 100, -100], np.float32)
    y = quantize(x, np.array(1, np.float32), np.array(0, kind))
    assert narrow(y).tolist() == [0, 0.5, 2, 6, -6]
    assert dequantize(y, np.array(2, np.float32)).tolist() == [0, 1, 4, 12, -12]


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_the_quotient_has_the_type_of_the_scale_unless_told(kind):
    x = np.array([1000.5, 333.25, 0.1], np.float32)
    scale = np.array(0.3, kind)
    coarse = quantize(x, scale, np.array(0, np.int16))
    quotient = (x.astype(kind).astype(np.float32) / narrow(scale)).astype(np.float32)
    np.testing.assert_array_equal(coarse, np.rint(narrow(quotient.astype(kind))))
    fine = quantize(x, scale, np.array(0, np.int16), precision=1)
    np.testing.assert_array_equal(fine, np.rint(x / scale.astype(np.float32)))
    assert dequantize(fine, scale).dtype == kind
    assert dequantize(fine, scale, output_dtype=1).dtype == np.float32


def test_the_result_type_is_the_zero_points_or_the_attributes_or_uint8():
    x, scale = random((3,)), np.array(1, np.float32)
    assert quantize(x, scale).dtype == np.uint8
    code = element_code(np.int16)
    assert quantize(x, scale, output_dtype=code).dtype == np.int16
    zero = np.array(0, np.int8)
    assert quantize(x, scale, zero).dtype == np.int8
    with pytest.raises(ExecutionError, match="output_dtype"):
        quantize(x, scale, zero, output_dtype=code)
    with pytest.raises(ExecutionError, match="element type"):
        quantize(x, scale, output_dtype=999)


@pytest.mark.parametrize("opset", [10, 13, 19, 21, 23, 24, 25])
def test_every_opset_quantizes_integers_and_back(opset):
    x, scale, zero = (
        np.arange(-9, 9, dtype=np.int32),
        np.float32(2),
        np.array(5, np.uint8),
    )
    scale = np.asarray(scale)
    y = quantize(x, scale, zero, opset=opset)
    np.testing.assert_array_equal(narrow(y), integers(x, scale, zero, np.uint8))
    back = dequantize(y, scale, zero, opset=opset)
    np.testing.assert_array_equal(back, (narrow(y) - 5) * 2)
    big = np.array([1000, -7], np.int32)
    np.testing.assert_array_equal(dequantize(big, scale, opset=opset), [2000, -14])


def test_scales_may_be_powers_of_two():
    x = np.array([[1, -2, 8, 64]], np.int8)
    scale = np.array([0.5, 4], ml_dtypes.float8_e8m0fnu).reshape(1, 2)
    y = dequantize(x, scale, block_size=2, axis=1, output_dtype=1)
    assert y.tolist() == [[0.5, -1, 32, 256]]
    with pytest.raises(ExecutionError, match="output_dtype"):
        dequantize(x, scale, block_size=2, axis=1)
    back = quantize(y, scale, np.zeros((1, 2), np.int8), block_size=2, axis=1)
    np.testing.assert_array_equal(back, x)


@pytest.mark.parametrize(
    ("shape", "scale", "attributes", "message"),
    [
        ((2, 3), (2,), {}, "does not fit"),
        ((2, 3), (2, 3), {}, "does not fit"),
        ((2, 3), (3,), {"axis": 2}, "axis"),
        ((2, 3), (3,), {"axis": -3}, "axis"),
        ((2, 6), (2, 2), {"block_size": 2}, "does not fit"),
        ((2, 6), (2, 3), {"block_size": -2}, "does not fit"),
        ((2, 6), (3, 3), {"block_size": 2}, "does not fit"),
    ],
)
def test_scales_that_do_not_fit_are_refused(shape, scale, attributes, message):
    x, scale = random(shape), scales(scale)
    with pytest.raises(ExecutionError, match=message):
        quantize(x, scale, **attributes)
    with pytest.raises(ExecutionError, match=message):
        dequantize(x.astype(np.int8), scale, **attributes)
    with pytest.raises(ExecutionError, match="zero_point"):
        quantize(x, np.array(1, np.float32), np.zeros(2, np.int8))


def test_inputs_are_left_alone():
    x, scale, zero = random((4, 4)), np.array(1, np.float32), np.array(1, np.int8)
    kept = x.copy()
    quantize(x, scale, zero)
    run_node("DynamicQuantizeLinear", [x], outputs=3)
    np.testing.assert_array_equal(x, kept)


@given(
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    shift=st.sampled_from([0, 100, -100]),
    spread=st.sampled_from([0, 1e-3, 10]),
)
def test_dynamic_quantization_is_onnxruntimes(shape, shift, spread):
    x = random(shape, spread=spread) + np.float32(shift)
    x = np.asarray(x, np.float32)
    found = run_node("DynamicQuantizeLinear", [x], outputs=3)
    wanted = by_onnxruntime("DynamicQuantizeLinear", [x], outputs=3)
    for one, other in zip(found, wanted, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(one, other)
