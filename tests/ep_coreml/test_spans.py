"""Integers of 64 bits are computed in 32: only where the result is known to fit."""

import numpy as np
import onnx
import pytest
import runtime_ep_coreml.lowering  # noqa: F401  (fills the table)
from runtime_ep_coreml import guards
from runtime_ep_coreml.capability import refusal
from runtime_ep_coreml.narrowing import never_zero, outside
from runtime_ep_coreml.scope import WORDS
from runtime_ep_coreml.spans import HALF, OTHERS, RULES
from runtime_ep_coreml.table import TABLE
from test_guards import node_of

GROWN = "may need more"
X = "(int64[3] x, int64[3] z) => (int64[3] y)"


@pytest.mark.parametrize(
    "text",
    [
        f"{X} {{ y = Mul(x, z) }}",
        f"{X} {{ s = Add(x, z) y = Add(s, z) }}",
        f"{X} {{ s = Add(x, x) y = Neg(s) }}",
        f"{X} {{ s = Sub(x, z) y = Sub(s, z) }}",
        "(int64[3] x, int64[3] k, int64[9] u) => (int64[3] y)"
        "{ i = Constant<value = int64[9] {0, 1, 2, 0, 1, 2, 0, 1, 2}>()"
        " y = ScatterElements<reduction=\"add\">(x, i, u) }",
        "(int64[3] x, int64[3] k, int64[2] u) => (int64[3] y)"
        "{ i = Constant<value = int64[2] {0, 1}>()"
        " y = ScatterElements<reduction=\"mul\">(x, i, u) }",
        "(float[3] x) => (int64[3] y) { y = Cast<to=7>(x) }",
        "(float[3] x) => (int64[3] y) { r = Relu(x) y = Cast<to=7>(r) }",
        "(int64[3] x) => (int64 y) { y = ReduceSum<keepdims=0>(x) }",
        "(int64 x, int64 z) => (int64[n] y)"
        "{ k = Constant<value = int64 {1}>() e = Add(x, z) y = Range(x, e, k) }",
    ],
)  # fmt: skip
def test_what_may_leave_32_bits_is_refused(text):
    assert GROWN in refusal(node_of(text))


@pytest.mark.parametrize(
    "text",
    [
        f"{X} {{ y = Add(x, z) }}",
        f"{X} {{ y = Sub(x, z) }}",
        f"{X} {{ y = Abs(x) }}",
        f"{X} {{ y = Div(x, z) }}",
        f"{X} {{ y = Mod<fmod=1>(x, z) }}",
        "(float[n,3] x) => (int64[2] y) { s = Shape(x) y = Mul(s, s) }",
        "(float[9,3] x, int64[9] i) => (int64[9] y)"
        "{ a = ArgMax<axis=1, keepdims=0>(x) b = Mul(a, a) y = Add(b, i) }",
        "(bool[9] x) => (int64[9] y)"
        "{ c = Cast<to=7>(x) a = Constant<value = int64 {0}>() y = CumSum(c, a) }",
        "(uint8[9] x) => (int64[9] y) { c = Cast<to=7>(x) y = Mul(c, c) }",
        "(float[9] x) => (int64[9] y) { l = Constant<value = float {-9.0}>()"
        " h = Constant<value = float {9.0}>() c = Clip(x, l, h) y = Cast<to=7>(c) }",
        "(int64[3] x) => (int64[3] y) { k = Constant<value = int64 {7}>()"
        " m = Mod(x, k) s = Mul(m, m) y = Add(s, x) }",
        "(float[2,n] x, int64[2,n] i) => (int64[2,n] y)"
        "{ s = Shape<start=1, end=2>(x) l = Squeeze(s) o = Constant<value = int64 {0}>()"
        " d = Constant<value = int64 {1}>() r = Range(o, l, d) y = Add(r, i) }",
        "(float[2,n] x) => (int64[1] y) { s = Shape<start=1, end=2>(x)"
        " h = Cast<to=1>(s) f = Floor(h) y = Cast<to=7>(f) }",
        "(int64[3] x, int64[1] u) => (int64[3] y) { i = Constant<value = int64[1] {0}>()"
        " y = ScatterElements<reduction=\"add\">(x, i, u) }",
        "(int64 x, int64 z) => (int64[n] y)"
        "{ k = Constant<value = int64 {1}>() y = Range(x, z, k) }",
        "(float[3] x) => (float[3] y) { y = Mul(x, x) }",
        "(int32[3] x) => (int32[3] y) { y = Mul(x, x) }",
    ],
)  # fmt: skip
def test_what_is_known_to_fit_is_admitted(text):
    assert not refusal(node_of(text))


REFUSED = {("MaxPool", "Indices")}
"""Outputs that no node may have."""


def test_every_operator_that_makes_64_bit_integers_is_reasoned_about():
    def wide(parameter, schema):
        kinds = {
            one.type_param_str: one.allowed_type_strs for one in schema.type_constraints
        }
        return "tensor(int64)" in kinds.get(parameter.type_str, [parameter.type_str])

    missing = []
    for name, row in TABLE.items():
        schema = onnx.defs.get_schema(name)
        for index, output in enumerate(schema.outputs):
            same = schema.inputs and output.type_str == schema.inputs[0].type_str
            if not wide(output, schema) or (same and guards.floating in row.guards):
                continue
            if name not in (OTHERS if index else RULES):
                missing.append((name, output.name))
    assert set(missing) == REFUSED


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("(float[n,6] x) => (int64[2] y) { y = Shape(x) }", True),
        ("(float[n,6] x) => (int64[3] y)"
         "{ s = Shape(x) k = Constant<value = int64[1] {-1}>() y = Concat<axis=0>(s, k) }",
         True),
        ("(float[n,6] x) => (int64[3] y)"
         "{ s = Shape(x) k = Constant<value = int64[1] {0}>() y = Concat<axis=0>(s, k) }",
         False),
        ("(float[n,6] x) => (int64[2] y)"
         "{ s = Shape(x) k = Constant<value = int64 {2}>() y = Div(s, k) }", False),
        ("(float[4,6] x) => (int64[2] y)"
         "{ s = Shape(x) k = Constant<value = int64 {2}>() y = Div(s, k) }", True),
        ("(int64[2] x) => (int64[2] y) { y = Identity(x) }", False),
        ("(float[1] x) => (int64[1] y)"
         "{ s = Size(x) f = Cast<to=1>(s) y = Cast<to=7>(f) }", True),
    ],
)  # fmt: skip
def test_sizes_that_cannot_be_zero_are_known(text, known):
    assert never_zero(node_of(text).outputs[0]) is known


def test_a_package_that_came_compiled_takes_what_sums_fit_of():
    node = node_of("(int64[3] x) => (int64[3] y) { y = Identity(x) }")
    assert outside([node]) == WORDS
    node.domain = "com.microsoft"
    assert outside([node]) == HALF


def beside_sum(body):
    return f"(int64[2] x, int64[2] z) => (int64[2] y) {{ {body} }}"


@pytest.mark.parametrize("value", [2**30, -(2**30) - 1, 2**31 - 1])
def test_a_program_of_sums_takes_integers_of_which_sums_fit(value):
    pytest.importorskip("coremltools")
    from coreml_models import SUBJECT, model

    opened = SUBJECT.open(model(beside_sum("y = Add(x, z)")), cache=False)
    assert opened.owned
    x = np.array([1, value])
    np.testing.assert_array_equal(opened({"x": x, "z": x})[0], [2, 2 * value])
    told = "integers beyond -1073741824 to 1073741823"
    assert any(told in fault for fault in opened.faults), opened.faults


def test_the_largest_that_a_program_of_sums_takes_are_right():
    pytest.importorskip("coremltools")
    from coreml_models import agrees, model

    for body in ("y = Add(x, z)", "y = Sub(x, z)"):
        x = np.array([2**30 - 1, -(2**30)])
        agrees(model(beside_sum(body)), {"x": x, "z": x}, {"x": x, "z": x[::-1].copy()})


def test_a_program_without_sums_takes_all_integers_of_32_bits():
    pytest.importorskip("coremltools")
    from coreml_models import agrees, model

    x = np.array([2**31 - 1, -(2**31)])
    agrees(model(beside_sum("y = Max(x, z)")), {"x": x, "z": x[::-1].copy()})
