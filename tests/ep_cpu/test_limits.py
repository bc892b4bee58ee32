"""Results that cannot fit are refused before memory is touched; runs end in time."""

import resource
import time

import numpy as np
import pytest
import runtime as ort
from evaluate import run_node
from onnx import TensorProto, helper
from runtime.errors import LimitExceeded

SIDE = 1 << 30  # SIDE * SIDE is 2^60
X = np.ones((1, 1), np.float32)
IMAGE = np.ones((1, 1, 4, 4), np.float32)
COLUMN = np.broadcast_to(X, (SIDE, 1))
ROW = np.broadcast_to(X, (1, SIDE))
SQUARE = np.broadcast_to(X, (SIDE, SIDE))
PLACES = np.broadcast_to(np.zeros((1, 1), np.int64), (SIDE >> 1, SIDE >> 1))


def ints(*values):
    return np.array(values, np.int64)


def floats(*values):
    return np.array(values, np.float32)


ONE, BYTES = IMAGE[..., :1, :1], IMAGE.astype(np.uint8)


def number(value, dtype=np.int64):
    return np.array(value, dtype)


HUGE = number(SIDE * SIDE)
RANGE = floats(0)[0, ...], floats(4000)[0, ...]
ENLARGED = floats(1, 1, SIDE, SIDE)
ASKED = {
    "Expand": ([X, ints(SIDE, SIDE)], {}),
    "Tile": ([X, ints(SIDE, SIDE)], {}),
    "ConstantOfShape": ([ints(SIDE, SIDE)], {}),
    "Range": ([number(0), HUGE, number(1)], {}),
    "Pad": ([X, ints(0, 0, SIDE, SIDE)], {}),
    "Pad edge": ([X, ints(0, 0, SIDE, SIDE)], {"mode": "edge"}),
    "Pad wrap": ([X, ints(0, 0, SIDE, SIDE)], {"mode": "wrap"}),
    "Resize": ([IMAGE, None, ENLARGED], {"mode": "nearest"}),
    "Resize linear": ([IMAGE, None, None, ints(1, 1, SIDE, SIDE)], {"mode": "linear"}),
    "OneHot": ([ints(0, 1), HUGE, floats(0, 1)], {}),
    "EyeLike": ([SQUARE], {}),
    "RandomNormal": ([], {"shape": [SIDE, SIDE]}),
    "RandomUniform": ([], {"shape": [SIDE, SIDE]}),
    "RandomNormalLike": ([SQUARE], {}),
    "RandomUniformLike": ([SQUARE], {}),
    "Multinomial": ([X], {"sample_size": SIDE * SIDE}),
    "MaxUnpool": (
        [IMAGE, np.zeros((1, 1, 4, 4), np.int64), ints(1, 1, SIDE, SIDE)],
        {"kernel_shape": [2, 2]},
    ),
    "HannWindow": ([HUGE], {}),
    "HammingWindow": ([HUGE], {}),
    "BlackmanWindow": ([HUGE], {}),
    "MelWeightMatrix": ([*map(number, (SIDE, 2 * SIDE, 8000)), *RANGE], {}),
    "AffineGrid": ([np.ones((1, 2, 3), np.float32), ints(1, 1, SIDE, SIDE)], {}),
    "CenterCropPad": ([X, ints(SIDE, SIDE)], {}),
    "ConvTranspose": ([IMAGE, IMAGE[..., :1, :1]], {"strides": [SIDE, SIDE]}),
    "ConvTranspose shaped": ([IMAGE, ONE], {"output_shape": [SIDE, SIDE]}),
    "ConvTranspose dilated": ([IMAGE, IMAGE], {"dilations": [SIDE, SIDE]}),
    "ConvInteger": ([BYTES, BYTES[..., :1, :1]], {"pads": [SIDE] * 4}),
    "LpPool": ([IMAGE], {"kernel_shape": [1, 1], "pads": [SIDE] * 4}),
    "MaxUnpool of large windows": (
        [IMAGE, np.zeros((1, 1, 4, 4), np.int64)],
        {"kernel_shape": [SIDE, SIDE]},
    ),
    "Col2Im": ([ONE[0], ints(SIDE, SIDE), ints(1, 1)], {"strides": [SIDE, SIDE]}),
    "SplitToSequence": ([np.broadcast_to(X, (1 << 40, 1))], {}),
    "SplitToSequence apart": ([np.broadcast_to(X, (1 << 40, 1))], {"keepdims": 0}),
    "TfIdfVectorizer": (
        [ints(1, 2)],
        {
            "mode": "TF",
            "min_gram_length": 1,
            "max_gram_length": 1,
            "max_skip_count": 0,
            "ngram_counts": [0],
            "ngram_indexes": [SIDE * SIDE],
            "pool_int64s": [1],
        },
    ),
    "Where": ([np.array(True), COLUMN, ROW], {}),
    "PRelu": ([SQUARE, X], {}),
    "Mean": ([COLUMN, ROW], {}),
    "Conv": ([IMAGE, IMAGE[..., :1, :1]], {"pads": [SIDE] * 4}),
    "AveragePool": ([IMAGE], {"kernel_shape": [1, 1], "pads": [SIDE] * 4}),
    "MaxPool": ([IMAGE], {"kernel_shape": [1, 1], "pads": [SIDE] * 4}),
    "RoiAlign": (
        [IMAGE, np.ones((1, 4), np.float32), ints(0)],
        {"output_height": SIDE, "output_width": SIDE},
    ),
    "MaxRoiPool": (
        [IMAGE, np.zeros((1, 5), np.float32)],
        {"pooled_shape": [SIDE, SIDE]},
    ),
    "DFT": ([X.reshape(1, 1, 1), HUGE, number(1)], {}),
    "MatMul": ([COLUMN, ROW], {}),
    "Gemm": ([COLUMN, ROW], {}),
    "Einsum": ([COLUMN, ROW], {"equation": "ij,jk->ik"}),
    "Add": ([COLUMN, ROW], {}),
    "Equal": ([COLUMN, ROW], {}),
    "Max": ([COLUMN, ROW], {}),
    "Relu": ([SQUARE], {}),
    "Gather": ([X, PLACES], {}),
    "Concat": ([SQUARE[: SIDE >> 1], SQUARE[: SIDE >> 1]], {"axis": 0}),
    "CumSum": ([SQUARE, number(0)], {}),
}


@pytest.mark.parametrize("name", ASKED)
def test_2_to_the_60_elements_are_refused_at_once(name):
    inputs, attributes = ASKED[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    with pytest.raises(LimitExceeded, match=r"bytes|Unable to allocate"):
        run_node(name.split()[0], inputs, attributes)
    assert time.monotonic() - began < 5
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # kB


LEAF = {
    "nodes_treeids": [0],
    "nodes_nodeids": [0],
    "nodes_featureids": [0],
    "nodes_modes": ["LEAF"],
    "nodes_values": [0.0],
    "nodes_truenodeids": [0],
    "nodes_falsenodeids": [0],
    "target_treeids": [0],
    "target_nodeids": [0],
    "target_ids": [0],
    "target_weights": [1.0],
}
ASKED_OF_FEATURES = {
    "CastMap": ([{1: 2.0}], {"map_form": "SPARSE", "max_map": SIDE * SIDE}),
    "FeatureVectorizer": ([X], {"inputdimensions": [SIDE * SIDE]}),
    "TreeEnsembleRegressor": ([X], LEAF | {"n_targets": SIDE * SIDE}),
}


@pytest.mark.parametrize("name", ASKED_OF_FEATURES)
def test_2_to_the_60_features_are_refused_too(name):
    inputs, attributes = ASKED_OF_FEATURES[name]
    with pytest.raises(LimitExceeded, match="bytes"):
        run_node(name, inputs, attributes, 1, "ai.onnx.ml")


def test_the_older_way_to_enlarge_is_refused_too():
    with pytest.raises(LimitExceeded, match="bytes"):
        run_node("Upsample", [IMAGE, ENLARGED], {"mode": "nearest"}, 9)


def test_a_sequence_that_repeats_one_tensor_takes_no_memory():
    part = SQUARE[: SIDE >> 1]
    (got,) = run_node("SequenceConstruct", [part, part])
    assert [item.shape for item in got] == [(SIDE >> 1, SIDE)] * 2
    with pytest.raises(LimitExceeded):
        run_node("ConcatFromSequence", [got], {"axis": 0})


def endless(nodes):
    """A Loop without a trip count whose condition stays true."""
    body = helper.make_graph(
        nodes,
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info(
                "w" if nodes else "v", TensorProto.FLOAT, [1]
            ),
        ],
    )
    loop = helper.make_node("Loop", ["", "go", "x"], ["y"], body=body)
    graph = helper.make_graph(
        [loop],
        "endless",
        [
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    imports = [helper.make_opsetid("", 21)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


@pytest.mark.parametrize("nodes", [0, 1])
def test_a_loop_without_end_is_stopped_by_the_time_limit(nodes):
    inside = [helper.make_node("Neg", ["v"], ["w"])] * nodes
    session = ort.InferenceSession(endless(inside).SerializeToString())
    options = ort.RunOptions()
    options.add_run_config_entry("run.maximum_seconds", "0.2")
    feeds = {"go": np.array(True), "x": np.zeros(1, np.float32)}
    began = time.monotonic()
    with pytest.raises(Exception, match="stopped"):
        session.run(None, feeds, options)
    assert 0.1 < time.monotonic() - began < 5
    feeds["go"] = np.array(False)
    assert session.run(None, feeds, options)[0].tolist() == [0]


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "soon"])
def test_a_time_limit_is_a_positive_number(limit):
    with pytest.raises(ValueError):
        ort.RunOptions().add_run_config_entry("run.maximum_seconds", limit)


def test_a_run_within_its_time_is_not_disturbed():
    node = helper.make_node("Neg", ["x"], ["y"])
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "short",
        [info("x", TensorProto.FLOAT, [2])],
        [info("y", TensorProto.FLOAT, [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    options = ort.RunOptions()
    options.add_run_config_entry("run.maximum_seconds", "60")
    session = ort.InferenceSession(model.SerializeToString())
    (y,) = session.run(None, {"x": np.ones(2, np.float32)}, options)
    assert y.tolist() == [-1, -1]
