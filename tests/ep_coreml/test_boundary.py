"""What crosses into Core ML: integers of 64 bits, booleans, halves and single numbers."""

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_models import SUBJECT, agrees, model, program
from mil_evaluator.packages import Package

FLOAT, HALF, INT = 65568, 65552, 131104
"""Core ML's numbers of its element types."""


@pytest.mark.parametrize(
    ("kind", "body", "wanted"),
    [
        ("float", "y = Relu(x)", (FLOAT, FLOAT)),
        ("float16", "y = Relu(x)", (HALF, HALF)),
        ("int64", "y = Add(x, x)", (INT, INT)),
        ("int32", "y = Abs(x)", (INT, INT)),
        ("bool", "y = Not(x)", (INT, INT)),
        ("uint8", "y = Max(x, x)", None),
    ],
)
def test_the_interface_has_the_types_that_core_ml_has(kind, body, wanted):
    source = model(f"({kind}[2,3] x) => ({kind}[2,3] y) {{ {body} }}")
    if wanted is None:
        assert not SUBJECT.open(source).owned
        return
    made, _ = program(source)
    found = Package(made.package).interface
    assert (found["in_0"].dataType, found["out_0"].dataType) == wanted


def test_integers_and_booleans_come_back_in_the_models_types():
    source = model(
        "(int64[4] x, bool[4] c, int64 k) => (int64[4] y, bool[4] d, int64 n)"
        "{ s = Add(x, k) y = Where(c, s, x) d = Not(c) n = Identity(k) }"
    )
    agrees(
        source,
        {
            "x": np.array([1, -2, 3, 2**30 - 9]),
            "c": np.array([True, False, True, True]),
            "k": np.array(5),
        },
    )


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**40])
def test_an_integer_beyond_32_bits_goes_to_the_next_provider_loudly(value):
    source = model("(int64[2] x) => (int64[2] y) <int64 k = {1}> { y = Add(x, k) }")
    opened = SUBJECT.open(source, cache=False)
    assert opened.owned
    (y,) = opened({"x": np.array([1, value])})
    np.testing.assert_array_equal(y, [2, value + 1])
    assert any("'x' holds integers beyond 32 bits" in told for told in opened.faults)


def test_a_constant_beyond_32_bits_is_refused():
    source = model(
        f"(int64[2] x) => (int64[2] y) <int64 k = {{{2**40}}}> {{ y = Max(x, k) }}"
    )
    opened = SUBJECT.open(source)
    assert not opened.owned
    assert any("integers that an int32 does not" in told for told in opened.refusals)


def test_bounds_of_slices_may_be_any_number():
    source = model(
        "(float[5,6] x) => (float[4,3] y) <int64[2] b = {1, -3},"
        f"int64[2] e = {{{2**63 - 1}, {2**63 - 1}}}> {{ y = Slice(x, b, e) }}"
    )
    agrees(source, {"x": np.arange(30, dtype=np.float32).reshape(5, 6)})


def test_narrow_integers_wrap():
    source = model(
        "(int32[5] x) => (int8[5] a, uint8[5] b, int16[5] c)"
        "{ a = Cast<to=3>(x) b = Cast<to=2>(x) c = Cast<to=5>(x) }"
    )
    agrees(source, {"x": np.array([0, 127, 128, -129, 40_000], np.int32)})


def test_inputs_are_handed_over_in_place_where_they_have_the_type():
    made, _ = program(model("(float[2,3] x) => (float[2,3] y) { y = Relu(x) }"))
    x = np.ones((2, 3), np.float32)
    assert made._boundary.feed([x])["in_0"] is x
    whole = made._boundary.feed([np.ones((3, 2), np.float32).T])["in_0"]
    assert whole.flags.c_contiguous


def test_an_output_may_be_an_input_and_an_output_twice():
    source = model(
        "(float[3] x) => (float[3] y, float[3] z, float[3] u)"
        "{ y = Relu(x) z = Identity(y) u = Identity(x) }"
    )
    opened = SUBJECT.open(source, cache=False, passes="none")
    x = np.array([-1, 0, 2], np.float32)
    for got, want in zip(opened({"x": x}), (np.maximum(x, 0),) * 2 + (x,), strict=True):
        np.testing.assert_array_equal(got, want)
    assert not opened.faults
