"""Every attribute of layers at random: norms, windows, recurrences, resizing, attention.

Wanted values are float64 formulas where they are short, else onnxruntime's.
"""

import numpy as np
import pytest
from evaluate import narrow, run_node
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto
from peers import by_onnxruntime

pytestmark = pytest.mark.filterwarnings("error")

SEEDS = st.integers(0, 10_000)
FLAGS = st.sampled_from([0, 1])
FEW = st.integers(1, 3)
EPSILONS = st.sampled_from([1e-5, 1e-3, 0.5])
STASHES = st.sampled_from(
    [TensorProto.FLOAT, TensorProto.BFLOAT16, TensorProto.FLOAT16]
)


class Numbers:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def floats(self, *shape):
        return np.asarray(self.random.standard_normal(shape), np.float32)

    def positive(self, *shape):
        return abs(self.floats(*shape)) + np.float32(0.25)

    def bytes(self, *shape):
        return np.asarray(self.random.integers(0, 256, shape), np.uint8)


def close(got, want, rtol=1e-4, atol=1e-4):
    for ours, theirs in zip(got, want, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(narrow(ours), narrow(theirs), rtol, atol)


def agree(op_type, inputs, attributes, opset=22, outputs=1, atol=1e-4):
    want = by_onnxruntime(op_type, inputs, attributes, opset, outputs=outputs)
    got = run_node(op_type, inputs, attributes, opset, outputs=outputs)
    assert [x.dtype for x in got] == [x.dtype for x in want]
    close(got, want, 1e-3, atol)


def per_channel(values, rank):
    return narrow(values).reshape(-1, *(1,) * (rank - 2))


@given(
    SEEDS,
    st.lists(FEW, max_size=2),
    st.sampled_from([0.0, 0.25, 0.9, 1.0]),
    EPSILONS,
    FLAGS,
)
def test_batches_train_or_use_what_they_learned(seed, sizes, momentum, epsilon, train):
    numbers = Numbers(seed)
    x = numbers.floats(3, 2, *sizes)
    scale, bias, mean = (numbers.floats(2) for _ in range(3))
    var = numbers.positive(2)
    made = {"momentum": momentum, "epsilon": epsilon, "training_mode": train}
    inputs = [x, scale, bias, mean, var]
    got = run_node("BatchNormalization", inputs, made, outputs=3 if train else 1)
    axes = (0, *range(2, x.ndim))
    own = [narrow(x).mean(axes), narrow(x).var(axes)] if train else [mean, var]
    used = [per_channel(np.asarray(v), x.ndim) for v in own]
    want = (narrow(x) - used[0]) / np.sqrt(used[1] + epsilon)
    want = want * per_channel(scale, x.ndim) + per_channel(bias, x.ndim)
    running = [
        narrow(old) * momentum + new * (1 - momentum)
        for old, new in zip((mean, var), own, strict=True)
    ]
    close(got, [want, *running] if train else [want])


def standard(rows, epsilon, centre=True):
    rows = narrow(rows)
    mean = rows.mean(-1, keepdims=True) if centre else 0
    inverse = 1 / np.sqrt(((rows - mean) ** 2).mean(-1, keepdims=True) + epsilon)
    return (rows - mean) * inverse, mean, inverse


@given(SEEDS, st.lists(FEW, max_size=2), st.sampled_from([1, 2, 4]), EPSILONS, STASHES)
def test_groups_are_normalized(seed, sizes, groups, epsilon, stash):
    numbers = Numbers(seed)
    x, scale, bias = numbers.floats(2, 4, *sizes), numbers.floats(4), numbers.floats(4)
    exact = stash == TensorProto.FLOAT
    made = {"num_groups": groups, "epsilon": epsilon, "stash_type": stash}
    (got,) = run_node("GroupNormalization", [x, scale, bias], made)
    want = standard(x.reshape(2, groups, -1), epsilon)[0].reshape(x.shape)
    want = want * per_channel(scale, x.ndim) + per_channel(bias, x.ndim)
    rows = x.reshape(2, groups, -1)
    if exact or (rows.shape[2] > 1 and rows.std(-1).min() > 0.3):
        close([got], [want], 1e-3 if exact else 0.1, 1e-4 if exact else 0.1)
    made = {"epsilon": epsilon}
    (got,) = run_node("InstanceNormalization", [x, scale, bias], made)
    want = standard(x.reshape(2, 4, -1), epsilon)[0].reshape(x.shape)
    want = want * per_channel(scale, x.ndim) + per_channel(bias, x.ndim)
    close([got], [want], 1e-3, 1e-3)


@given(SEEDS, st.lists(FEW, min_size=1, max_size=3), EPSILONS, STASHES, st.data())
def test_layers_are_normalized_from_an_axis_on(seed, shape, epsilon, stash, data):
    numbers = Numbers(seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    kept = shape[axis:]
    x, scale, bias = (
        numbers.floats(*shape),
        numbers.floats(*kept),
        numbers.floats(*kept),
    )
    made = {"axis": axis, "epsilon": epsilon, "stash_type": stash}
    rows = x.reshape(-1, int(np.prod(kept)))
    if stash != TensorProto.FLOAT and (rows.shape[1] < 2 or rows.std(-1).min() < 0.3):
        return
    loose = 1e-3 if stash == TensorProto.FLOAT else 0.1
    inputs = [x, scale, bias]
    got = run_node("LayerNormalization", inputs, made, outputs=3)
    y, mean, inverse = standard(rows, epsilon)
    lead = (*shape[: len(shape) - len(kept)], *[1] * len(kept))
    want = y.reshape(shape) * scale + bias
    close(got, [want, mean.reshape(lead), inverse.reshape(lead)], loose, loose)
    (got,) = run_node("RMSNormalization", [x, scale], made)
    y, _, _ = standard(rows, epsilon, centre=False)
    close([got], [y.reshape(shape) * scale], loose, loose)


@given(
    SEEDS,
    st.integers(1, 6),
    st.integers(1, 7),
    st.floats(0.125, 2, width=32),
    st.floats(0.25, 2, width=32),
    st.floats(0.5, 2, width=32),
)
def test_neighbouring_channels_inhibit_each_other(
    seed, channels, size, alpha, beta, bias
):
    x = Numbers(seed).floats(2, channels, 2)
    made = {"size": size, "alpha": alpha, "beta": beta, "bias": bias}
    (got,) = run_node("LRN", [x], made)
    total = np.zeros(x.shape)
    for c in range(channels):
        near = slice(max(0, c - (size - 1) // 2), c + size // 2 + 1)
        total[:, c] = (narrow(x)[:, near] ** 2).sum(axis=1)
    close([got], [x / (bias + alpha / size * total) ** beta])


AUTOMATIC = st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])
POOLS = {"MaxPool": {}, "AveragePool": {}, "LpPool": {"p": 2}}


@pytest.mark.parametrize("op_type", POOLS)
@given(seed=SEEDS, data=st.data(), auto_pad=AUTOMATIC, include=FLAGS)
def test_pools_pad_by_themselves(op_type, seed, data, auto_pad, include):
    """Strides beyond the window are left out: SAME would pad by less than nothing."""
    rank = data.draw(st.integers(1, 2))
    kernel = [data.draw(st.integers(1, 3)) for _ in range(rank)]
    strides = [data.draw(st.integers(1, k)) for k in kernel]
    sizes = [data.draw(st.integers(3, 5)) for _ in range(rank)]
    made = {"kernel_shape": kernel, "strides": strides, "auto_pad": auto_pad}
    if op_type == "AveragePool":
        made["count_include_pad"] = include
    x = Numbers(seed).floats(1, 2, *sizes)
    agree(op_type, [x], made | POOLS[op_type])


@pytest.mark.parametrize("op_type", POOLS)
def test_same_padding_is_never_negative(op_type):
    x = np.float32([[[1, 2, 3, 4]]])
    made = {"kernel_shape": [1], "strides": [3], "auto_pad": "SAME_UPPER"}
    (got,) = run_node(op_type, [x], made | POOLS[op_type])
    assert got.tolist() == [[[1, 4]]]


def integers(numbers, data, rank):
    """Draw an image of bytes, a kernel, and attributes of a convolution."""
    kernel, strides, dilations = (
        [data.draw(st.integers(1, 2)) for _ in range(rank)] for _ in range(3)
    )
    sizes = [data.draw(st.integers(3, 5)) for _ in range(rank)]
    group = data.draw(st.integers(1, 2))
    made = {"strides": strides, "group": group, "kernel_shape": kernel}
    auto_pad = data.draw(AUTOMATIC)
    if auto_pad == "NOTSET":
        made["pads"] = [data.draw(st.integers(0, 1)) for _ in range(2 * rank)]
        made["dilations"] = dilations
    else:
        made["auto_pad"] = auto_pad
    x = numbers.bytes(1, 2 * group, *sizes)
    return x, numbers.bytes(2 * group, 2, *kernel), made


@given(SEEDS, st.data(), st.integers(1, 2), st.booleans())
def test_integer_convolutions_pad_with_their_zero_point(seed, data, rank, zero):
    """Padding is drawn by a plain convolution of what is left of the numbers."""
    numbers = Numbers(seed)
    x, w, made = integers(numbers, data, rank)
    points = [np.uint8(numbers.random.integers(9)) for _ in range(2)] if zero else []
    (got,) = run_node("ConvInteger", [x, w, *map(np.array, points)], made)
    centred = [
        narrow(part) - int(point)
        for part, point in zip((x, w), points or (0, 0), strict=True)
    ]
    (want,) = run_node("Conv", centred, made)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, want)


@given(SEEDS, st.data(), st.integers(1, 2))
def test_quantized_convolutions_take_every_attribute(seed, data, rank):
    numbers = Numbers(seed)
    x, w, made = integers(numbers, data, rank)
    scales = [np.array(s, np.float32) for s in (0.5, 0.25, 64.0)]
    points = [np.array(p, np.uint8) for p in (3, 5, 128)]
    inputs = [x, scales[0], points[0], w, scales[1], points[1], scales[2], points[2]]
    agree("QLinearConv", inputs, made, outputs=1, atol=1)


@given(SEEDS, st.data(), FLAGS, st.sampled_from([1, 2]))
def test_taps_move_by_groups_and_padding(seed, data, masked, groups):
    numbers = Numbers(seed)
    kernel, pads = [2, 2], [data.draw(st.integers(0, 1)) for _ in range(4)]
    strides, dilations = ([data.draw(st.integers(1, 2)) for _ in "yx"] for _ in "ab")
    sizes = [data.draw(st.integers(3, 5)) for _ in "yx"]
    out = [
        (n + pads[i] + pads[2 + i] - dilations[i] - 1) // strides[i] + 1
        for i, n in enumerate(sizes)
    ]
    x, w = numbers.floats(1, 4, *sizes), numbers.floats(2, 4, *kernel)
    offset = numbers.floats(1, groups * 8, *out)
    mask = numbers.positive(1, groups * 4, *out) if masked else None
    made = {
        "kernel_shape": kernel,
        "pads": pads,
        "strides": strides,
        "dilations": dilations,
        "offset_group": groups,
    }
    agree("DeformConv", [x, w, offset, None, mask], made, 19)


@given(SEEDS, st.data(), st.booleans())
def test_what_max_pool_took_is_put_back_within_its_padding(seed, data, shaped):
    kernel = [data.draw(st.integers(1, 3)) for _ in "yx"]
    pads = [data.draw(st.integers(0, k - 1)) for k in kernel * 2]
    both = zip(kernel, pads[:2], pads[2:], strict=True)
    sizes = [data.draw(st.integers(2, 3)) * k - a - b for k, a, b in both]
    x = Numbers(seed).floats(1, 2, *sizes)
    made = {"kernel_shape": kernel, "strides": kernel, "pads": pads}
    y, places = run_node("MaxPool", [x], made, outputs=2)
    shape = np.array(x.shape) if shaped else None
    (got,) = run_node("MaxUnpool", [y, places, shape], made)
    want = np.zeros(x.size, np.float32)
    want[places.ravel()] = y.ravel()
    np.testing.assert_array_equal(got, want.reshape(x.shape))
