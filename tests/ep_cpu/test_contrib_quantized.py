"""Quantized operators of com.microsoft against onnxruntime."""

import numpy as np
from contrib_peer import Numbers, check, run
from hypothesis import given
from hypothesis import strategies as st

SEEDS = st.integers(0, 10_000)
TYPES = st.sampled_from([np.float32, np.float16])
FLAGS = st.sampled_from([0, 1])
BYTES = st.sampled_from([np.uint8, np.int8])


class Quantized(Numbers):
    def __init__(self, seed, dtype):
        super().__init__(seed, dtype)
        self.limits = np.iinfo(dtype)

    def values(self, *shape):
        low, high = self.limits.min, self.limits.max + 1
        return self.random.integers(low, high, shape).astype(self.dtype)

    def scale(self):
        return np.array(self.random.uniform(0.01, 0.1), np.float32)

    def parameters(self):
        return self.scale(), self.values()


@given(SEEDS, BYTES)
def test_quantized_arithmetic(seed, dtype):
    q = Quantized(seed, dtype)
    for op in ("QLinearAdd", "QLinearMul"):
        a, b = (q.values(3, 4), *q.parameters()), (q.values(4), *q.parameters())
        check(op, [*a, *b, *q.parameters()], steps=1)
    x = (q.values(3, 4), *q.parameters())
    check("QLinearLeakyRelu", [*x, *q.parameters()], steps=1, alpha=0.25)
    fine = np.array(1 / 256, np.float32)
    check("QLinearSigmoid", [*x, fine, q.values()], steps=1)


@given(SEEDS, BYTES, st.sampled_from([11, 13]), st.sampled_from([-1, 1]))
def test_quantized_softmax(seed, dtype, opset, axis):
    q = Quantized(seed, dtype)
    lowest = np.array(q.limits.min, dtype)
    inputs = [q.values(2, 3, 4), *q.parameters(), np.array(1 / 256, np.float32), lowest]
    check("QLinearSoftmax", inputs, steps=1, opset=opset, axis=axis)


@given(SEEDS, BYTES, FLAGS, FLAGS)
def test_quantized_pooling(seed, dtype, last, padding):
    q = Quantized(seed, dtype)
    inputs = [q.values(2, 6, 5, 6), *q.parameters(), *q.parameters()]
    check("QLinearGlobalAveragePool", inputs, steps=1, channels_last=last)
    check(
        "QLinearAveragePool",
        inputs,
        steps=1,
        channels_last=last,
        count_include_pad=padding,
        kernel_shape=[2, 3],
        pads=[1, 1, 0, 1],
        strides=[2, 1],
    )


@given(SEEDS, BYTES)
def test_quantized_concatenation(seed, dtype):
    q = Quantized(seed, dtype)
    scale, zero = q.parameters()
    parts = [q.values(2, 3), *q.parameters(), q.values(2, 4), scale, zero]
    check("QLinearConcat", [scale, zero, *parts], steps=1, axis=1)


@given(SEEDS, BYTES, st.booleans(), st.booleans())
def test_products_with_8_bit_weights(seed, dtype, by_column, biased):
    q = Quantized(seed, dtype)
    floats = Numbers(seed)
    a, b = floats.floats(2, 3, 8), q.values(8, 5)
    scale, zero = (abs(floats.floats(5)), q.values(5)) if by_column else q.parameters()
    bias = floats.floats(5) if biased else None
    check("DynamicQuantizeMatMul", [a, b, scale, zero, bias])
    whole = floats.random.integers(0, 256, (2, 3, 8)).astype(np.uint8)
    own = np.array(0.02, np.float32), np.array(3, np.uint8)
    check("MatMulIntegerToFloat", [whole, b, own[0], scale, own[1], zero, bias])


@given(
    SEEDS,
    st.sampled_from([2, 4, 8]),
    st.sampled_from([(32, 16), (40, 16), (96, 32)]),
    st.sampled_from(["default", "packed", "floats"]),
    TYPES,
)
def test_products_with_weights_of_few_bits(seed, bits, sizes, zeros, dtype):
    numbers = Numbers(seed, dtype)
    (depth, block), rows = sizes, 5
    blocks = -(-depth // block)
    packed = (rows, blocks, block * bits // 8)
    weights = numbers.random.integers(0, 256, packed).astype(np.uint8)
    scales = numbers.floats(rows, blocks) / dtype(16)
    shape = (rows, -(-blocks * bits // 8))
    zero = {
        "default": None,
        "packed": numbers.random.integers(0, 256, shape).astype(np.uint8),
        "floats": numbers.floats(rows, blocks),
    }[zeros]
    if zeros == "floats" and (bits == 8 or dtype is np.float16):
        return  # onnxruntime has no such kernel
    a = numbers.floats(2, 3, depth) / dtype(8)
    attributes = {"K": depth, "N": rows, "bits": bits, "block_size": block}
    check("MatMulNBits", [a, weights, scales, zero], **attributes)
    check("MatMulNBits", [a, weights, scales, None, None, scales[:, 0]], **attributes)


def test_many_rows_of_weights_are_unpacked_piece_by_piece():
    numbers = Numbers(4)
    depth, rows = 1024, 2000
    weights = numbers.random.integers(0, 256, (rows, depth // 32, 16)).astype(np.uint8)
    scales = numbers.floats(rows, depth // 32)
    a = numbers.floats(3, depth)
    got = run("MatMulNBits", [a, weights, scales], K=depth, N=rows, block_size=32)[0]
    halves = np.stack([weights & 15, weights >> 4], axis=-1).reshape(rows, -1, 32)
    full = ((halves - 8.0) * scales[..., None]).reshape(rows, depth)
    np.testing.assert_allclose(got, a @ full.T, rtol=1e-3, atol=1e-1)


def test_inputs_may_name_their_blocks():
    weights = np.full((1, 2, 8), 0x99, np.uint8)
    scales = np.array([[1, 10]], np.float32)
    order = np.array([0, 1] * 16, np.int32)
    inputs = [np.eye(32, dtype=np.float32), weights, scales, None, order]
    got = run("MatMulNBits", inputs, K=32, N=1, block_size=16)[0]
    assert got.ravel().tolist() == [1, 10] * 16


@given(SEEDS, st.sampled_from([4, 8]), TYPES, st.booleans(), st.booleans())
def test_gathered_rows_are_dequantized(seed, bits, dtype, zeros, beyond):
    numbers = Numbers(seed, dtype)
    each = 8 // bits
    data = numbers.random.integers(0, 256, (7, 32 // each)).astype(np.uint8)
    zero = numbers.random.integers(0, 256, (7, 2 // each)).astype(np.uint8)
    indices = numbers.random.integers(-7, 7 + 3 * beyond, (2, 3))
    scales = numbers.floats(7, 2)
    inputs = [data, indices, scales, zero if zeros else None]
    check("GatherBlockQuantized", inputs, bits=bits, block_size=16)
