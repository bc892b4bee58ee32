"""Nothing in, nothing out: an empty batch gives an empty batch of the same shape and type.

A call is made with two images and with none; all else is drawn. Of every result the
axis of the images, where there is one, has size 2 and then 0.
"""

import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

pytestmark = pytest.mark.filterwarnings("error")

SEEDS = st.integers(0, 10_000)
FEW = st.integers(1, 3)


class Draw:
    """Draws inputs whose first axis is the batch, and others."""

    def __init__(self, seed, batch, side):
        self.random = np.random.default_rng(seed)
        self.batch, self.side = batch, side

    def rows(self, *shape):
        return np.asarray(self.random.random((self.batch, *shape)), np.float32)

    def fixed(self, *shape):
        return np.asarray(self.random.random(shape), np.float32) + np.float32(0.1)

    def places(self, high, *shape):
        return self.random.integers(0, high, (self.batch, *shape))

    def image(self, channels=2):
        return self.rows(channels, self.side + 1, self.side + 2)


def recurrent(d, gates, states):
    x = np.zeros((3, d.batch, 2), np.float32)
    more = [None] * (1 + states)
    return [x, d.fixed(1, gates * 2, 2), d.fixed(1, gates * 2, 2), None, *more]


WINDOW = {"kernel_shape": [2, 2]}
GROUPS = {"num_groups": 2}
POINTS = {"coordinate_transformation_mode": "half_pixel"}
# an operator, its inputs, its attributes, its outputs' batch axes (None: no batch)
CALLS = {
    "Softmax": (lambda d: [d.rows(d.side)], {}, [0]),
    "LogSoftmax": (lambda d: [d.rows(d.side)], {}, [0]),
    "Hardmax": (lambda d: [d.rows(d.side)], {}, [0]),
    "ArgMax": (lambda d: [d.rows(d.side)], {"axis": 1}, [0]),
    "ArgMin": (lambda d: [d.rows(d.side)], {"axis": -1}, [0]),
    "TopK": (lambda d: [d.rows(d.side), np.array([d.side])], {}, [0, 0]),
    "MatMul": (lambda d: [d.rows(3, d.side), d.fixed(d.side, 2)], {}, [0]),
    "Gemm": (lambda d: [d.rows(d.side), d.fixed(d.side, 2)], {}, [0]),
    "Det": (lambda d: [d.rows(d.side, d.side)], {}, [0]),
    "Conv": (lambda d: [d.image(), d.fixed(3, 2, 2, 2)], {}, [0]),
    "ConvTranspose": (lambda d: [d.image(), d.fixed(2, 3, 2, 2)], {}, [0]),
    "MaxPool": (lambda d: [d.image()], WINDOW, [0, 0]),
    "AveragePool": (lambda d: [d.image()], WINDOW, [0]),
    "LpPool": (lambda d: [d.image()], WINDOW, [0]),
    "GlobalMaxPool": (lambda d: [d.image()], {}, [0]),
    "GlobalAveragePool": (lambda d: [d.image()], {}, [0]),
    "GlobalLpPool": (lambda d: [d.image()], {}, [0]),
    "MaxUnpool": (lambda d: [d.rows(2, 2, 2), d.places(9, 2, 2, 2)], WINDOW, [0]),
    "DeformConv": (
        lambda d: [d.rows(2, 3, 3), d.fixed(3, 2, 2, 2), d.rows(8, 2, 2)],
        {},
        [0],
    ),
    "Col2Im": (lambda d: [d.rows(8, 4), np.array([3, 3]), np.array([2, 2])], {}, [0]),
    "BatchNormalization": (lambda d: [d.image(), *[d.fixed(2)] * 4], {}, [0]),
    "InstanceNormalization": (lambda d: [d.image(), *[d.fixed(2)] * 2], {}, [0]),
    "GroupNormalization": (lambda d: [d.image(4), *[d.fixed(4)] * 2], GROUPS, [0]),
    "LayerNormalization": (lambda d: [d.rows(d.side), d.fixed(d.side)], {}, [0, 0, 0]),
    "RMSNormalization": (lambda d: [d.rows(d.side), d.fixed(d.side)], {}, [0]),
    "LpNormalization": (lambda d: [d.rows(d.side)], {}, [0]),
    "LRN": (lambda d: [d.image()], {"size": 3}, [0]),
    "Attention": (lambda d: [d.rows(2, d.side, 4)] * 3, {}, [0]),
    "RotaryEmbedding": (
        lambda d: [d.rows(2, d.side, 4), d.rows(d.side, 2), d.rows(d.side, 2)],
        {},
        [0],
    ),
    "LinearAttention": (
        lambda d: [d.rows(d.side, 4)] * 3,
        {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": "linear"},
        [0, 0],
    ),
    "CausalConvWithState": (
        lambda d: [d.rows(2, d.side), d.fixed(2, 1, 3)],
        {},
        [0, 0],
    ),
    "RNN": (lambda d: recurrent(d, 1, 1), {"hidden_size": 2}, [2, 1]),
    "GRU": (lambda d: recurrent(d, 3, 1), {"hidden_size": 2}, [2, 1]),
    "LSTM": (lambda d: recurrent(d, 4, 2), {"hidden_size": 2}, [2, 1, 1]),
    "Resize": (
        lambda d: [d.image(), None, np.array([1, 1, 2, 2], np.float32)],
        {"mode": "linear"},
        [0],
    ),
    "GridSample": (lambda d: [d.image(), d.rows(2, d.side, 2)], {}, [0]),
    "AffineGrid": (
        lambda d: [d.rows(2, 3), np.array([d.batch, 1, d.side, 2])],
        {},
        [0],
    ),
    "RoiAlign": (
        lambda d: [d.fixed(1, 2, 4, 4), d.rows(4), np.zeros(d.batch, np.int64)],
        POINTS | {"output_height": 2, "output_width": 2},
        [0],
    ),
    "MaxRoiPool": (
        lambda d: [d.fixed(1, 2, 4, 4), d.rows(5) * np.float32(0)],
        {"pooled_shape": [2, 2]},
        [0],
    ),
    "DFT": (lambda d: [d.rows(d.side, 1)], {}, [0]),
    "STFT": (lambda d: [d.rows(d.side + 3, 1), np.array(1), d.fixed(3)], {}, [0]),
    "ReverseSequence": (
        lambda d: [d.rows(d.side), np.ones(d.batch, np.int64)],
        {"batch_axis": 0, "time_axis": 1},
        [0],
    ),
    "TensorScatter": (lambda d: [d.rows(4, 2), d.rows(d.side, 2)], {}, [0]),
    "OneHot": (
        lambda d: [d.places(3, d.side), np.array(3), d.fixed(2)],
        {},
        [0],
    ),
    "NegativeLogLikelihoodLoss": (
        lambda d: [d.rows(3, 2), d.places(3, 2)],
        {"reduction": "none"},
        [0],
    ),
    "SoftmaxCrossEntropyLoss": (
        lambda d: [d.rows(3, 2), d.places(3, 2)],
        {"reduction": "none"},
        [0, 0],
    ),
    "CenterCropPad": (lambda d: [d.rows(4), np.array([3])], {"axes": [1]}, [0]),
    "Einsum": (lambda d: [d.rows(3), d.fixed(3, 2)], {"equation": "bi,ij->bj"}, [0]),
    "DepthToSpace": (lambda d: [d.rows(4, 2, 2)], {"blocksize": 2}, [0]),
    "SpaceToDepth": (lambda d: [d.rows(2, 2, 4)], {"blocksize": 2}, [0]),
    "Trilu": (lambda d: [d.rows(d.side, 2)], {}, [0]),
    "MeanVarianceNormalization": (lambda d: [d.image()], {"axes": [2, 3]}, [0]),
    "NonMaxSuppression": (
        lambda d: [d.rows(d.side, 4), d.rows(1, d.side), np.array([1])],
        {},
        [None],
    ),
}


@pytest.mark.parametrize("op_type", CALLS)
@given(seed=SEEDS, side=FEW)
def test_an_empty_batch_gives_an_empty_batch(op_type, seed, side):
    made, attributes, axes = CALLS[op_type]
    two, none = (
        run_node(op_type, made(Draw(seed, n, side)), attributes, outputs=len(axes))
        for n in (2, 0)
    )
    for full, empty, axis in zip(two, none, axes, strict=True):
        assert full.dtype == empty.dtype
        want = list(full.shape)
        want[axis or 0] = 0
        assert list(empty.shape) == want
        if axis is not None:
            assert full.shape[axis] == 2


KEPT = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple)


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
@given(shape=KEPT, data=st.data())
def test_axes_of_size_zero_stay(op_type, shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    (got,) = run_node(op_type, [np.ones(shape, np.float32)], {"axis": axis})
    assert (got.dtype, got.shape) == (np.float32, shape)


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), FEW)
def test_sums_of_no_products_are_zero(rows, depth, columns, batch):
    a = np.ones((batch, rows, depth), np.float32)
    b = np.ones((depth, columns), np.float32)
    (got,) = run_node("MatMul", [a, b])
    np.testing.assert_array_equal(got, np.full((batch, rows, columns), depth))
    (got,) = run_node("Gemm", [a[0], b])
    np.testing.assert_array_equal(got, np.full((rows, columns), depth))


@given(hnp.array_shapes(min_side=0, max_side=2, max_dims=3), st.booleans())
def test_nothing_is_found_where_nothing_is(shape, flat):
    x = np.ones(shape, np.float32)
    y, first, inverse, counts = run_node(
        "Unique", [x], {} if flat else {"axis": 0}, outputs=4
    )
    want = np.unique(x) if flat else np.unique(x, axis=0) if x.size else x[:1]
    assert y.dtype == np.float32
    if flat or x.size:
        assert y.shape == want.shape
        assert len(first) == len(counts) == len(want)
    assert inverse.size == (x.size if flat else shape[0])
    (found,) = run_node("NonZero", [x])
    assert found.shape == (len(shape), x.size)
    (kept,) = run_node("Compress", [x, np.ones(x.size, bool)])
    assert kept.shape == (x.size,)
