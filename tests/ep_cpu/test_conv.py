"""Convolutions against sums over taps in float64, and against onnxruntime."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest
from evaluate import narrow, run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime, by_reference
from runtime.errors import ExecutionError
from runtime_ep_cpu.ops import _convolution

pytestmark = pytest.mark.filterwarnings("error")


def random(shape, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max + 1, shape).astype(dtype)
    return rng.normal(size=shape).astype(dtype)


def by_taps(x, w, pads, strides, dilations, group):
    """Convolution as its definition reads, in the type of its operands."""
    rank = x.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    each_in, each_out = w.shape[1], w.shape[0] // group
    spans = [d * (k - 1) + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    out = [
        (n - span) // s + 1
        for n, span, s in zip(x.shape[2:], spans, strides, strict=True)
    ]
    y = np.zeros((x.shape[0], w.shape[0], *out), x.dtype)
    for tap in itertools.product(*map(range, w.shape[2:])):
        parts = tuple(
            slice(t * d, t * d + (o - 1) * s + 1, s)
            for t, d, o, s in zip(tap, dilations, out, strides, strict=True)
        )
        seen = x[(..., *parts)]
        for g in range(group):
            some = slice(g * each_out, (g + 1) * each_out)
            y[:, some] += np.einsum(
                "nc...,mc->nm...",
                seen[:, g * each_in : (g + 1) * each_in],
                w[(some, slice(None), *tap)],
            )
    return y


@st.composite
def convolutions(draw, most_axes=3):
    rank = draw(st.integers(1, most_axes))

    def each(low, high):
        return [draw(st.integers(low, high)) for _ in range(rank)]

    group = draw(st.integers(1, 3))
    kernel, strides, dilations = each(1, 3), each(1, 3), each(1, 2)
    sizes = [
        d * (k - 1) + 1 + draw(st.integers(0, 4))
        for k, d in zip(kernel, dilations, strict=True)
    ]
    pads = each(0, 2) + each(0, 2)
    channels = draw(st.sampled_from([(1, 1), (2, 3), (1, 2)]))
    x = random((draw(st.integers(0, 2)), channels[0] * group, *sizes))
    w = random((channels[1] * group, channels[0], *kernel), seed=1)
    attributes = {
        "group": group,
        "pads": pads,
        "strides": strides,
        "dilations": dilations,
    }
    return x, w, attributes


@given(case=convolutions(), with_bias=st.booleans())
def test_conv_sums_over_its_taps(case, with_bias):
    x, w, attributes = case
    b = random((w.shape[0],), seed=2) if with_bias else None
    [y] = run_node("Conv", [x, w, b], attributes, 22)
    wanted = by_taps(narrow(x), narrow(w), **attributes)
    if with_bias:
        wanted += b.reshape(-1, *(1,) * (x.ndim - 2))
    assert y.dtype == np.float32
    assert y.shape == wanted.shape
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@given(case=convolutions(), limit=st.sampled_from([1, 200, 3000]))
def test_conv_is_the_same_in_however_many_pieces(case, limit):
    x, w, attributes = case
    whole = run_node("Conv", [x, w], attributes)[0]
    before, _convolution._COLUMNS = _convolution._COLUMNS, limit
    try:
        pieces = run_node("Conv", [x, w], attributes)[0]
    finally:
        _convolution._COLUMNS = before
    np.testing.assert_allclose(pieces, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@given(case=convolutions(2))
def test_automatic_padding_is_onnxruntimes(auto_pad, case):
    x, w, attributes = case
    del attributes["pads"]
    attributes["dilations"] = [1] * (x.ndim - 2)
    attributes |= {"auto_pad": auto_pad, "kernel_shape": w.shape[2:]}
    x = random((1, *x.shape[1:]))
    [y] = run_node("Conv", [x, w], attributes)
    [wanted] = by_onnxruntime("Conv", [x, w], attributes)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("opset", [1, 11, 22])
def test_conv_keeps_its_element_type(dtype, opset):
    x, w = random((1, 4, 5, 5), dtype), random((6, 4, 1, 1), dtype, 1)
    [y] = run_node("Conv", [x, w], opset=opset)
    assert y.dtype == dtype
    wanted = by_taps(narrow(x), narrow(w), [0] * 4, [1, 1], [1, 1], 1)
    np.testing.assert_allclose(narrow(y), wanted, rtol=1e-2, atol=0.05)


def test_conv_reads_inputs_of_any_layout_and_leaves_them_alone():
    x, w = random((7, 6, 3, 2)).transpose(3, 2, 1, 0), random((4, 3, 1, 1))
    kept = x.copy()
    [y] = run_node("Conv", [x, w, random((4,))])
    [wanted] = run_node("Conv", [kept, w, random((4,))])
    np.testing.assert_array_equal(y, wanted)
    np.testing.assert_array_equal(x, kept)


def test_depthwise_convolution_keeps_channels_apart():
    x, w = random((2, 64, 9, 9)), random((64, 1, 3, 3))
    attributes = {"group": 64, "pads": [1, 1, 1, 1]}
    [y] = run_node("Conv", [x, w], attributes)
    wanted = by_taps(narrow(x), narrow(w), [1] * 4, [1, 1], [1, 1], 64)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "w", "attributes", "message"),
    [
        ((1, 3, 5, 5), (2, 4, 3, 3), {}, "do not fit"),
        ((1, 4, 5, 5), (3, 2, 3, 3), {"group": 2}, "do not fit"),
        ((1, 3, 5, 5), (2, 3, 3, 3), {"kernel_shape": [2, 2]}, "kernel_shape"),
        ((1, 3, 5), (2, 3, 3, 3), {}, "rank"),
        ((1, 3, 2, 5), (2, 3, 3, 3), {}, "does not fit 2"),
        ((1, 3, 5, 5), (2, 3, 3, 3), {"pads": [-1, 0, 0, 0]}, "pads"),
        ((1, 3, 5, 5), (2, 3, 3, 3), {"pads": [1, 1]}, "pads"),
        ((1, 3, 5, 5), (2, 3, 3, 3), {"strides": [0, 1]}, "strides"),
        ((1, 3, 5, 5), (2, 3, 3, 3), {"auto_pad": "SAME"}, "auto_pad"),
        ((1, 3, 5, 5), (2, 3, 3, 3), {"pads": [1 << 40] * 4}, "needs"),
    ],
)
def test_convolutions_that_cannot_be_are_refused(x, w, attributes, message):
    with pytest.raises(Exception, match=message):
        run_node("Conv", [random(x), random(w)], attributes)


def test_a_bias_must_have_one_number_per_channel():
    with pytest.raises(ExecutionError, match="bias"):
        run_node("Conv", [random((1, 3, 5)), random((2, 3, 3)), random((1,))])


@given(case=convolutions(), data=st.data())
def test_conv_transpose_is_the_gradient_of_conv(case, data):
    y, w, attributes = case
    extra = [data.draw(st.integers(0, s - 1)) for s in attributes["strides"]]
    attributes["output_padding"] = extra
    rank = y.ndim - 2
    attributes["pads"] = [0] * 2 * rank
    [x] = run_node(
        "ConvTranspose", [random((y.shape[0], w.shape[0], *y.shape[2:])), w], attributes
    )
    del attributes["output_padding"]
    other = random(x.shape, seed=5)
    trimmed = other[
        (..., *(slice(0, n - e) for n, e in zip(x.shape[2:], extra, strict=True)))
    ]
    forth = by_taps(narrow(trimmed), narrow(w), **attributes)
    source = narrow(random((y.shape[0], w.shape[0], *y.shape[2:])))
    np.testing.assert_allclose(
        np.sum(narrow(other) * narrow(x)), np.sum(forth * source), rtol=1e-3, atol=1e-3
    )


@st.composite
def transposed(draw):
    rank = draw(st.integers(1, 2))
    group = draw(st.integers(1, 2))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    strides = [draw(st.integers(1, 3)) for _ in range(rank)]
    sizes = [draw(st.integers(2, 5)) for _ in range(rank)]
    x = random((2, 2 * group, *sizes))
    w = random((2 * group, 3, *kernel), seed=1)
    attributes = {"group": group, "strides": strides, "kernel_shape": kernel}
    return x, w, attributes


@given(case=transposed(), data=st.data())
def test_conv_transpose_with_pads_is_onnxruntimes(case, data):
    x, w, attributes = case
    attributes["pads"] = [
        data.draw(st.integers(0, (k - 1) // 2)) for k in w.shape[2:] * 2
    ]
    attributes["output_padding"] = [
        data.draw(st.integers(0, s - 1)) for s in attributes["strides"]
    ]
    b = random((w.shape[1] * attributes["group"],), seed=2)
    [y] = run_node("ConvTranspose", [x, w, b], attributes)
    [wanted] = by_onnxruntime("ConvTranspose", [x, w, b], attributes)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@given(case=transposed(), data=st.data())
def test_conv_transpose_to_a_shape_is_onnxruntimes(auto_pad, case, data):
    x, w, attributes = case
    strides = [
        min(s, k) for s, k in zip(attributes["strides"], w.shape[2:], strict=True)
    ]
    attributes["strides"] = strides
    if auto_pad == "NOTSET" or data.draw(st.booleans()):
        attributes["output_shape"] = [
            max(1, s * (n - 1) + k - data.draw(st.integers(0, 3)))
            for n, s, k in zip(x.shape[2:], strides, w.shape[2:], strict=True)
        ]
    attributes["auto_pad"] = auto_pad
    [y] = run_node("ConvTranspose", [x, w], attributes)
    [wanted] = by_onnxruntime("ConvTranspose", [x, w], attributes)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


def test_conv_transpose_same_is_the_input_times_the_stride_even_beyond_the_kernel():
    x, w = random((1, 1, 2)), random((1, 1, 1))
    for auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        attributes = {"auto_pad": auto_pad, "strides": [3]}
        [y] = run_node("ConvTranspose", [x, w], attributes)
        a, b = (x * w)[0, 0]
        np.testing.assert_allclose(y, [[[a, 0, 0, b, 0, 0]]])


def test_conv_transpose_is_the_same_in_pieces(monkeypatch):
    x, w = random((2, 4, 6, 5)), random((4, 5, 3, 3), seed=1)
    whole = run_node("ConvTranspose", [x, w], {"strides": [2, 2]})[0]
    monkeypatch.setattr(_convolution, "_COLUMNS", 1)
    pieces = run_node("ConvTranspose", [x, w], {"strides": [2, 2]})[0]
    np.testing.assert_allclose(pieces, whole, rtol=1e-5, atol=1e-6)


def test_conv_transpose_refuses_a_negative_size():
    with pytest.raises(ExecutionError, match="shape"):
        run_node(
            "ConvTranspose", [random((1, 1, 2)), random((1, 1, 1))], {"pads": [2, 2]}
        )
    with pytest.raises(ExecutionError, match="do not fit"):
        run_node("ConvTranspose", [random((1, 2, 2)), random((1, 1, 1))])


@pytest.mark.parametrize("x_type", [np.uint8, np.int8])
@pytest.mark.parametrize("w_type", [np.uint8, np.int8])
@given(case=convolutions(2), per_channel=st.booleans())
def test_integer_convolution_is_exact(x_type, w_type, case, per_channel):
    x, w, attributes = case
    x, w = random(x.shape, x_type), random(w.shape, w_type, 1)
    x_zero = random((), x_type, 2)
    w_zero = random((w.shape[0],) if per_channel else (), w_type, 3)
    [y] = run_node("ConvInteger", [x, w, x_zero, w_zero], attributes, 10)
    laid = w_zero.reshape(-1, *(1,) * (w.ndim - 1)).astype(np.int64)
    wanted = by_taps(
        x.astype(np.int64) - x_zero.astype(np.int64),
        w.astype(np.int64) - laid,
        **attributes,
    )
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, wanted)


def test_integer_convolution_is_exact_over_many_channels():
    x, w = (
        np.full((1, 300, 3, 3), 255, np.uint8),
        np.full((2, 300, 3, 3), 255, np.uint8),
    )
    [y] = run_node("ConvInteger", [x, w], opset=10)
    assert y.ravel().tolist() == [255 * 255 * 2700] * 2


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_quantized_convolution_is_onnxruntimes(dtype, per_channel):
    x, w = random((2, 4, 6, 7), dtype), random((6, 2, 3, 3), np.int8, 1)
    rng = np.random.default_rng(4)
    count = (6,) if per_channel else ()
    w_scale = rng.uniform(0.01, 0.02, count).astype(np.float32)
    inputs = [x, np.array(0.03, np.float32), np.array(5, dtype)]
    inputs += [w, w_scale, np.zeros(count, np.int8)]
    inputs += [np.array(0.6, np.float32), np.array(100, dtype)]
    inputs += [rng.integers(-900, 900, 6).astype(np.int32)]
    attributes = {"group": 2, "pads": [1, 0, 1, 2], "strides": [1, 2]}
    [y] = run_node("QLinearConv", inputs, attributes, 10)
    [wanted] = by_onnxruntime("QLinearConv", inputs, attributes, 10)
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("offset_group", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_deformed_convolution_is_onnxruntimes(offset_group, masked):
    x, w = random((2, 4, 6, 5)), random((6, 2, 2, 3), seed=1)
    attributes = {"group": 2, "offset_group": offset_group, "pads": [1, 0, 2, 1]}
    attributes |= {"strides": [2, 1], "dilations": [1, 2], "kernel_shape": [2, 3]}
    out = (2, offset_group * 6, 4, 2)
    offset = random((2, out[1] * 2, *out[2:]), seed=2) * 3
    mask = random(out, seed=3) if masked else None
    inputs = [x, w, offset, random((6,), seed=4), *([mask] if masked else [])]
    [y] = run_node("DeformConv", inputs, attributes, 19)
    [wanted] = by_onnxruntime("DeformConv", inputs, attributes, 19)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_deformation_by_nothing_is_plain_convolution(rank):
    x, w = random((2, 3, *(5,) * rank)), random((4, 3, *(2,) * rank), seed=1)
    attributes = {"strides": [2] * rank, "pads": [1] * 2 * rank}
    [wanted] = run_node("Conv", [x, w], attributes)
    offset = np.zeros((2, 2**rank * rank, *wanted.shape[2:]), np.float32)
    [y] = run_node("DeformConv", [x, w, offset], attributes)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


def test_samples_far_outside_are_zero_and_offsets_must_fit():
    x, w = random((1, 1, 4, 4)), np.ones((1, 1, 1, 1), np.float32)
    offset = np.full((1, 2, 4, 4), np.nan, np.float32)
    offset[..., :2] = 1e30
    assert not run_node("DeformConv", [x, w, offset])[0].any()
    with pytest.raises(ExecutionError, match="offset"):
        run_node("DeformConv", [x, w, offset[:, :1]])


def test_samples_of_an_image_of_more_pixels_than_float32_counts():
    x = np.zeros((1, 1, 4098, 4098), np.float32)
    x[0, 0, 4096:, 4096:] = [[1, 2], [3, 4]]
    w, offset = np.ones((1, 1, 1, 1), np.float32), np.ones((1, 2, 2, 2), np.float32)
    [y] = run_node("DeformConv", [x, w, offset], {"strides": [4096, 4096]})
    assert y.tolist() == [[[[0, 0], [0, 4]]]]


@given(data=st.data(), dtype=st.sampled_from([np.float32, np.int32, np.uint8]))
def test_col2im_adds_blocks_where_they_came_from(data, dtype):
    rank = data.draw(st.integers(1, 3))
    pick = [[data.draw(st.integers(1, 2)) for _ in range(rank)] for _ in range(3)]
    block, strides, dilations = pick
    pads = [data.draw(st.integers(0, 1)) for _ in range(2 * rank)]
    image = [data.draw(st.integers(3, 5)) for _ in range(rank)]
    count = 1
    for n, k, s, d, b, e in zip(
        image, block, strides, dilations, pads[:rank], pads[rank:], strict=True
    ):
        count *= (n + b + e - d * (k - 1) - 1) // s + 1
    x = np.abs(random((2, 3 * int(np.prod(block)), count)) * 9).astype(dtype)
    shapes = [np.array(image, np.int64), np.array(block, np.int64)]
    attributes = {"pads": pads, "strides": strides, "dilations": dilations}
    [y] = run_node("Col2Im", [x, *shapes], attributes, 18)
    [wanted] = by_reference("Col2Im", [x, *shapes], attributes, 18)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


def test_col2im_refuses_columns_that_do_not_fit():
    shapes = [np.array([4, 4]), np.array([2, 2])]
    with pytest.raises(ExecutionError, match="9 such blocks"):
        run_node("Col2Im", [random((1, 4, 8)), *shapes])
    with pytest.raises(ExecutionError, match="hold blocks"):
        run_node("Col2Im", [random((1, 5, 9)), *shapes])


@pytest.mark.parametrize("activation", ["none", "silu", "swish"])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_a_causal_convolution_may_be_run_in_parts(activation, k):
    x, w, b = random((2, 3, 7)), random((3, 1, k), seed=1), random((3,), seed=2)
    attributes = {"activation": activation}

    def run(part, state=None):
        inputs = [part, w, b, state]
        return run_node("CausalConvWithState", inputs, attributes, 27, outputs=2)

    whole, end = run(x)
    first, state = run(x[:, :, :2])
    second, last = run(x[:, :, 2:], state)
    assert end.shape == (2, 3, k - 1)
    np.testing.assert_allclose(np.concatenate([first, second], 2), whole, rtol=1e-5)
    np.testing.assert_array_equal(last, end)
    conv = by_taps(narrow(x), narrow(w), [k - 1, 0], [1], [1], 3) + b[:, None]
    wanted = conv if activation == "none" else conv / (1 + np.exp(-conv))
    np.testing.assert_allclose(whole, wanted, rtol=1e-4, atol=1e-5)


def test_a_causal_convolution_refuses_what_does_not_fit():
    x, w = random((2, 3, 7)), random((3, 1, 2))
    with pytest.raises(ExecutionError, match="activation"):
        run_node("CausalConvWithState", [x, w], {"activation": "relu"}, outputs=2)
    with pytest.raises(ExecutionError, match="do not fit"):
        run_node("CausalConvWithState", [x, w[:2]], outputs=2)
    with pytest.raises(ExecutionError, match="past_state"):
        run_node("CausalConvWithState", [x, w, None, random((2, 3, 2))], outputs=2)
