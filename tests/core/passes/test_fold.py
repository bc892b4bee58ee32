"""Constants are computed beforehand, within limits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import FLOAT, INT64, model, node
from onnx import TensorProto, helper
from runtime.passes import PASSES, fold, simplify
from runtime.passes.scope import Scope
from runtime.settings import Settings
from simplified import evaluate, loaded, operators, same, simplified

ONLY = ("fold", "constants", "deadcode")


def of_constants(*nodes, result=(FLOAT, None), **constants):
    """Return a model that adds what constants give to x."""
    return model(
        [*nodes, node("Add", ["x", "c"], ["y"])],
        {"x": (result[0], [])},
        {"y": result},
        constants,
        opset=21,
    )


def array(*shape) -> np.ndarray:
    """Return random numbers."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_a_chain_of_constants_is_one_constant():
    proto = of_constants(
        node("Cast", ["size"], ["f"], to=FLOAT),
        node("Sqrt", ["f"], ["root"]),
        node("Div", ["one", "root"], ["c"]),
        size=np.array(64),
        one=np.float32(1),
    )
    (add,) = same(proto, [np.float32(2)], ONLY).graph
    assert add.inputs[1].constant() == np.float32(0.125)
    assert len(simplified(proto).graph.initializers) == 1


def test_weights_are_transposed_once():
    proto = model(
        [
            node("Transpose", ["w"], ["t"], perm=[1, 0]),
            node("MatMul", ["x", "t"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 300])},
        {"y": (FLOAT, ["n", 400])},
        {"w": array(400, 300)},
    )
    (product,) = same(proto, [array(2, 300)], ONLY, 1e-4).graph
    assert product.inputs[1].constant().flags.c_contiguous


def test_several_outputs():
    proto = model(
        [
            node("Split", ["w"], ["a", "b"], axis=0, num_outputs=2),
            node("Sub", ["a", "b"], ["c"]),
            node("Add", ["x", "c"], ["y"]),
        ],
        {"x": (FLOAT, [1, 3])},
        {"y": (FLOAT, [1, 3])},
        {"w": array(2, 3)},
        opset=18,
    )
    assert operators(same(proto, [array(1, 3)], ONLY).graph) == {"Add": 1}


def test_a_result_that_is_public_keeps_its_name():
    proto = model([node("Neg", ["w"], ["y"])], {}, {"y": (FLOAT, [2])}, {"w": array(2)})
    found = same(proto, [])
    assert operators(found.graph) == {"Identity": 1}
    assert found.graph.outputs[0].name == "y"


@pytest.mark.parametrize(
    "op", ["RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"]
)
def test_random_operators_are_left_to_each_run(op):
    extra = {"dtype": FLOAT} if op != "Multinomial" else {"dtype": TensorProto.INT32}
    kind = FLOAT if op != "Multinomial" else TensorProto.INT32
    proto = model(
        [node(op, ["w"], ["y"], **extra)],
        {},
        {"y": (kind, None)},
        {"w": np.full((2, 3), 0.5, np.float32)},
    )
    assert operators(simplified(proto).graph) == {op: 1}


@pytest.mark.parametrize("size", [16, 100_000])
def test_dequantized_weights_are_not_unpacked(size):
    proto = of_constants(
        node("DequantizeLinear", ["w", "scale"], ["c"]),
        w=np.ones(size, np.int8),
        scale=np.float32(0.5),
    )
    assert operators(simplified(proto).graph)["DequantizeLinear"] == 1


def test_quantizing_is_not_done_beforehand():
    proto = model(
        [node("QuantizeLinear", ["w", "scale", "zero"], ["y"])],
        {},
        {"y": (TensorProto.INT8, [4])},
        {"w": array(4), "scale": np.float32(0.5), "zero": np.int8(0)},
    )
    assert operators(simplified(proto).graph) == {"QuantizeLinear": 1}


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.FLOAT8E4M3FN])
def test_packed_weights_stay_packed(kind):
    proto = of_constants(node("Cast", ["w"], ["c"], to=FLOAT))
    proto.graph.initializer.append(helper.make_tensor("w", kind, [4], [1, 2, 3, 4]))
    assert operators(simplified(proto).graph)["Cast"] == 1


@pytest.mark.parametrize(
    ("shape", "kept"), [((64, 64), False), ((1024, 1024), True), ((10**6, 10**6), True)]
)
def test_what_is_made_large_from_little_is_made_in_each_run(shape, kept):
    proto = of_constants(
        node("ConstantOfShape", ["shape"], ["c"]), shape=np.array(shape, np.int64)
    )
    assert ("ConstantOfShape" in operators(simplified(proto).graph)) is kept


def test_twice_the_size_of_a_large_weight_is_accepted_and_more_is_not():
    half = np.ones(100_000, np.float16)
    proto = of_constants(node("Cast", ["w"], ["c"], to=FLOAT), w=half)
    assert "Cast" not in operators(simplified(proto).graph)
    proto = of_constants(
        node("Cast", ["w"], ["c"], to=TensorProto.DOUBLE),
        result=(TensorProto.DOUBLE, None),
        w=half,
    )
    assert "Cast" in operators(simplified(proto).graph)


def test_a_result_of_unknown_size_is_computed_only_from_little():
    for count, kept in ((10, False), (5000, True)):
        w = np.ones(count, np.float32)
        proto = model(
            [node("NonZero", ["w"], ["c"]), node("Add", ["x", "c"], ["y"])],
            {"x": (INT64, [])},
            {"y": (INT64, None)},
            {"w": w},
        )
        assert ("NonZero" in operators(simplified(proto).graph)) is kept


def test_an_initializer_that_callers_may_override_is_no_constant():
    proto = of_constants(node("Neg", ["w"], ["c"]), w=np.float32(1))
    proto.graph.input.append(helper.make_tensor_value_info("w", FLOAT, []))
    assert operators(simplified(proto).graph)["Neg"] == 1


def test_without_somebody_to_compute_nothing_changes():
    proto = of_constants(node("Neg", ["w"], ["c"]), w=np.float32(1))
    model_ = loaded(proto)
    assert fold.run(model_.graph, Scope(model_, Settings(), lambda *_: None)) == 0


def test_a_result_of_another_type_than_declared_is_not_believed():
    proto = of_constants(node("Neg", ["w"], ["c"]), w=np.float32(1))
    model_ = loaded(proto)
    wrong = Scope(model_, Settings(), lambda *_: [np.float64(1)])
    assert fold.run(model_.graph, wrong) == 0


def test_each_constant_is_computed_once():
    calls = []

    def counting(node_, inputs):
        calls.append(node_.op_type)
        return evaluate(node_, inputs)

    proto = of_constants(
        node("Neg", ["w"], ["a"]), node("Exp", ["a"], ["c"]), w=np.float32(1)
    )
    simplify(loaded(proto), Settings(), counting)
    assert calls == ["Neg", "Exp"]


def test_what_layers_repeat_of_a_few_numbers_is_computed_once():
    calls = []

    def counting(node_, inputs):
        calls.append(node_.op_type)
        return evaluate(node_, inputs)

    number = np.float32(0.25)
    proto = of_constants(
        node("Sqrt", ["v"], ["a"]),
        node("Sqrt", ["w"], ["b"]),
        node("Sqrt", ["other"], ["d"]),
        node("LeakyRelu", ["v"], ["e"], alpha=0.5),
        node("LeakyRelu", ["w"], ["f"], alpha=0.25),
        node("Sum", ["a", "b", "d", "e", "f"], ["c"]),
        v=number,
        w=number,
        other=np.float32(4),
    )
    found = loaded(proto)
    only = Settings(disabled_passes=frozenset(PASSES) - {*ONLY})
    simplify(found, only, counting)
    assert calls == ["Sqrt", "Sqrt", "LeakyRelu", "LeakyRelu", "Sum"]
    (add,) = found.graph
    assert add.inputs[1].constant() == np.float32(0.5 + 0.5 + 2 + 0.25 + 0.25)


def test_strings_are_folded_too():
    proto = model(
        [
            node("StringConcat", ["a", "b"], ["c"]),
            node("StringConcat", ["x", "c"], ["y"]),
        ],
        {"x": (TensorProto.STRING, [1])},
        {"y": (TensorProto.STRING, [1])},
        {"a": np.array(["p"], object), "b": np.array(["q"], object)},
        opset=20,
    )
    assert operators(same(proto, [np.array(["o"], object)]).graph) == {
        "StringConcat": 1
    }


def test_bodies_are_folded_with_what_they_read_from_outside():
    branch = helper.make_graph(
        [node("Neg", ["w"], ["n"]), node("Add", ["x", "n"], ["r"])],
        "branch",
        [],
        [helper.make_tensor_value_info("r", FLOAT, [2])],
    )
    proto = model(
        [node("If", ["b"], ["y"], then_branch=branch, else_branch=branch)],
        {"x": (FLOAT, [2]), "b": (TensorProto.BOOL, [])},
        {"y": (FLOAT, [2])},
        {"w": array(2)},
    )
    found = same(proto, [array(2), np.array(True)])
    assert operators(found.graph) == {"If": 1, "Add": 2}
    onnx.checker.check_model(proto)
