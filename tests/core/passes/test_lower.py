"""An operator's standard body, ready to take its place."""

from __future__ import annotations

import numpy as np
import pytest
from models import BOOL, FLOAT, model, node
from onnx import TensorProto, helper
from runtime.passes.lower import lowered
from simplified import check, evaluate, loaded, operators, outputs

RNG = np.random.default_rng(0)


def array(*shape) -> np.ndarray:
    """Return random numbers."""
    return RNG.standard_normal(shape).astype(np.float32)


def one(op, inputs, shape=None, opset=25, results=("y",), dynamic=False, **attributes):
    """Return a model of one node; each first dim is a symbol where ``dynamic``."""
    names = [f"x{i}" if item is not None else "" for i, item in enumerate(inputs)]
    kinds = {}
    for name, item in zip(names, inputs, strict=True):
        if item is not None:
            dims = list(item.shape)
            if dynamic and dims:
                dims[0] = "n" if item.shape[0] == inputs[0].shape[0] else dims[0]
            kinds[name] = (helper.np_dtype_to_tensor_dtype(item.dtype), dims)
    rank = shape if shape is not None else [None] * inputs[0].ndim
    first = (kinds["x0"][0], rank)
    made = node(op, names, list(results), "the node", **attributes)
    return model([made], kinds, {"y": first}, opset=opset)


CASES = {
    "Gelu": ("Gelu", [array(2, 3)], {}),
    "Gelu by tanh": ("Gelu", [array(2, 3)], {"approximate": "tanh"}),
    "LayerNormalization": (
        "LayerNormalization",
        [array(2, 5, 8), array(8), array(8)],
        {},
    ),
    "RMSNormalization": ("RMSNormalization", [array(2, 5, 8), array(8)], {"axis": 2}),
    "GroupNormalization": (
        "GroupNormalization",
        [array(2, 4, 5, 5), array(4), array(4)],
        {"num_groups": 2},
    ),
    "Swish": ("Swish", [array(2, 3)], {"alpha": 1.5}),
    "Attention": (
        "Attention",
        [array(2, 4, 5, 8), array(2, 4, 6, 8), array(2, 4, 6, 8), array(2, 1, 5, 6)],
        {"scale": 0.3},
    ),
    "Attention of groups": (
        "Attention",
        [array(2, 4, 5, 8), array(2, 2, 6, 8), array(2, 2, 6, 8)],
        {},
    ),
    "Attention, causal": (
        "Attention",
        [array(2, 4, 5, 8), array(2, 4, 5, 8), array(2, 4, 5, 8)],
        {"is_causal": 1},
    ),
    "RotaryEmbedding": (
        "RotaryEmbedding",
        [array(2, 4, 5, 8), array(2, 5, 4), array(2, 5, 4)],
        {},
    ),
    "Softmax": ("Softmax", [array(2, 3)], {"axis": 0}),
    "HardSwish": ("HardSwish", [array(2, 3)], {}),
    "Celu": ("Celu", [array(2, 3)], {"alpha": 2.0}),
    "PRelu": ("PRelu", [array(2, 3), array(3)], {}),
    "Clip": ("Clip", [array(2, 3), np.float32(-0.5), np.float32(0.5)], {}),
    "LeakyRelu": ("LeakyRelu", [array(2, 3)], {}),
    "LeakyRelu, steep": ("LeakyRelu", [array(2, 3)], {"alpha": 0.5}),
    "MeanVarianceNormalization": ("MeanVarianceNormalization", [array(2, 3, 4, 4)], {}),
}


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_body_computes_the_same(case, dynamic):
    op, inputs, attributes = CASES[case]
    found = loaded(one(op, inputs, dynamic=dynamic, **attributes))
    expected = outputs(found, inputs)
    body = lowered(next(iter(found.graph)), evaluate)
    for inner in body.nodes:
        assert inner.graph is None
        assert inner.origins == ("the node",)
        for value in inner.outputs:
            assert value.type is not None
    body.apply()
    check(found)
    assert op not in operators(found.graph)
    assert found.graph.outputs[0].name == "y"
    np.testing.assert_allclose(outputs(found, inputs)[0], expected[0], 1e-4, 1e-5)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("Gelu", {"Div", "Erf", "Add", "Mul"}),
        ("Swish", {"Sigmoid", "Mul"}),
        ("RMSNormalization", {"Mul", "ReduceMean", "Add", "Sqrt", "Div"}),
        ("Softmax", {"ReduceMax", "Sub", "Exp", "ReduceSum", "Div"}),
    ],
)
def test_a_body_is_made_of_few_words(case, words):
    op, inputs, attributes = CASES[case]
    found = loaded(one(op, inputs, dynamic=True, **attributes))
    body = lowered(next(iter(found.graph)), evaluate)
    assert {inner.op_type for inner in body.nodes} == words


def test_without_somebody_to_compute_constants_stay_computed():
    op, inputs, _ = CASES["Gelu"]
    found = loaded(one(op, inputs))
    body = lowered(next(iter(found.graph)))
    assert "Sqrt" in {inner.op_type for inner in body.nodes}
    body.apply()
    check(found)


def test_a_discarded_body_leaves_no_trace():
    op, inputs, attributes = CASES["LayerNormalization"]
    found = loaded(one(op, inputs, **attributes))
    (norm,) = found.graph
    before = [value.uses for value in norm.inputs]
    body = lowered(norm, evaluate)
    assert [value.uses for value in norm.inputs] != before
    body.discard()
    assert [value.uses for value in norm.inputs] == before
    assert list(found.graph) == [norm]
    assert not found.graph.initializers
    check(found)


def test_only_the_outputs_that_are_read():
    x = array(2, 5, 8)
    made = node("LayerNormalization", ["x", "s"], ["y", "mean", "spread"], "norm")
    proto = model(
        [made],
        {"x": (FLOAT, [2, 5, 8]), "s": (FLOAT, [8])},
        {"y": (FLOAT, [2, 5, 8]), "spread": (FLOAT, [2, 5, 1])},
    )
    found = loaded(proto)
    inputs = [x, array(8)]
    expected = outputs(found, inputs)
    body = lowered(next(iter(found.graph)), evaluate)
    assert [value is None for value in body.outputs] == [False, True, False]
    body.apply()
    check(found)
    assert [value.name for value in found.graph.outputs] == ["y", "spread"]
    for mine, theirs in zip(outputs(found, inputs), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, 1e-4, 1e-5)


def test_two_bodies_side_by_side():
    proto = model(
        [node("Gelu", ["x"], ["a"], "gelu"), node("Gelu", ["a"], ["y"], "gelu")],
        {"x": (FLOAT, [2, 3])},
        {"y": (FLOAT, [2, 3])},
        opset=20,
    )
    found = loaded(proto)
    x = array(2, 3)
    expected = outputs(found, [x])
    for gelu in list(found.graph):
        lowered(gelu, evaluate).apply()
    check(found)
    names = [v.name for n in found.graph for v in n.outputs]
    assert len(set(names)) == len(names) == 10
    np.testing.assert_allclose(outputs(found, [x])[0], expected[0], 1e-5, 1e-6)


def test_weights_in_another_shape_are_not_copied():
    proto = model(
        [node("LayerNormalization", ["x", "s"], ["y"], "norm")],
        {"x": (FLOAT, ["n", 8])},
        {"y": (FLOAT, ["n", 8])},
        {"s": array(8)},
    )
    found = loaded(proto)
    scale = found.graph.initializers["s"].constant()
    lowered(next(iter(found.graph)), evaluate).apply()
    check(found)
    assert "s" not in found.graph.initializers
    others = [value.constant() for value in found.graph.initializers.values()]
    assert any(np.shares_memory(scale, other) for other in others)


def test_a_node_inside_a_body():
    def branch(name, op):
        result = helper.make_tensor_value_info(name, FLOAT, ["n"])
        return helper.make_graph([node(op, ["x"], [name], op)], name, [], [result])

    proto = model(
        [
            node(
                "If",
                ["c"],
                ["y"],
                then_branch=branch("a", "Gelu"),
                else_branch=branch("b", "Neg"),
            )
        ],
        {"x": (FLOAT, ["n"]), "c": (BOOL, [])},
        {"y": (FLOAT, ["n"])},
        opset=20,
    )
    found = loaded(proto)
    (gelu,) = [n for g in found.graph.all_graphs() for n in g if n.op_type == "Gelu"]
    inputs = [array(3), np.array(True)]
    expected = outputs(found, inputs)
    lowered(gelu, evaluate).apply()
    check(found)
    np.testing.assert_allclose(outputs(found, inputs)[0], expected[0], 1e-5, 1e-6)


@pytest.mark.parametrize("op", ["MatMul", "Conv", "Gather"])
def test_operators_without_a_body(op):
    found = loaded(
        one(op, [array(2, 2, 2), array(2, 2, 2)]) if op != "Gather" else _gather()
    )
    assert lowered(next(iter(found.graph)), evaluate) is None


def _gather():
    return model(
        [node("Gather", ["x", "i"], ["y"])],
        {"x": (FLOAT, [2]), "i": (TensorProto.INT64, [1])},
        {"y": (FLOAT, [1])},
    )


def test_an_operator_of_an_unknown_domain():
    proto = model(
        [node("Gelu", ["x"], ["y"], domain="com.example")],
        {"x": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
        domains={"com.example": 1},
    )
    assert lowered(next(iter(loaded(proto).graph)), evaluate) is None


def test_inputs_of_unknown_type():
    op, inputs, _ = CASES["Gelu"]
    found = loaded(one(op, inputs))
    found.graph.inputs[0].type = None
    assert lowered(next(iter(found.graph)), evaluate) is None


def test_an_operator_before_it_had_a_body():
    """Clip of opset 6 has none."""
    found = loaded(one("Clip", [array(2, 3)], opset=6, min=0.0))
    assert lowered(next(iter(found.graph)), evaluate) is None
