"""Gelu and its relatives, as exporters and people spell them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from models import FLOAT, model, node
from onnx import TensorProto
from simplified import operators, same, simplified

DTYPES = {
    "float": (TensorProto.FLOAT, np.float32, 1e-6),
    "float16": (TensorProto.FLOAT16, np.float16, 5e-3),
    "double": (TensorProto.DOUBLE, np.float64, 1e-9),
}
ROOT, C, K = math.sqrt(2), math.sqrt(2 / math.pi), 0.044715
NUMBERS = {
    "root": ROOT, "inverse": 1 / ROOT, "one": 1, "half": 0.5, "two": 2, "three": 3,
    "c": C, "k": K, "ck": C * K, "minus": -1, "quick": 1.702, "six": 6, "zero": 0,
    "sixth": 1 / 6,
}  # fmt: skip


def spelled(text, dtype="float", results=("y",), **numbers):
    """Return a model from lines such as "a = Mul x half"."""
    kind, numpy, _ = DTYPES[dtype]
    nodes, used = [], set()
    for line in filter(str.strip, text.splitlines()):
        name, call = line.strip().split(" = ")
        op, *inputs = call.split()
        nodes.append(node(op, inputs, [name], name))
        used.update(inputs)
    known = {**NUMBERS, **numbers}
    arrays = {n: numpy(known[n]) for n in used if n in known}
    shape = ["batch", "seq", 8]
    return model(
        nodes, {"x": (kind, shape)}, dict.fromkeys(results, (kind, None)), arrays, 18
    )


def feed(dtype="float"):
    """Return random numbers, large and small."""
    return (np.random.default_rng(0).standard_normal((2, 3, 8)) * 3).astype(
        DTYPES[dtype][1]
    )


ERF = {
    "TorchScript": """
        d = Div x root
        e = Erf d
        a = Add e one
        m = Mul x a
        y = Mul m half
    """,
    "dynamo": """
        d = Div x root
        e = Erf d
        a = Add e one
        m = Mul x a
        y = Mul half m
    """,
    "x * 0.5 * (1 + erf)": """
        h = Mul x half
        d = Div x root
        e = Erf d
        a = Add one e
        y = Mul h a
    """,
    "0.5 times the sum": """
        d = Mul x inverse
        e = Erf d
        a = Add one e
        h = Mul a half
        y = Mul h x
    """,
    "divided by two": """
        d = Mul inverse x
        e = Erf d
        a = Add one e
        m = Mul a x
        y = Div m two
    """,
}
TANH = {
    "TorchScript": """
        q = Mul x x
        u = Mul x q
        s = Mul k u
        a = Add x s
        i = Mul c a
        t = Tanh i
        o = Add one t
        m = Mul x o
        y = Mul half m
    """,
    "dynamo": """
        u = Pow x three
        s = Mul k u
        a = Add x s
        i = Mul c a
        t = Tanh i
        o = Add t one
        m = Mul x o
        y = Mul half m
    """,
    "gelu_new": """
        h = Mul x half
        u = Pow x three
        s = Mul u k
        a = Add x s
        i = Mul a c
        t = Tanh i
        o = Add t one
        y = Mul h o
    """,
    "gelu_fast": """
        h = Mul x half
        i = Mul x c
        k1 = Mul x k
        k2 = Mul k1 x
        o1 = Add k2 one
        j = Mul i o1
        t = Tanh j
        o = Add t one
        y = Mul h o
    """,
    "multiplied out": """
        i = Mul x c
        u = Pow x three
        v = Mul u ck
        a = Add i v
        t = Tanh a
        o = Add t one
        h = Mul x o
        y = Mul h half
    """,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spelling", ERF)
def test_gelu_by_erf(spelling, dtype):
    tolerance = DTYPES[dtype][2]
    graph = same(
        spelled(ERF[spelling], dtype), [feed(dtype)], tolerance=tolerance
    ).graph
    (gelu,) = graph
    assert gelu.op_type == "Gelu"
    assert gelu.attribute("approximate", "none") == "none"
    names = {line.split()[0] for line in filter(str.strip, ERF[spelling].splitlines())}
    assert set(gelu.origins) == names
    assert gelu.outputs[0].shape == ("batch", "seq", 8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spelling", TANH)
def test_gelu_by_tanh(spelling, dtype):
    tolerance = DTYPES[dtype][2]
    (gelu,) = same(
        spelled(TANH[spelling], dtype), [feed(dtype)], tolerance=tolerance
    ).graph
    assert gelu.op_type == "Gelu"
    assert gelu.attribute("approximate") == "tanh"


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        (spelling, name)
        for spelling in (ERF["TorchScript"], TANH["gelu_new"])
        for name in ("root", "one", "half", "c", "k", "three")
        if f" {name}" in spelling
    ],
)
def test_another_number_is_another_function(spelling, name):
    proto = spelled(spelling, **{name: NUMBERS[name] * 1.001})
    assert "Gelu" not in operators(same(proto, [feed()], tolerance=1e-6).graph)


def test_exact_gelu_is_not_raised_where_the_inner_x_is_another():
    proto = spelled("""
        z = Neg x
        d = Div z root
        e = Erf d
        a = Add e one
        m = Mul x a
        y = Mul m half
    """)
    assert "Gelu" not in operators(simplified(proto).graph)


@pytest.mark.parametrize("read", ["e", "a", "m"])
def test_an_inner_value_that_is_an_output(read):
    proto = spelled(ERF["TorchScript"], results=("y", read))
    found = same(proto, [feed()], tolerance=1e-6)
    assert "Gelu" not in operators(found.graph)


def test_an_inner_value_that_is_read_elsewhere():
    proto = spelled(ERF["TorchScript"] + "\n        z = Neg e", results=("y", "z"))
    assert "Gelu" not in operators(same(proto, [feed()], tolerance=1e-6).graph)


def test_x_may_be_read_elsewhere():
    proto = spelled(ERF["TorchScript"] + "\n        z = Neg x", results=("y", "z"))
    assert operators(same(proto, [feed()], tolerance=1e-6).graph) == {
        "Gelu": 1,
        "Neg": 1,
    }


def test_a_number_that_adds_dims_is_no_number():
    proto = spelled(ERF["TorchScript"], half=np.full((1, 1, 1, 1), 0.5))
    assert "Gelu" not in operators(same(proto, [feed()], tolerance=1e-6).graph)


def test_a_number_of_one_element_is_one():
    proto = spelled(ERF["TorchScript"], half=np.full((1,), 0.5))
    assert operators(same(proto, [feed()], tolerance=1e-6).graph) == {"Gelu": 1}


def test_a_gate_times_gelu_is_still_found():
    """The product goes on, with a value instead of the number 0.5."""
    text = ERF["x * 0.5 * (1 + erf)"].replace("y = Mul h a", "g = Mul h a")
    proto = spelled(text + "\n        w = Neg x\n        y = Mul g w")
    assert operators(same(proto, [feed()], tolerance=1e-6).graph) == {
        "Gelu": 1,
        "Neg": 1,
        "Mul": 1,
    }


GATED = {
    "Swish": [
        """
        s = Sigmoid x
        y = Mul x s
        """,
        """
        s = Sigmoid x
        y = Mul s x
        """,
    ],
    "HardSwish": [
        """
        a = Add x three
        b = Clip a zero six
        m = Mul x b
        y = Div m six
        """,
        """
        a = Add x three
        b = Clip a zero six
        d = Mul b sixth
        y = Mul d x
        """,
    ],
    "Mish": [
        """
        s = Softplus x
        t = Tanh s
        y = Mul x t
        """
    ],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("op", "text"), [(op, text) for op, texts in GATED.items() for text in texts]
)
def test_a_value_times_a_gate_of_itself(op, text, dtype):
    proto = spelled(text, dtype)
    (found,) = same(proto, [feed(dtype)], tolerance=DTYPES[dtype][2]).graph
    assert found.op_type == op


def test_quick_gelu_is_swish_with_a_slope():
    proto = spelled("""
        q = Mul x quick
        s = Sigmoid q
        y = Mul x s
    """)
    (found,) = same(proto, [feed()], tolerance=1e-6).graph
    assert found.op_type == "Swish"
    assert found.attribute("alpha") == pytest.approx(1.702)


def test_hard_sigmoid_with_the_right_slope_only():
    for slope, op in ((1 / 6, "HardSwish"), (0.2, "HardSigmoid")):
        proto = model(
            [
                node("HardSigmoid", ["x"], ["s"], alpha=slope, beta=0.5),
                node("Mul", ["x", "s"], ["y"]),
            ],
            {"x": (FLOAT, [2, 3, 8])},
            {"y": (FLOAT, [2, 3, 8])},
        )
        assert op in operators(same(proto, [feed()], tolerance=1e-6).graph)


def test_a_gate_of_another_value_stays():
    proto = spelled("""
        z = Neg x
        s = Sigmoid z
        y = Mul x s
    """)
    assert operators(simplified(proto).graph)["Sigmoid"] == 1


def test_a_gate_that_is_read_elsewhere_stays():
    proto = spelled(GATED["Swish"][0], results=("y", "s"))
    assert operators(simplified(proto).graph) == {"Sigmoid": 1, "Mul": 1}
