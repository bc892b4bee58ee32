"""Shape arithmetic becomes constants, or is made once."""

from __future__ import annotations

import numpy as np
import pytest
from models import BOOL, FLOAT, INT64, model, node
from simplified import check, operators, outputs, same, simplified

RNG = np.random.default_rng(0)
BASIC = ("shapes", "constants", "deadcode")


def array(*shape) -> np.ndarray:
    """Return random numbers."""
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values) -> np.ndarray:
    """Return a vector of integers."""
    return np.array(values, np.int64)


def chain(*nodes, shape=("batch", "seq", 768), result=None, **constants):
    """Return a model of x with integer constants."""
    return model(
        list(nodes),
        {"x": (FLOAT, list(shape))},
        {"y": (FLOAT, result)},
        constants,
        opset=18,
    )


def test_a_known_dim_is_a_constant_though_others_are_open():
    proto = model(
        [node("Shape", ["x"], ["s"]), node("Gather", ["s", "i"], ["y"])],
        {"x": (FLOAT, ["batch", 768])},
        {"y": (INT64, [])},
        {"i": np.array(1)},
    )
    graph = same(proto, [array(2, 768)]).graph
    assert operators(graph) == {"Identity": 1}
    assert graph.outputs[0].producer.inputs[0].constant() == 768


def test_split_heads_needs_no_arithmetic():
    """The TorchScript exporter's view(batch, sequence, heads, size)."""
    nodes = []
    for axis in (0, 1):
        nodes += [
            node("Shape", ["x"], [f"s{axis}"]),
            node("Gather", [f"s{axis}", f"i{axis}"], [f"g{axis}"], axis=0),
            node("Unsqueeze", [f"g{axis}", "zero"], [f"u{axis}"]),
        ]
    nodes += [
        node("Concat", ["u0", "u1", "heads", "size"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
    ]
    proto = chain(
        *nodes,
        result=["batch", "seq", 12, 64],
        i0=np.array(0),
        i1=np.array(1),
        zero=ints(0),
        heads=ints(12),
        size=ints(64),
    )
    graph = same(proto, [array(2, 3, 768)], BASIC).graph
    (reshape,) = graph
    assert reshape.inputs[1].constant().tolist() == [0, 0, 12, 64]
    assert graph.outputs[0].shape == ("batch", "seq", 12, 64)


def test_a_minus_one_of_the_model_is_resolved():
    proto = chain(
        node("Shape", ["x"], ["b"], end=1),
        node("Concat", ["b", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["h"]),
        node("Transpose", ["h"], ["y"], perm=[0, 2, 1, 3]),
        result=["batch", None, None, None],
        rest=ints(-1, 12, 64),
    )
    model_ = same(proto, [array(2, 3, 768)], BASIC)
    reshape = next(iter(model_.graph))
    assert reshape.inputs[1].constant().tolist() == [0, 0, 12, 64]
    assert reshape.outputs[0].shape == ("batch", "seq", 12, 64)


def test_merging_two_open_dims_stays_computed_where_a_batch_may_be_empty():
    """[batch, 4, seq, 8] → [batch, 4 * seq, 8]: -1 would be wrong for an empty batch."""
    proto = model(
        [
            node("Shape", ["x"], ["b"], end=1),
            node("Shape", ["x"], ["s"], start=2, end=3),
            node("Mul", ["s", "four"], ["m"]),
            node("Concat", ["b", "m", "eight"], ["target"], axis=0),
            node("Reshape", ["x", "target"], ["y"]),
        ],
        {"x": (FLOAT, ["batch", 4, "seq", 8])},
        {"y": (FLOAT, ["batch", None, 8])},
        {"four": ints(4), "eight": ints(8)},
    )
    for batch in (2, 0):
        found = same(proto, [array(batch, 4, 3, 8)])
        assert operators(found.graph)["Concat"] == 1


def test_the_one_open_dim_that_is_left_is_minus_one():
    proto = model(
        [
            node("Shape", ["x"], ["b"], end=1),
            node("Mul", ["b", "four"], ["m"]),
            node("Concat", ["m", "eight"], ["target"], axis=0),
            node("Reshape", ["x", "target"], ["y"]),
        ],
        {"x": (FLOAT, ["batch", 4, 8])},
        {"y": (FLOAT, [None, 8])},
        {"four": ints(4), "eight": ints(8)},
    )
    for batch in (2, 0):
        (reshape,) = same(proto, [array(batch, 4, 8)]).graph
        assert reshape.inputs[1].constant().tolist() == [-1, 8]


def test_a_dim_that_is_not_the_inputs_own_is_not_copied():
    proto = model(
        [
            node("Shape", ["z"], ["b"], end=1),
            node("Concat", ["b", "eight"], ["target"], axis=0),
            node("Expand", ["x", "target"], ["e"]),
            node("Reshape", ["x", "target"], ["y"]),
        ],
        {"x": (FLOAT, ["batch", 8]), "z": (FLOAT, ["other", 8])},
        {"y": (FLOAT, [None, 8]), "e": (FLOAT, [None, 8])},
        {"eight": ints(8)},
    )
    (fixed,) = [n for n in simplified(proto).graph if n.op_type == "Reshape"]
    assert fixed.inputs[1].constant().tolist() == [-1, 8]


@pytest.mark.parametrize("how", ["Gather", "Slice", "Shape"])
def test_the_same_dim_taken_twice_is_taken_once(how):
    nodes = [node("Relu", ["x"], ["r"])]
    for index, source in enumerate(("x", "r")):
        if how == "Shape":
            nodes.append(node("Shape", [source], [f"u{index}"], start=1, end=2))
        else:
            nodes.append(node("Shape", [source], [f"s{index}"]))
        if how == "Gather":
            nodes.append(node("Gather", [f"s{index}", "one"], [f"u{index}"]))
        elif how == "Slice":
            nodes.append(node("Slice", [f"s{index}", "one", "two"], [f"u{index}"]))
    nodes += [
        node("Add", ["u0", "u1"], ["y"]),
    ]
    proto = model(
        nodes,
        {"x": (FLOAT, ["batch", "seq"])},
        {"y": (INT64, [1])},
        {"one": ints(1), "two": ints(2)},
    )
    graph = same(proto, [array(2, 5)]).graph
    assert operators(graph)["Shape"] == 1
    assert operators(graph)["Add"] == 1


def test_the_expand_idiom_of_torch():
    """Where(shape == -1, 1, shape), which nothing tells from the shape itself."""
    proto = chain(
        node("Shape", ["x"], ["b"], end=1),
        node("Concat", ["b", "one", "rest"], ["target"], axis=0),
        node("Shape", ["target"], ["n"]),
        node("ConstantOfShape", ["n"], ["ones"], value=_tensor(1)),
        node("Mul", ["ones", "minus"], ["minuses"]),
        node("Equal", ["target", "minuses"], ["open"]),
        node("Where", ["open", "ones", "target"], ["shape"]),
        node("Expand", ["x", "shape"], ["y"]),
        shape=("batch", 1, 8),
        result=["batch", 1, 8],
        one=ints(1),
        rest=ints(8),
        minus=np.array(-1),
    )
    graph = same(proto, [array(3, 1, 8)]).graph
    assert operators(graph) == {"Identity": 1}


def _tensor(value):
    import onnx

    return onnx.numpy_helper.from_array(ints(value))


def test_division_and_casts_of_dims():
    """x[..., : x.shape[-1] // 2], as rotate_half has it."""
    proto = chain(
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "two"], ["g"]),
        node("Div", ["g", "two"], ["d"]),
        node("Cast", ["d"], ["c"], to=INT64),
        node("Unsqueeze", ["c", "zero"], ["end"]),
        node("Slice", ["x", "zero", "end", "axis"], ["y"]),
        result=["batch", "seq", 384],
        two=np.array(2),
        zero=ints(0),
        axis=ints(2),
    )
    graph = same(proto, [array(2, 3, 768)]).graph
    assert operators(graph) == {"Slice": 1}
    assert next(iter(graph)).inputs[2].constant().tolist() == [384]


def test_transposing_by_reshapes():
    """The dynamo exporter's transpose of the keys."""
    proto = model(
        [
            node("Shape", ["k"], ["s"]),
            node("Slice", ["s", "m1", "big"], ["d"]),
            node("Slice", ["s", "m2", "m1"], ["n"]),
            node("Slice", ["s", "small", "m2"], ["head"]),
            node("Concat", ["m1", "n", "d"], ["flat"], axis=0),
            node("Reshape", ["k", "flat"], ["r"]),
            node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
            node("Concat", ["head", "d", "n"], ["back"], axis=0),
            node("Reshape", ["t", "back"], ["y"]),
        ],
        {"k": (FLOAT, ["batch", 4, "seq", 8])},
        {"y": (FLOAT, ["batch", 4, 8, "seq"])},
        {
            "m1": ints(-1),
            "m2": ints(-2),
            "big": ints(2**63 - 1),
            "small": ints(-(2**63)),
        },
        opset=18,
    )
    (transpose,) = same(proto, [array(2, 4, 3, 8)]).graph
    assert transpose.op_type == "Transpose"
    assert transpose.attribute("perm") == (0, 1, 3, 2)
    assert len(transpose.origins) == 3


@pytest.mark.parametrize(
    ("shape", "target", "op_type"),
    [
        (("batch", "seq"), ("batch", 1, 1, "seq"), "Unsqueeze"),
        (("batch", 1, "seq"), ("batch", "seq"), "Squeeze"),
    ],
)
def test_a_reshape_that_only_adds_or_drops_ones(shape, target, op_type):
    parts, nodes = [], []
    for index, dim in enumerate(target):
        if dim == 1:
            parts.append("one")
        else:
            at = shape.index(dim)
            parts.append(f"p{index}")
            nodes.append(node("Shape", ["x"], [f"p{index}"], start=at, end=at + 1))
    nodes += [
        node("Concat", parts, ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
    ]
    proto = model(
        nodes,
        {"x": (FLOAT, list(shape))},
        {"y": (FLOAT, list(target))},
        {"one": ints(1)},
    )
    sizes = {"batch": 0, "seq": 3, 1: 1}
    (found,) = same(proto, [array(*(sizes[dim] for dim in shape))]).graph
    assert found.op_type == op_type


def test_lengths_of_positions_follow_from_past_and_input():
    """Range(past, past + seq) has seq elements, whatever the past."""
    proto = model(
        [
            node("Shape", ["past"], ["p1"], start=1, end=2),
            node("Shape", ["x"], ["s1"], start=1, end=2),
            node("Squeeze", ["p1"], ["p"]),
            node("Squeeze", ["s1"], ["s"]),
            node("Add", ["p", "s"], ["total"]),
            node("Range", ["p", "total", "one"], ["positions"]),
            node("Cast", ["positions"], ["f"], to=FLOAT),
            node("Add", ["x", "f"], ["y"]),
        ],
        {"x": (FLOAT, ["batch", "seq"]), "past": (FLOAT, ["batch", "past"])},
        {"y": (FLOAT, ["batch", "seq"])},
        {"one": np.array(1)},
    )
    found = same(proto, [array(2, 3), array(2, 4)])
    (positions,) = [n for n in found.graph if n.op_type == "Range"]
    assert positions.outputs[0].shape == ("seq",)


def test_public_shapes_are_kept_as_declared():
    proto = model(
        [node("Concat", ["past", "x"], ["y"], axis=1)],
        {"x": (FLOAT, ["batch", "seq"]), "past": (FLOAT, ["batch", "past"])},
        {"y": (FLOAT, ["batch", "total"])},
    )
    assert simplified(proto).graph.outputs[0].shape == ("batch", "total")


def test_declared_shapes_of_the_wrong_rank_are_not_believed():
    """The dynamo exporter, unoptimised, declares vectors of one element as scalars."""
    import onnx

    proto = chain(
        node("Shape", ["x"], ["b"], end=1),
        node("Concat", ["b", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
        shape=("batch", 8),
        result=["batch", 2, 4],
        rest=ints(2, 4),
    )
    proto.graph.value_info.append(
        onnx.helper.make_tensor_value_info("b", onnx.TensorProto.INT64, [])
    )
    (reshape,) = same(proto, [array(3, 8)]).graph
    assert reshape.inputs[1].constant().tolist() == [0, 2, 4]


def test_symbols_of_a_body_are_not_those_outside():
    """In a Loop the carried value's dim grows, whatever its declared name says."""
    import onnx

    body = onnx.helper.make_graph(
        [
            node("Concat", ["carried", "x"], ["longer"], axis=0),
            node("Shape", ["carried"], ["n"]),
            node("Shape", ["x"], ["m"]),
            node("Sub", ["n", "m"], ["d"]),
            node("Identity", ["going"], ["still"]),
        ],
        "body",
        [
            onnx.helper.make_tensor_value_info("i", INT64, []),
            onnx.helper.make_tensor_value_info("going", BOOL, []),
            onnx.helper.make_tensor_value_info("carried", FLOAT, ["seq"]),
        ],
        [
            onnx.helper.make_tensor_value_info("still", BOOL, []),
            onnx.helper.make_tensor_value_info("longer", FLOAT, None),
            onnx.helper.make_tensor_value_info("d", INT64, [1]),
        ],
    )
    proto = model(
        [node("Loop", ["count", "yes", "x"], ["y", "differences"], body=body)],
        {"x": (FLOAT, ["seq"])},
        {"y": (FLOAT, [None]), "differences": (INT64, [None, 1])},
        {"count": np.array(3), "yes": np.array(True)},
    )
    found = simplified(proto)
    check(found)
    _, differences = outputs(found, [array(4)])
    assert differences.reshape(-1).tolist() == [0, 4, 8]
