"""Constant nodes become initializers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import FLOAT, model, node
from onnx import TensorProto, helper, numpy_helper
from simplified import operators, outputs, same, simplified

VALUES = {
    "value_int": 3,
    "value_ints": [1, 2],
    "value_float": 0.5,
    "value_floats": [0.5, 1.5],
    "value_string": "a",
    "value_strings": ["a", "b"],
    "value": numpy_helper.from_array(np.arange(6, dtype=np.int8).reshape(2, 3)),
}
ARRAYS = {
    "value_int": np.array(3),
    "value_ints": np.array([1, 2]),
    "value_float": np.float32(0.5),
    "value_floats": np.float32([0.5, 1.5]),
    "value_string": np.array("a", object),
    "value_strings": np.array(["a", "b"], object),
    "value": np.arange(6, dtype=np.int8).reshape(2, 3),
}


@pytest.mark.parametrize("form", VALUES)
def test_every_form(form):
    array = np.asarray(ARRAYS[form])
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    if array.dtype == object:
        kind = TensorProto.STRING
    proto = model(
        [
            node("Constant", [], ["c"], **{form: VALUES[form]}),
            node("Unsqueeze", ["c", "zero"], ["y"]),
        ],
        {},
        {"y": (kind, [1, *array.shape])},
        {"zero": np.array([0])},
    )
    found = simplified(proto, "constants")
    assert operators(found.graph) == {"Unsqueeze": 1}
    constant = found.graph.initializers["c"]
    assert constant.constant().dtype == array.dtype
    np.testing.assert_array_equal(constant.constant(), array)
    assert constant.dtype == kind
    np.testing.assert_array_equal(outputs(found, [])[0], array[None])


def test_a_sparse_value():
    values = helper.make_tensor("v", FLOAT, [2], [1.0, 2.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [2], [0, 3])
    sparse = helper.make_sparse_tensor(values, indices, [4])
    proto = model(
        [
            node("Constant", [], ["c"], sparse_value=sparse),
            node("Add", ["x", "c"], ["y"]),
        ],
        {"x": (FLOAT, [4])},
        {"y": (FLOAT, [4])},
    )
    found = simplified(proto, "constants")
    np.testing.assert_array_equal(
        outputs(found, [np.zeros(4, np.float32)])[0], [1, 0, 0, 2]
    )


def test_a_constant_that_is_an_output_is_an_identity():
    proto = model(
        [node("Constant", [], ["y"], value_floats=[1.0, 2.0])], {}, {"y": (FLOAT, [2])}
    )
    found = same(proto, [])
    assert operators(found.graph) == {"Identity": 1}
    assert found.graph.outputs[0].name == "y"


def test_a_constant_that_is_an_output_of_a_body():
    branches = [
        helper.make_graph(
            [node("Constant", [], [name], value_float=number)],
            name,
            [],
            [helper.make_tensor_value_info(name, FLOAT, [])],
        )
        for name, number in (("a", 1.0), ("b", 2.0))
    ]
    proto = model(
        [node("If", ["x"], ["y"], then_branch=branches[0], else_branch=branches[1])],
        {"x": (TensorProto.BOOL, [])},
        {"y": (FLOAT, [])},
    )
    for truth, number in ((True, 1.0), (False, 2.0)):
        found = same(proto, [np.array(truth)])
        assert outputs(found, [np.array(truth)])[0] == number


def test_a_constant_of_a_function_takes_its_attribute():
    inner = node("Constant", [], ["c"])
    entry = inner.attribute.add(name="value_float", type=onnx.AttributeProto.FLOAT)
    entry.ref_attr_name = "amount"
    plus = helper.make_function(
        "local",
        "Plus",
        ["a"],
        ["b"],
        [inner, node("Add", ["a", "c"], ["b"])],
        [helper.make_opsetid("", 18)],
        ["amount"],
    )
    proto = model(
        [node("Plus", ["x"], ["y"], domain="local", amount=2.5)],
        {"x": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
        opset=18,
        functions=[plus],
        domains={"local": 1},
    )
    found = same(proto, [np.float32([1, 2])])
    assert operators(found.graph) == {"Add": 1}
    np.testing.assert_array_equal(outputs(found, [np.float32([1, 2])])[0], [3.5, 4.5])
