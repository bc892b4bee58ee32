"""Old spellings become the newest where that says the same, to the last bit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import BOOL, FLOAT, INT64, model, node
from onnx import TensorProto
from runtime.opsets import newest
from simplified import loaded, operators, outputs, same, simplified

RNG = np.random.default_rng(0)
ONLY = ("modernize", "constants")
DOUBLE, HALF = TensorProto.DOUBLE, TensorProto.FLOAT16


def array(*shape) -> np.ndarray:
    """Return random numbers."""
    return RNG.standard_normal(shape).astype(np.float32)


def old(op, opset, shape_, inputs=(), result=None, outputs=1, kind=FLOAT, **attributes):
    """Return a model of one old node of x and constants."""
    names = [f"c{index}" for index in range(len(inputs))]
    results = ["y", *(f"y{index}" for index in range(1, outputs))]
    return model(
        [node(op, ["x", *names], results, name="old", **attributes)],
        {"x": (kind, list(shape_))},
        dict.fromkeys(results, (kind, result)),
        dict(zip(names, inputs, strict=True)),
        opset=opset,
    )


def the_node(graph, op):
    """Return the one node of an operator."""
    (found,) = [n for n in graph if n.op_type == op]
    return found


CASES = [
    ("Squeeze", 11, (1, 3, 1), [], {"axes": [0]}),
    ("Squeeze", 11, (1, 3, 1), [], {}),
    ("Unsqueeze", 11, (2, 3), [], {"axes": [0, 3]}),
    ("ReduceSum", 11, (2, 3, 4), [], {"axes": [1], "keepdims": 0}),
    ("ReduceMean", 13, (2, 3, 4), [], {"axes": [-1]}),
    ("ReduceMax", 12, (2, 3, 4), [], {}),
    ("ReduceL2", 1, (2, 3, 4), [], {"axes": [0, 2]}),
    ("Slice", 9, (4, 5), [], {"starts": [1, 0], "ends": [3, 100], "axes": [0, 1]}),
    ("Slice", 9, (4, 5), [], {"starts": [1], "ends": [-1]}),
    ("Pad", 10, (2, 3), [], {"pads": [0, 1, 2, 0], "value": 1.5}),
    ("Pad", 2, (2, 3), [], {"pads": [0, 1, 0, 1], "mode": "edge"}),
    ("Pad", 1, (2, 3), [], {"paddings": [0, 1, 0, 1]}),
    ("Clip", 6, (2, 3), [], {"min": -0.5, "max": 0.5}),
    ("Clip", 6, (2, 3), [], {"min": 0.0}),
    ("Clip", 1, (2, 3), [], {"max": 0.0}),
    ("TopK", 9, (2, 5), [], {"k": 2}),
    ("TopK", 10, (2, 5), [np.array([1])], {"axis": 0}),
    ("Dropout", 7, (2, 3), [], {"ratio": 0.4}),
    ("Dropout", 6, (2, 3), [], {"is_test": 1}),
    ("Reshape", 1, (2, 6), [], {"shape": [3, 4]}),
    ("Tile", 1, (2, 3), [np.array(2.0, np.float32), np.array(1.0, np.float32)], {}),
    ("Upsample", 7, (1, 2, 3, 3), [], {"scales": [1.0, 1.0, 2.0, 2.0]}),
    (
        "Upsample",
        7,
        (1, 2, 3, 3),
        [],
        {"scales": [1.0, 1.0, 2.0, 3.0], "mode": "linear"},
    ),
    ("Upsample", 9, (1, 2, 3, 3), [np.array([1, 1, 2, 2], np.float32)], {}),
    ("Upsample", 1, (1, 2, 3, 3), [], {"height_scale": 2.0, "width_scale": 2.0}),
    ("Resize", 10, (1, 2, 3, 3), [np.array([1, 1, 2, 2], np.float32)], {}),
    (
        "Resize",
        10,
        (1, 2, 4, 4),
        [np.array([1, 1, 0.5, 0.5], np.float32)],
        {"mode": "linear"},
    ),
    ("Softmax", 11, (2, 3), [], {"axis": 1}),
    ("Softmax", 11, (2, 3, 4), [], {"axis": 1}),
    ("Softmax", 11, (2, 3, 4), [], {"axis": -1}),
    ("Softmax", 9, (2, 3, 1, 1), [], {}),
    ("LogSoftmax", 1, (2, 3, 4), [], {"axis": 0}),
    ("Hardmax", 11, (2, 3, 4), [], {"axis": 1}),
    (
        "BatchNormalization",
        7,
        (2, 3, 4),
        [*np.float32([[1, 2, 3], [0, 1, 2], [0, 0, 1], [1, 1, 1]])],
        {"epsilon": 1e-3, "momentum": 0.8},
    ),
    ("Gemm", 6, (2, 3), [array(3, 4), array(4)], {"broadcast": 1, "alpha": 0.5}),
    ("Cast", 5, (2, 3), [], {"to": "FLOAT"}),
    ("Concat", 3, (2, 3), [array(2, 3)], {}),
    ("Add", 6, (2, 3, 4), [array(3)], {"broadcast": 1, "axis": 1}),
    ("Mul", 6, (2, 3, 4), [array(4)], {"broadcast": 1}),
    ("Sub", 1, (2, 3), [array(2, 3)], {"consumed_inputs": [0, 0]}),
    ("Relu", 1, (2, 3), [], {"consumed_inputs": [0]}),
    ("PRelu", 6, (2, 3, 4), [np.float32([0.1, 0.2, 0.3])], {}),
    ("PRelu", 6, (2, 3, 4), [np.float32([0.1])], {}),
    ("GlobalLpPool", 1, (1, 2, 3, 3), [], {"p": 2.0}),
    ("Scatter", 9, (3, 3), [np.array([[1, 0, 2]]), array(1, 3)], {"axis": 0}),
    (
        "AveragePool",
        7,
        (1, 2, 5, 5),
        [],
        {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0]},
    ),
    ("LRN", 1, (1, 3, 4, 4), [], {"size": 3}),
    ("Flatten", 1, (2, 3, 4), [], {"axis": 2}),
]


@pytest.mark.parametrize(
    ("op", "opset", "shape", "inputs", "attributes"),
    CASES,
    ids=[f"{op}-{opset}-{index}" for index, (op, opset, *_) in enumerate(CASES)],
)
def test_the_newest_spelling_computes_the_same(op, opset, shape, inputs, attributes):
    count = 2 if op == "TopK" else 1
    proto = old(op, opset, shape, inputs, outputs=count, **attributes)
    if op == "TopK":
        proto.graph.output[1].type.tensor_type.elem_type = INT64
    feed = array(*shape)
    before, after = loaded(proto), simplified(proto, ONLY)
    for node_ in after.graph:
        assert node_.version == newest()
        schema = onnx.defs.get_schema(node_.op_type, newest())
        assert not schema.deprecated
        assert node_.attributes.keys() <= schema.attributes.keys()
    found, expected = outputs(after, [feed]), outputs(before, [feed])
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("proto", "op", "version"),
    [
        (old("Dropout", 6, (2, 3)), "Dropout", 6),
        (old("Softmax", 11, (), axis=1), "Softmax", 11),
        (
            old("Resize", 10, (1, 1, 4, 4), [np.float32([1, 1, 0.5, 0.5])]),
            "Resize",
            10,
        ),
        (old("GlobalLpPool", 1, (1, 2, 3, 3), p=2.5), "GlobalLpPool", 1),
        (old("OneHot", 9, (3,), [np.array(3), np.float32([0, 1])]), "OneHot", 9),
        (
            old("MaxPool", 10, (1, 1, 5, 5), kernel_shape=[2, 2], ceil_mode=1),
            "MaxPool",
            10,
        ),
        (
            old(
                "ConvTranspose",
                1,
                (1, 1, 3, 3),
                [array(1, 1, 3, 3)],
                auto_pad="SAME_UPPER",
            ),
            "ConvTranspose",
            1,
        ),
    ],
)
def test_what_is_not_surely_the_same_stays_as_written(proto, op, version):
    assert the_node(simplified(proto, ONLY).graph, op).version == version


def test_batch_normalization_in_training_stays():
    proto = old(
        "BatchNormalization",
        9,
        (2, 3, 4),
        [np.ones(3, np.float32)] * 4,
        outputs=5,
    )
    assert the_node(simplified(proto, ONLY).graph, "BatchNormalization").version == 9


def test_bounds_of_clip_have_the_type_of_its_input():
    proto = old("Clip", 6, (2, 3), kind=HALF, min=-1.0)
    clip = the_node(simplified(proto, ONLY).graph, "Clip")
    assert clip.inputs[1].constant().dtype == np.float16
    assert clip.input(2) is None, "float32's limit is no bound of float16"


def test_a_clip_of_unknown_type_stays():
    proto = old("Clip", 6, (2, 3), min=-1.0)
    model_ = loaded(proto)
    model_.graph.inputs[0].type = None
    from runtime.passes import modernize
    from runtime.passes.scope import Scope
    from runtime.settings import Settings

    modernize.run(model_.graph, Scope(model_, Settings(), lambda *_: None))
    assert the_node(model_.graph, "Clip").version == 6


def test_equal_parts_are_counted():
    proto = old("Split", 11, (4, 3), outputs=2, axis=0)
    split = the_node(same(proto, [array(4, 3)], ONLY).graph, "Split")
    assert split.attribute("num_outputs") == 2
    proto = old("Split", 11, (4, 3), outputs=2, axis=0, split=[1, 3])
    split = the_node(same(proto, [array(4, 3)], ONLY).graph, "Split")
    assert split.inputs[1].constant().tolist() == [1, 3]


def test_empty_tensors_of_resize_are_absent_inputs():
    proto = old(
        "Resize",
        11,
        (1, 1, 2, 2),
        [np.float32([]), np.float32([]), np.array([1, 1, 4, 4])],
        result=[1, 1, 4, 4],
    )
    resize = the_node(same(proto, [array(1, 1, 2, 2)], ONLY).graph, "Resize")
    assert resize.inputs[1:3] == (None, None)


def test_the_modes_of_grid_sample_lost_their_prefix():
    grid = RNG.uniform(-1, 1, (1, 3, 3, 2)).astype(np.float32)
    for mode, short in (("bilinear", "linear"), ("bicubic", "cubic")):
        proto = old("GridSample", 16, (1, 1, 4, 4), [grid], mode=mode)
        found = the_node(
            same(proto, [array(1, 1, 4, 4)], ONLY, 1e-6).graph, "GridSample"
        )
        assert found.attribute("mode") == short


def test_roi_align_says_what_opset_10_meant():
    rois, batch = np.float32([[0, 0, 3, 3]]), np.array([0])
    proto = old(
        "RoiAlign", 10, (1, 1, 4, 4), [rois, batch], output_height=2, output_width=2
    )
    found = the_node(same(proto, [array(1, 1, 4, 4)], ONLY).graph, "RoiAlign")
    assert found.attribute("coordinate_transformation_mode") == "output_half_pixel"


@pytest.mark.parametrize(
    ("op", "count", "into"),
    [
        ("Sum", 1, "Identity"),
        ("Sum", 2, "Add"),
        ("Sum", 3, "Sum"),
        ("Max", 1, "Identity"),
        ("Max", 2, "Max"),
        ("Mean", 1, "Identity"),
    ],
)
def test_variadic_operators_of_one_or_two(op, count, into):
    proto = old(op, 13, (2, 3), [array(2, 3) for _ in range(count - 1)])
    assert operators(same(proto, [array(2, 3)], ONLY).graph) == {into: 1}


def test_cast_like_a_known_type_is_cast():
    proto = model(
        [node("CastLike", ["x", "like"], ["y"])],
        {"x": (FLOAT, [2]), "like": (DOUBLE, [None])},
        {"y": (DOUBLE, [2])},
        opset=15,
    )
    cast = the_node(same(proto, [array(2), np.zeros(1)], ONLY).graph, "Cast")
    assert cast.attribute("to") == DOUBLE
    assert len(cast.inputs) == 1


def test_unknown_axes_leave_the_node_alone():
    """Tile of opset 1 with a computed axis cannot be said otherwise."""
    proto = model(
        [node("Tile", ["x", "n", "axis"], ["y"])],
        {"x": (FLOAT, [2, 3]), "n": (FLOAT, []), "axis": (FLOAT, [])},
        {"y": (FLOAT, None)},
        opset=5,
    )
    assert the_node(simplified(proto, ONLY).graph, "Tile").version == 5


def test_nodes_of_bodies_are_modernized_too():
    branch = onnx.helper.make_graph(
        [node("Squeeze", ["x"], ["b"], axes=[0])],
        "branch",
        [],
        [onnx.helper.make_tensor_value_info("b", FLOAT, [3])],
    )
    proto = model(
        [node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)],
        {"x": (FLOAT, [1, 3]), "c": (BOOL, [])},
        {"y": (FLOAT, [3])},
        opset=11,
    )
    found = same(proto, [array(1, 3), np.array(True)], ONLY)
    versions = {n.version for g in found.graph.all_graphs() for n in g}
    assert versions == {newest()}
