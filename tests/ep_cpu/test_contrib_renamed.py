"""Operators of com.microsoft that the standard has too, against onnxruntime."""

import numpy as np
import pytest
from contrib_peer import Numbers, check, run
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from runtime.errors import EngineError

SEEDS = st.integers(0, 10_000)
FLAGS = st.sampled_from([0, 1])
BYTES = st.sampled_from([np.uint8, np.int8])
FEW = st.integers(1, 3)


class Quantized(Numbers):
    def __init__(self, seed, dtype):
        super().__init__(seed, dtype)
        self.limits = np.iinfo(dtype)

    def values(self, *shape):
        low, high = int(self.limits.min), int(self.limits.max) + 1
        return self.random.integers(low, high, shape).astype(self.dtype)

    def scale(self, *shape):
        return self.random.uniform(0.01, 0.1, shape).astype(np.float32)

    def parameters(self):
        return self.scale(), self.values()


@given(SEEDS, BYTES, st.booleans(), st.booleans(), FLAGS, FEW)
def test_quantized_convolutions(seed, dtype, by_channel, biased, last, stride):
    q = Quantized(seed, dtype)
    x, w = q.values(2, 4, 5, 6), Quantized(seed, np.int8).values(6, 2, 3, 2)
    x = np.ascontiguousarray(np.moveaxis(x, 1, -1)) if last else x
    scale = q.scale(6) if by_channel else q.scale()
    zero = np.zeros(scale.shape, np.int8)
    bias = q.random.integers(-500, 500, 6).astype(np.int32) if biased else None
    y = np.array(1.5, np.float32), q.values()
    inputs = [x, *q.parameters(), w, scale, zero, *y, bias]
    made = {"group": 2, "pads": [1, 0, 1, 1], "strides": [stride, 1]}
    check("QLinearConv", inputs, steps=1, channels_last=last, **made)


@given(SEEDS, BYTES, st.sampled_from([(2, 3), (3,), (1,), ()]))
def test_quantized_choices(seed, dtype, shape):
    q = Quantized(seed, dtype)
    condition = q.random.random((2, 3)) < 0.5
    x, y = (q.values(*shape), *q.parameters()), (q.values(2, 3), *q.parameters())
    check("QLinearWhere", [condition, *x, *y, *q.parameters()], steps=1)


@given(SEEDS, BYTES, st.sampled_from([[0], [-1], [1, 2], [0, 1, 2]]), FLAGS)
def test_quantized_means(seed, dtype, axes, keep):
    """onnxruntime has the schema, but no kernel."""
    q = Quantized(seed, dtype)
    data, (scale, zero), (y_scale, y_zero) = (
        q.values(2, 3, 4),
        q.parameters(),
        (
            np.array(0.04, np.float32),
            q.values(),
        ),
    )
    inputs = [data, scale, zero, y_scale, y_zero]
    got = run("QLinearReduceMean", inputs, axes=axes, keepdims=keep)[0]
    exact = (data.astype(np.float64) - int(zero)) * float(scale)
    means = exact.mean(axis=tuple(axes), keepdims=bool(keep)) / float(y_scale)
    want = np.clip(means + int(y_zero), q.limits.min, q.limits.max)
    assert got.dtype == dtype
    assert got.shape == want.shape
    assert (abs(got - want) <= 0.5 + 1e-3).all()


@given(SEEDS, BYTES, FLAGS, FLAGS, st.booleans(), st.booleans(), st.sampled_from("fbn"))
def test_quantized_products(seed, dtype, a_turned, b_turned, by_column, exact, c_is):
    q = Quantized(seed, dtype)
    a, b = q.values(3, 8), Quantized(seed, np.int8).values(8, 5)
    b_scale = q.scale(5) if by_column else q.scale()
    b_zero = np.zeros(b_scale.shape, np.int8)
    shape = {"f": (3, 5), "b": (5,), "n": None}[c_is]
    c = None if shape is None else q.random.integers(-9, 9, shape).astype(np.int32)
    y = (None, None) if exact else (np.array(0.5, np.float32), q.values())
    a, b = (a.T.copy() if a_turned else a), (b.T.copy() if b_turned else b)
    inputs = [a, *q.parameters(), b, b_scale, b_zero, c, *y]
    made = {"transA": a_turned, "transB": b_turned, "alpha": 0.75}
    check("QGemm", inputs, steps=0 if exact else 1, **made)


@given(SEEDS, BYTES, FLAGS, FEW)
def test_pooling_of_bytes_with_channels_last(seed, dtype, ceil, stride):
    x = Quantized(seed, dtype).values(2, 7, 6, 3)
    made = {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "dilations": [1, 2]}
    check("NhwcMaxPool", [x], ceil_mode=ceil, strides=[stride, 1], **made)


@given(SEEDS, st.booleans(), st.booleans(), st.sampled_from([None, 0]))
def test_attention_of_bytes(seed, signed, causal, past):
    q = Quantized(seed, np.uint8)
    dtype = np.int8 if signed else np.uint8
    x, w = q.values(2, 3, 8), Quantized(seed, dtype).values(8, 12)
    bias = np.ascontiguousarray(Numbers(seed).floats(12))
    zero = q.values()
    mask = np.array([3, 2], np.int32) if past is None else None
    given_past = None if past is None else Numbers(seed).floats(2, 2, 2, 3, 2)
    inputs = [x, w, bias, q.scale(), q.scale(), mask, zero, np.zeros((), dtype)]
    made = {"num_heads": 2, "unidirectional": int(causal)}
    outputs = 1 if past is None else 2
    check("QAttention", [*inputs, given_past], outputs, **made)


@given(SEEDS, st.sampled_from([np.uint8, np.int8, np.uint16, np.int16]), FLAGS)
def test_quantizing_and_back(seed, dtype, by_axis):
    numbers = Numbers(seed)
    x = numbers.floats(3, 4) * 100
    q = Quantized(seed, dtype)
    scale = q.scale(4) if by_axis else q.scale()
    zero = q.values(4) if by_axis else q.values()
    made = {"axis": 1} if by_axis else {}
    check("QuantizeLinear", [x, scale, zero], steps=1, **made)
    check("DequantizeLinear", [q.values(3, 4), scale, zero], **made)


@given(SEEDS, st.sampled_from([np.int16, np.uint16]))
def test_products_of_16_bits(seed, dtype):
    q = Quantized(seed, dtype)
    got = run("MatMulInteger16", [q.values(2, 3, 4), q.values(4, 5)])[0]
    assert got.dtype == (np.uint32 if dtype == np.uint16 else np.int32)
    if dtype == np.int16:
        a, b = q.values(2, 3, 4) // 8, q.values(4, 5) // 8
        check("MatMulInteger16", [a, b])


@given(SEEDS, FLAGS, FLAGS)
def test_transposed_products(seed, a_turned, b_turned):
    numbers = Numbers(seed)
    a = numbers.floats(2, *((4, 3) if a_turned else (3, 4)))
    b = numbers.floats(2, *((5, 4) if b_turned else (4, 5)))
    check("TransposeMatMul", [a, b], transA=a_turned, transB=b_turned, alpha=0.5)


@given(SEEDS, FEW, st.booleans())
def test_padding_as_an_input(seed, stride, biased):
    numbers = Numbers(seed)
    x, w = numbers.floats(2, 4, 3, 5), numbers.floats(4, 2, 3, 2)
    pads = np.array([1, 0, 1, 1])
    bias = numbers.floats(4) if biased else None
    made = {"group": 2, "strides": [stride, 1], "output_padding": [stride - 1, 0]}
    check("ConvTransposeWithDynamicPads", [x, w, pads, bias], **made)


@given(SEEDS, st.sampled_from([-3, -2, -1, 0, 1, 2]))
def test_one_more_axis(seed, axis):
    check("ExpandDims", [Numbers(seed).floats(2, 3), np.array(axis, np.int32)])


@given(st.integers(-5, 5), st.integers(-5, 5), st.sampled_from([None, 1, 2, -1, -3]))
def test_ranges(start, limit, step):
    for dtype in (np.float32, np.int64, np.int16):
        delta = None if step is None else np.array(step, dtype)
        check("Range", [np.array(start, dtype), np.array(limit, dtype), delta])


@given(SEEDS)
def test_places_and_samples(seed):
    numbers = Numbers(seed)
    indices = numbers.random.integers(0, 3, (2, 4, 2))
    check("GatherND", [numbers.floats(3, 3, 2), indices])
    for mode in ("bilinear", "nearest", "bicubic"):
        for padding in ("zeros", "border", "reflection"):
            made = {"mode": mode, "padding_mode": padding, "align_corners": seed % 2}
            grid = numbers.floats(1, 2, 3, 2)
            check("GridSample", [numbers.floats(1, 2, 4, 5), grid], **made)


@given(SEEDS, FLAGS)
def test_softmax_of_sums(seed, inner):
    """onnxruntime has kernels for other devices only."""
    numbers = Numbers(seed)
    data = numbers.floats(2, 3, 4, 5)
    bias = numbers.floats(*((2, 1, 4, 5) if inner else (1, 3, 4, 5)))
    made = {"axis": 2, "is_inner_broadcast": inner}
    got = run("BiasSoftmax", [data, bias], **made)[0]
    powers = np.exp((data + bias).astype(np.float64))
    want = powers / powers.sum(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(got, want, rtol=1e-5)


ACTIVATIONS = st.sampled_from(["Relu", "Sigmoid", "Tanh", None])


@given(SEEDS, ACTIVATIONS, FLAGS, FLAGS, st.booleans())
def test_fused_products(seed, activation, a_turned, b_turned, biased):
    numbers = Numbers(seed)
    a = numbers.floats(*((4, 3) if a_turned else (3, 4)))
    b = numbers.floats(*((5, 4) if b_turned else (4, 5)))
    made = {"transA": a_turned, "transB": b_turned, "alpha": 0.5, "beta": 2.0}
    made |= {"activation": activation or "Relu"}
    check("FusedGemm", [a, b, numbers.floats(5) if biased else None], **made)


@given(SEEDS, ACTIVATIONS, FEW, st.booleans(), st.booleans())
def test_fused_convolutions(seed, activation, stride, biased, added):
    numbers = Numbers(seed)
    x, w = numbers.floats(2, 4, 5, 6), numbers.floats(6, 2, 3, 2)
    made = {"group": 2, "strides": [stride, 1], "pads": [1, 0, 1, 1]}
    (plain,) = run_node("Conv", [x, w], made)
    bias = numbers.floats(6) if biased else None
    z = numbers.floats(*plain.shape) if added else None
    made |= {"activation": activation or "Relu"}
    check("FusedConv", [x, w, bias, z], **made)


@given(SEEDS, FEW, st.booleans())
def test_convolutions_with_channels_last(seed, stride, biased):
    numbers = Numbers(seed)
    x, w = numbers.floats(2, 5, 6, 4), numbers.floats(3, 3, 2, 4)
    bias = numbers.floats(3) if biased else None
    made = {"strides": [stride, 1], "pads": [1, 0, 1, 1]}
    turned = [np.moveaxis(x, -1, 1), np.moveaxis(w, -1, 1), bias]
    (want,) = run_node("Conv", turned, made)
    (got,) = run("NhwcConv", [x, w, bias], **made)
    np.testing.assert_allclose(got, np.moveaxis(want, 1, -1), rtol=1e-4, atol=1e-5)
    made["activation"] = "Relu"
    filters = np.moveaxis(w, -1, 1)
    (got,) = run("NhwcFusedConv", [x, filters, bias], **made)
    want = np.maximum(np.moveaxis(want, 1, -1), 0)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@given(SEEDS, st.integers(-4, 4), FLAGS, st.sampled_from(["constant", "edge"]))
def test_older_names(seed, shift, upper, mode):
    numbers = Numbers(seed)
    x = numbers.floats(2, 3, 4)
    check("Trilu", [x, np.array(shift)], upper=upper)
    pads = numbers.random.integers(0, 3, 4)
    check("Pad", [x[0], pads, np.array([7], np.float32)], mode=mode)
    check("Unique", [np.round(x.ravel())], 3)
    check("Gelu", [x])


ONE = np.array(1, np.float32)
ZERO = np.array(0, np.uint8)
BLOCK = np.zeros((2, 3), np.uint8)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "message"),
    [
        ("QGemm", [BLOCK[0], ONE, ZERO, BLOCK, ONE, ZERO], {}, "takes matrices"),
        (
            "QGemm",
            [BLOCK, ONE, ZERO, BLOCK.T, ONE, ZERO, None, ONE],
            {},
            "without y_zero_point",
        ),
        (
            "QLinearReduceMean",
            [BLOCK, ONE, ZERO, ONE, ZERO],
            {"axes": [2], "keepdims": 1},
            "outside an input of rank 2",
        ),
        ("NhwcMaxPool", [BLOCK], {"kernel_shape": [1]}, "needs spatial axes"),
        ("MatMulInteger16", [np.array(1, np.int16)] * 2, {}, "scalar"),
        ("ExpandDims", [BLOCK, np.array(3, np.int32)], {}, "axis 3 is outside"),
        (
            "BiasSoftmax",
            [np.ones((2, 3)), np.ones((5, 3))],
            {"axis": 1, "is_inner_broadcast": 1},
            "does not fit",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(op, inputs, attributes, message):
    with pytest.raises(EngineError, match=message):
        run(op, inputs, **attributes)
