"""A function operator that a provider refuses is offered to it once more as its body."""

import numpy as np
import pytest
import runtime as ort
from doubles import Choosy, DeviceProvider
from models import FLOAT, model, node

CPU = "CPUExecutionProvider"
X = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)


def one(op, inputs=("x",), initializers=None, opset=23, **attributes):
    return model(
        [node(op, list(inputs), ["y"], name="the_node", **attributes)],
        {"x": (FLOAT, ["n", 8])},
        {"y": (FLOAT, ["n", 8])},
        initializers,
        opset=opset,
    ).SerializeToString()


def run(data, *names):
    session = ort.InferenceSession(data, providers=list(names))
    return session, session.run(None, {"x": X})[0]


def test_a_provider_of_four_operators_takes_a_whole_gelu(registered):
    choosy = Choosy("FourExecutionProvider", ["Mul", "Add", "Erf", "Div"])
    registered(choosy)
    data = one("Gelu", opset=20)
    session, got = run(data, "FourExecutionProvider")
    assert set(session.explain().counts()) == {"FourExecutionProvider"}
    assert len(choosy.compiled) == 1
    _, want = run(data)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    for record in session.explain().nodes:
        assert "the_node" in record.origins


def test_a_decomposed_gelu_is_raised_and_lowered_again_for_that_provider(registered):
    nodes = [
        node("Div", ["x", "s"], ["a"]),
        node("Erf", ["a"], ["b"]),
        node("Add", ["b", "one"], ["c"]),
        node("Mul", ["x", "c"], ["d"]),
        node("Mul", ["d", "half"], ["y"]),
    ]
    constants = {
        "s": np.float32(np.sqrt(2)),
        "one": np.float32(1),
        "half": np.float32(0.5),
    }
    data = model(
        nodes, {"x": (FLOAT, ["n", 8])}, {"y": (FLOAT, ["n", 8])}, constants
    ).SerializeToString()
    alone, want = run(data)
    assert [n.op_type for n in alone.graph] == ["Gelu"]
    registered(Choosy("FourExecutionProvider", ["Mul", "Add", "Erf", "Div"]))
    session, got = run(data, "FourExecutionProvider")
    assert set(session.explain().counts()) == {"FourExecutionProvider"}
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_body_it_cannot_take_whole_stays_one_operator_for_the_next(registered):
    registered(Choosy("ThreeExecutionProvider", ["Mul", "Add", "Div"]))
    session, _ = run(one("Gelu", opset=20), "ThreeExecutionProvider")
    assert [n.op_type for n in session.graph] == ["Gelu"]
    assert session.explain().counts() == {CPU: 1}


@pytest.mark.parametrize(
    ("op", "extra", "attributes"),
    [
        (
            "LayerNormalization",
            {"scale": np.ones(8, np.float32), "bias": np.ones(8, np.float32)},
            {"axis": -1},
        ),
        ("RMSNormalization", {"scale": np.ones(8, np.float32)}, {"axis": -1}),
        ("Softmax", {}, {"axis": -1}),
        ("HardSwish", {}, {}),
    ],
)
def test_other_function_operators_are_lowered_too(op, extra, attributes, registered):
    registered(DeviceProvider("BodyExecutionProvider", _ALL - {op}))
    data = one(op, ["x", *extra], extra, **attributes)
    session, got = run(data, "BodyExecutionProvider")
    assert op not in {n.op_type for n in session.graph}
    counts = session.explain().counts()
    assert counts["BodyExecutionProvider"] > 1
    _, want = run(data)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


_WORDS = """
Abs Add Cast CastLike Clip Concat Constant ConstantOfShape Div Equal Erf Exp Expand
Flatten Gather HardSigmoid Identity Max Min Mul Neg Pow Range Reciprocal ReduceMax
ReduceMean ReduceSum Reshape Shape Size Slice Sqrt Squeeze Sub Transpose Unsqueeze
Where ReduceProd Mod ReduceSumSquare Softmax Sum
"""
_ALL = frozenset(_WORDS.split())


def test_without_anybody_for_the_operator_its_body_is_shared_out(registered):
    """The host lacks nothing here, so forbid it: two providers share a Gelu's body."""
    registered(
        Choosy("MulExecutionProvider", ["Mul", "Constant", "CastLike"]),
        Choosy("RestExecutionProvider", ["Erf", "Add", "Div", "Sqrt", "Cast", "Sum"]),
    )
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = ort.InferenceSession(
        one("Gelu", opset=20),
        options,
        providers=["MulExecutionProvider", "RestExecutionProvider"],
    )
    assert set(session.explain().counts()) == {
        "MulExecutionProvider",
        "RestExecutionProvider",
    }
    _, want = run(one("Gelu", opset=20))
    np.testing.assert_allclose(
        session.run(None, {"x": X})[0], want, rtol=1e-5, atol=1e-6
    )


def test_a_body_that_names_no_opset_of_its_operators_is_read_at_the_newest(
    registered, node_cases
):
    """FlexAttention's body of the preview domain imports its own domain only."""
    (case,) = [case for case in node_cases if case.name == "test_flexattention"]
    registered(Choosy("NoneExecutionProvider", []))
    data = case.model.SerializeToString()
    session = ort.InferenceSession(data, providers=["NoneExecutionProvider"])
    inputs, (want,) = case.data_sets[0]
    names = [info.name for info in session.get_inputs()]
    (got,) = session.run(None, dict(zip(names, inputs, strict=True)))
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)
