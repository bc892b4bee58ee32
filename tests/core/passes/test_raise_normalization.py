"""LayerNormalization, RMSNormalization and GroupNormalization from their parts."""

from __future__ import annotations

import numpy as np
import pytest
from models import FLOAT, model, node
from onnx import TensorProto
from simplified import operators, same, simplified

HALF, DOUBLE = TensorProto.FLOAT16, TensorProto.DOUBLE
RNG = np.random.default_rng(0)


def array(*shape, dtype=np.float32) -> np.ndarray:
    """Return random numbers."""
    return RNG.standard_normal(shape).astype(dtype)


def written(nodes, shape, results=("y",), opset=18, kind=FLOAT, **constants):
    """Return a model of x."""
    return model(
        nodes,
        {"x": (kind, list(shape))},
        dict.fromkeys(results, (kind, None)),
        constants,
        opset=opset,
    )


SHAPE = ("batch", "seq", 8)
X = array(2, 3, 8)
NORM = {
    "scale": array(8), "bias": array(8), "eps": np.float32(1e-5),
    "two": np.float32(2), "one": np.float32(1), "half": np.float32(0.5),
    "minus": np.float32(-0.5), "axes": np.array([-1]),
}  # fmt: skip


def mean(source, result, opset, axes=(-1,), keepdims=1):
    """Return a ReduceMean of the opset's spelling."""
    if opset < 18:
        return node(
            "ReduceMean", [source], [result], axes=list(axes), keepdims=keepdims
        )
    return node("ReduceMean", [source, "axes"], [result], keepdims=keepdims)


def layer_norm(opset=18, square="Pow", over="Div", affine=2, one_sub=True, **mean_of):
    """Return the nodes of a layer normalization."""
    d2 = "d" if one_sub else "e"
    nodes = [mean("x", "m", opset, **mean_of), node("Sub", ["x", "m"], ["d"])]
    if not one_sub:
        nodes.append(node("Sub", ["x", "m"], ["e"]))
    nodes += [
        node("Pow", ["d", "two"], ["q"])
        if square == "Pow"
        else node("Mul", ["d", "d"], ["q"]),
        mean("q", "v", opset, **mean_of),
        node("Add", ["v", "eps"], ["w"]),
    ]
    return [*nodes, *_over(over, d2), *_affine(affine)]


def rms_norm(opset=18, square="Pow", over="Reciprocal", affine=1, **mean_of):
    """Return the nodes of a root mean square normalization."""
    return [
        node("Pow", ["x", "two"], ["q"])
        if square == "Pow"
        else node("Mul", ["x", "x"], ["q"]),
        mean("q", "v", opset, **mean_of),
        node("Add", ["v", "eps"], ["w"]),
        *_over(over, "x"),
        *_affine(affine),
    ]


def _over(over, d):
    if over == "Pow":
        return [node("Pow", ["w", "minus"], ["r"]), node("Mul", [d, "r"], ["n"])]
    root = [node("Sqrt", ["w"], ["s"])]
    if over == "half":
        root = [node("Pow", ["w", "half"], ["s"])]
    if over in ("Div", "half"):
        return [*root, node("Div", [d, "s"], ["n"])]
    inverse = (
        node("Reciprocal", ["s"], ["r"])
        if over == "Reciprocal"
        else node("Div", ["one", "s"], ["r"])
    )
    return [*root, inverse, node("Mul", [d, "r"], ["n"])]


def _affine(count):
    names = ["n", "a", "y"] if count == 2 else ["n", "y"]
    nodes = []
    if count:
        nodes.append(node("Mul", ["scale", names[0]], [names[1]]))
    if count == 2:
        nodes.append(node("Add", ["a", "bias"], ["y"]))
    if not count:
        nodes.append(node("Identity", ["n"], ["y"]))
    return nodes


def used(nodes, **changes):
    """Return the constants that nodes read."""
    names = {name for item in nodes for name in item.input}
    return {k: v for k, v in {**NORM, **changes}.items() if k in names}


def raised(nodes, op, shape=SHAPE, feeds=None, opset=18, **changes):
    """See that nodes become one operator; return it."""
    proto = written(nodes, shape, opset=opset, **used(nodes, **changes))
    graph = same(proto, feeds or [X], tolerance=1e-5).graph
    (found,) = [n for n in graph if n.op_type != "Identity"]
    assert found.op_type == op
    return found


def unraised(nodes, op, shape=SHAPE, feeds=None, opset=18, **changes):
    """See that nodes do not become an operator."""
    proto = written(nodes, shape, opset=opset, **used(nodes, **changes))
    assert op not in operators(same(proto, feeds or [X], tolerance=1e-5).graph)


@pytest.mark.parametrize("opset", [11, 14, 18])
@pytest.mark.parametrize("square", ["Pow", "Mul"])
@pytest.mark.parametrize("over", ["Div", "Reciprocal", "by one", "Pow", "half"])
@pytest.mark.parametrize("one_sub", [True, False])
def test_layer_normalization(opset, square, over, one_sub):
    found = raised(
        layer_norm(opset, square, over, one_sub=one_sub),
        "LayerNormalization",
        opset=opset,
    )
    assert found.attribute("axis") == -1
    assert found.attribute("epsilon") == pytest.approx(1e-5)
    assert [value.name for value in found.inputs] == ["x", "scale", "bias"]


@pytest.mark.parametrize("affine", [0, 1])
def test_layer_normalization_with_less(affine):
    found = raised(layer_norm(affine=affine), "LayerNormalization")
    assert len(found.inputs) == 2
    if not affine:
        assert found.inputs[1].constant().tolist() == [1] * 8


def test_over_the_last_two_dims():
    found = raised(
        layer_norm(),
        "LayerNormalization",
        ("batch", 3, 8),
        axes=np.array([-1, 1]),
        scale=array(3, 8),
        bias=array(3, 8),
    )
    assert found.attribute("axis") == -2


def test_weights_with_dims_of_one_in_front():
    found = raised(
        layer_norm(), "LayerNormalization", scale=array(1, 1, 8), bias=array(1, 8)
    )
    assert [value.shape for value in found.inputs[1:]] == [(8,), (8,)]


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": np.array([1])},
        {"axes": np.array([0, 2])},
        {"eps": np.full(8, 1e-5, np.float32)},
        {"two": np.float32(3)},
    ],
    ids=["axis", "axes with a gap", "vector of eps", "cube"],
)
def test_what_is_no_layer_normalization(changes):
    unraised(layer_norm(affine=1), "LayerNormalization", **changes)


def test_two_means_over_different_axes():
    nodes = layer_norm()
    nodes[0] = node("ReduceMean", ["x", "other"], ["m"], keepdims=1)
    unraised(nodes, "LayerNormalization", other=np.array([1]))


def test_means_that_drop_dims():
    nodes = layer_norm()
    nodes[0] = node("ReduceMean", ["x", "axes"], ["m"], keepdims=0)
    unraised(nodes, "LayerNormalization", (8, 8), [array(8, 8)])


def test_an_addend_that_is_no_bias_stays_outside():
    """norm(x) * scale + x: a residual, of more dims than a bias."""
    nodes = layer_norm(affine=1)
    nodes[-1] = node("Mul", ["scale", "n"], ["a"])
    nodes.append(node("Add", ["a", "x"], ["y"]))
    proto = written(nodes, SHAPE, **used(nodes))
    counted = operators(same(proto, [X], tolerance=1e-5).graph)
    assert counted == {"LayerNormalization": 1, "Add": 1}


@pytest.mark.parametrize("scale", [np.float32(2), array(3, 1), array(3, 8)])
@pytest.mark.parametrize("nodes", [layer_norm(affine=1), rms_norm()])
def test_a_scale_that_is_not_of_the_normalized_dims_stays_outside(nodes, scale):
    proto = written(nodes, SHAPE, **used(nodes, scale=scale))
    counted = operators(same(proto, [X], tolerance=1e-5).graph)
    assert counted["Mul"] == 1
    assert counted["LayerNormalization"] + counted["RMSNormalization"] == 1


@pytest.mark.parametrize("read", ["m", "d", "v", "s"])
def test_a_part_that_is_an_output(read):
    nodes = layer_norm()
    proto = written(nodes, SHAPE, ("y", read), **used(nodes))
    found = operators(same(proto, [X], tolerance=1e-5).graph)
    assert "LayerNormalization" not in found


def test_double_precision_stays():
    nodes = layer_norm()
    constants = {
        k: v if k == "axes" else v.astype(np.float64) for k, v in used(nodes).items()
    }
    proto = written(nodes, SHAPE, kind=DOUBLE, **constants)
    found = operators(same(proto, [X.astype(np.float64)], tolerance=1e-12).graph)
    assert not found.keys() & {"LayerNormalization", "RMSNormalization"}


def test_unknown_rank_stays():
    nodes = layer_norm()
    proto = written(nodes, SHAPE, **used(nodes))
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    assert "LayerNormalization" not in operators(simplified(proto).graph)


def halves(nodes):
    """Let nodes normalize in float32 what is float16, and scale it in float16."""
    for item in nodes:
        for index, name in enumerate(item.input):
            if name == "x":
                item.input[index] = "x32"
            elif name == "n":
                item.input[index] = "n16"
    first = node("Cast", ["x"], ["x32"], to=FLOAT)
    place = next(i for i, item in enumerate(nodes) if "n" in item.output)
    back = node("Cast", ["n"], ["n16"], to=HALF)
    return [first, *nodes[: place + 1], back, *nodes[place + 1 :]]


@pytest.mark.parametrize(
    ("nodes", "op"),
    [
        (layer_norm(), "LayerNormalization"),
        (rms_norm(), "RMSNormalization"),
        (rms_norm(over="by one", square="Mul"), "RMSNormalization"),
    ],
)
def test_half_precision_computed_in_float(nodes, op):
    nodes = halves(nodes)
    constants = used(nodes)
    for name in ("scale", "bias"):
        if name in constants:
            constants[name] = constants[name].astype(np.float16)
    proto = written(nodes, SHAPE, kind=HALF, **constants)
    (found,) = same(proto, [X.astype(np.float16)], tolerance=1e-3).graph
    assert found.op_type == op
    assert found.inputs[0].name == "x"


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("square", ["Pow", "Mul"])
@pytest.mark.parametrize("over", ["Div", "Reciprocal", "by one", "Pow"])
def test_rms_normalization(opset, square, over):
    found = raised(rms_norm(opset, square, over), "RMSNormalization", opset=opset)
    assert found.attribute("axis") == -1
    assert found.attribute("epsilon") == pytest.approx(1e-5)
    assert [value.name for value in found.inputs] == ["x", "scale"]


def test_rms_normalization_without_scale():
    found = raised(rms_norm(affine=0), "RMSNormalization")
    assert found.inputs[1].constant().tolist() == [1] * 8


def test_a_computed_scale():
    """Gemma adds 1 to its weights."""
    nodes = rms_norm()
    constants = {name: value for name, value in used(nodes).items() if name != "scale"}
    proto = written(
        [node("Add", ["unit", "weight"], ["scale"]), *nodes],
        SHAPE,
        weight=array(8),
        unit=np.float32(1),
        **constants,
    )
    assert operators(same(proto, [X], tolerance=1e-5).graph) == {"RMSNormalization": 1}


@pytest.mark.parametrize(
    "changes",
    [{"axes": np.array([1])}, {"two": np.float32(3)}],
    ids=["axis", "cube"],
)
def test_what_is_no_rms_normalization(changes):
    unraised(rms_norm(), "RMSNormalization", **changes)


def group_norm(target=("shape",), affine=True):
    """Return torch's group normalization of (batch, 8, height, width) in 4 groups."""
    nodes = [
        node("Reshape", ["x", "split"], ["r"]),
        node("InstanceNormalization", ["r", "ones", "zeros"], ["i"], epsilon=1e-5),
        node("Shape", ["x"], ["shape"]),
        node("Reshape", ["i", *target], ["j"]),
    ]
    if not affine:
        return [*nodes, node("Identity", ["j"], ["y"])]
    return [
        *nodes,
        node("Mul", ["j", "scale"], ["m"]),
        node("Add", ["m", "bias"], ["y"]),
    ]


GROUP = {
    "split": np.array([0, 4, -1]), "ones": np.ones(4, np.float32),
    "zeros": np.zeros(4, np.float32), "scale": array(8, 1, 1), "bias": array(8, 1, 1),
}  # fmt: skip
IMAGE = ("batch", 8, "height", "width")
PIXELS = array(2, 8, 5, 3)


def groups(nodes, shape=IMAGE, feed=PIXELS, **changes):
    """Return the operators of a simplified group normalization."""
    names = {name for item in nodes for name in item.input}
    constants = {k: v for k, v in {**GROUP, **changes}.items() if k in names}
    return same(written(nodes, shape, **constants), [feed], tolerance=1e-4).graph


def test_group_normalization():
    (found,) = groups(group_norm())
    assert found.op_type == "GroupNormalization"
    assert found.attribute("num_groups") == 4
    assert [value.shape for value in found.inputs[1:]] == [(8,), (8,)]


def test_group_normalization_without_weights():
    found = [n for n in groups(group_norm(affine=False)) if n.op_type != "Identity"]
    assert [n.op_type for n in found] == ["GroupNormalization"]
    assert found[0].inputs[1].constant().tolist() == [1] * 8
    assert found[0].inputs[2].constant().tolist() == [0] * 8


def test_weights_with_a_batch_of_one():
    (found,) = groups(group_norm(), scale=array(1, 8, 1, 1))
    assert found.op_type == "GroupNormalization"


def test_signals_of_one_dim():
    (found,) = groups(
        group_norm(),
        ("batch", 8, "length"),
        array(2, 8, 5),
        scale=array(8, 1),
        bias=array(8, 1),
    )
    assert found.op_type == "GroupNormalization"


@pytest.mark.parametrize(
    "changes",
    [
        {"ones": np.float32([1, 2, 1, 1])},
        {"zeros": np.float32([0, 0, 1, 0])},
    ],
    ids=["scaled", "shifted"],
)
def test_what_is_no_group_normalization(changes):
    assert "GroupNormalization" not in {
        n.op_type for n in groups(group_norm(), **changes)
    }


@pytest.mark.parametrize("shape", [(1,), (8, 5, 1)])
def test_scale_and_bias_that_are_not_per_channel_stay_outside(shape):
    graph = groups(group_norm(), scale=array(*shape), bias=array(*shape))
    assert operators(graph) == {"GroupNormalization": 1, "Mul": 1, "Add": 1}


def test_joining_to_another_shape_stays():
    nodes = group_norm(("flat",), affine=False)
    graph = groups(nodes, flat=np.array([0, 2, -1]))
    assert "GroupNormalization" not in operators(graph)
