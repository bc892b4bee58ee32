"""Arithmetic, comparison, logic and bits against NumPy, Python and onnxruntime."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from peers import by_onnxruntime
from runtime.errors import ExecutionError

pytestmark = pytest.mark.filterwarnings("error")

FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")

UNARY = {
    "Abs": np.abs,
    "Acos": np.arccos,
    "Acosh": np.arccosh,
    "Asin": np.arcsin,
    "Asinh": np.arcsinh,
    "Atan": np.arctan,
    "Atanh": np.arctanh,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Exp": np.exp,
    "Floor": np.floor,
    "Log": np.log,
    "Neg": np.negative,
    "Reciprocal": np.reciprocal,
    "Round": np.rint,
    "Sign": np.sign,
    "Sin": np.sin,
    "Sinh": np.sinh,
    "Sqrt": np.sqrt,
    "Tan": np.tan,
    "Tanh": np.tanh,
    "Erf": np.vectorize(math.erf, otypes=[float]),
}
ARITHMETIC = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.true_divide,
}
COMPARISONS = {
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
}

shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
pairs_of_shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0)


def numbers(shape, dtype="float32", seed=0, scale=3.0):
    values = np.random.default_rng(seed).standard_normal(shape) * scale
    return np.asarray(values).astype(dtype)


def integers(shape, dtype, seed=0):
    info = np.iinfo(dtype)
    draw = np.random.default_rng(seed).integers
    return np.asarray(draw(info.min, info.max, shape, dtype=dtype, endpoint=True))


def one(op_type, *inputs, opset=0, **attributes):
    [result] = run_node(op_type, list(inputs), attributes, opset)
    return result


def assert_is(result, wanted):
    """Same type, shape and values, NaN included."""
    wanted = np.asarray(wanted)
    assert isinstance(result, np.ndarray)
    assert (result.dtype, result.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_array_equal(result, wanted)


def by_float64(function, *inputs):
    with np.errstate(all="ignore"):
        return function(*(x.astype(np.float64) for x in inputs))


@pytest.mark.parametrize("op_type", UNARY)
@given(shape=shapes, dtype=st.sampled_from(FLOATS))
def test_functions_agree_with_float64_and_keep_the_type(op_type, shape, dtype):
    x = numbers(shape, dtype)
    result = one(op_type, x)
    assert (result.dtype, result.shape) == (x.dtype, x.shape)
    with np.errstate(all="ignore"):
        wanted = np.asarray(by_float64(UNARY[op_type], x)).astype(dtype)
    tolerance = {"float16": 1e-3, "float32": 1e-6, "float64": 1e-14}[dtype]
    np.testing.assert_allclose(result, wanted, rtol=tolerance, atol=tolerance / 10)


def test_erf_of_integers_is_truncated():
    x = np.arange(-7, 8, dtype=np.int32)
    wanted = np.array([math.trunc(math.erf(v)) for v in x.tolist()], np.int32)
    assert_is(one("Erf", x, opset=9), wanted)


def test_erf_stays_exact_over_many_elements():
    x = np.linspace(-7, 7, 40_000)
    wanted = np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(one("Erf", x), wanted, rtol=1e-14)
    single = one("Erf", x.astype(np.float32).reshape(200, 200))
    np.testing.assert_allclose(single.ravel(), wanted, rtol=3e-6, atol=1e-7)


@pytest.mark.parametrize("op_type", ["Abs", "Neg", "Sign"])
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_integers_stay_integers(op_type, dtype):
    x = np.array([-5, 0, 3], dtype)
    assert_is(one(op_type, x), UNARY[op_type](x))


def test_halves_are_rounded_to_even():
    x = np.array([0.5, 1.5, 2.5, -0.5, -2.5], np.float32)
    assert_is(one("Round", x), np.array([0, 2, 2, -0.0, -2], np.float32))


@pytest.mark.parametrize("op_type", ARITHMETIC)
@given(
    broadcast=pairs_of_shapes,
    dtype=st.sampled_from(FLOATS),
    opset=st.sampled_from([7, 13, 14]),
)
def test_arithmetic_broadcasts(op_type, broadcast, dtype, opset):
    a, b = (numbers(shape, dtype, seed) for seed, shape in enumerate(broadcast[0]))
    with np.errstate(all="ignore"):
        assert_is(one(op_type, a, b, opset=opset), ARITHMETIC[op_type](a, b))


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_arithmetic_wraps_around(op_type, dtype):
    a, b = integers(50, dtype, 1), integers(50, dtype, 2)
    with np.errstate(all="ignore"):
        assert_is(one(op_type, a, b), ARITHMETIC[op_type](a, b))


@pytest.mark.parametrize("op_type", ARITHMETIC)
def test_narrow_floats_are_computed_in_float32_and_rounded_once(op_type):
    dtype = ml_dtypes.bfloat16
    a, b = numbers(100, dtype, 1), numbers(100, dtype, 2)
    wide = ARITHMETIC[op_type](a.astype(np.float32), b.astype(np.float32))
    assert_is(one(op_type, a, b), wide.astype(dtype))


def quotient(a, b):
    size = abs(a) // abs(b)
    return size if (a < 0) == (b < 0) else -size


@pytest.mark.parametrize("dtype", INTEGERS)
def test_quotients_of_integers_are_rounded_towards_zero(dtype):
    a, b = integers((30, 1), dtype, 1), integers((1, 30), dtype, 2)
    a[0], b[0, 0] = 7, 2
    b[b == 0] = 3
    pairs = np.broadcast(a, b)
    wanted = [quotient(int(x), int(y)) for x, y in pairs]
    wanted = np.array(wanted, object).reshape(pairs.shape)
    assert_is(one("Div", a, b), wanted.astype(dtype))


def test_dividing_an_integer_by_zero_is_quiet():
    assert one("Div", np.array([-3, 3]), np.array([0, 0])).shape == (2,)
    least = np.array([-128], np.int8)
    assert_is(one("Div", least, np.array([-1], np.int8)), least)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_remainders_have_the_divisors_sign_or_with_fmod_the_dividends(dtype):
    a, b = integers(200, dtype, 1), integers(200, dtype, 2) // 3
    b[b == 0] = 5
    floored = [int(x) % int(y) for x, y in zip(a, b, strict=True)]
    truncated = [
        int(x) - int(y) * quotient(int(x), int(y)) for x, y in zip(a, b, strict=True)
    ]
    assert_is(one("Mod", a, b), np.array(floored, dtype))
    assert_is(one("Mod", a, b, fmod=1), np.array(truncated, dtype))


def test_remainders_of_floats_keep_the_special_cases_of_opset_28():
    inf, nan = np.inf, np.nan
    x = np.array([5.5, -5.5, 0.0, -0.0, inf, 1, 1, -1, nan], np.float32)
    y = np.array([2, 2, -3, 3, 3, 0, inf, inf, 1], np.float32)
    floored = np.array([1.5, 0.5, -0.0, 0.0, nan, nan, 1, inf, nan], np.float32)
    truncated = np.array([1.5, -1.5, 0, 0, nan, nan, 1, -1, nan], np.float32)
    assert_is(one("Mod", x, y), floored)
    np.testing.assert_array_equal(
        np.signbit(one("Mod", x, y))[2:4], np.signbit(floored)[2:4]
    )
    assert_is(one("Mod", x, y, fmod=1), truncated)


@given(
    base=st.sampled_from(["int32", "int64", "float16", "float32", "float64"]),
    power=st.sampled_from(["int32", "int64", "uint8", "float16", "float32"]),
    broadcast=pairs_of_shapes,
)
def test_powers_have_the_bases_type_whatever_the_exponents(base, power, broadcast):
    left, right = broadcast[0]
    x = np.abs(numbers(left, np.float64)) + 1
    x = x.astype(base)
    y = np.asarray(np.random.default_rng(1).integers(0, 4, right)).astype(power)
    with np.errstate(all="ignore"):
        wanted = np.asarray(np.power(x.astype(np.float64), y.astype(np.float64)))
        wanted = wanted.astype(base)
    result = one("Pow", x, y)
    assert (result.dtype, result.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_allclose(result, wanted, rtol=2e-3 if base == "float16" else 1e-5)


@pytest.mark.parametrize("exponent", [2, 3, 0.5, -1])
def test_a_scalar_power_equals_the_same_power_per_element(exponent):
    x = np.abs(numbers((4, 5)))
    scalar = one("Pow", x, np.array(exponent, np.float32))
    each = one("Pow", x, np.full(x.shape, exponent, np.float32))
    np.testing.assert_allclose(scalar, each, rtol=1e-6)


def test_integers_to_negative_powers_are_truncated():
    x = np.array([1, -1, 2, 10], np.int32)
    assert_is(one("Pow", x, np.array(-1)), np.array([1, -1, 0, 0], np.int32))


@pytest.mark.parametrize("op_type", COMPARISONS)
@pytest.mark.parametrize("dtype", [*FLOATS, "bfloat16", *INTEGERS])
def test_comparisons_give_booleans(op_type, dtype):
    a = np.arange(-3, 4).reshape(7, 1).astype(dtype)
    b = np.arange(-3, 4).astype(dtype)
    assert_is(one(op_type, a, b), COMPARISONS[op_type](a, b))


def test_nothing_compares_with_nan():
    x = np.array([np.nan, 1], np.float32)
    for op_type in COMPARISONS:
        assert not one(op_type, x, x)[0]


@pytest.mark.parametrize("shape", [(), (3,), (0,)])
def test_strings_are_compared_for_equality(shape):
    a = np.full(shape, "a", object)
    assert_is(one("Equal", a, a), np.full(shape, True))
    assert_is(one("Equal", a, np.array("b", object)), np.full(shape, False))


@pytest.mark.parametrize(
    ("op_type", "function"),
    [("And", np.logical_and), ("Or", np.logical_or), ("Xor", np.logical_xor)],
)
@given(broadcast=pairs_of_shapes)
def test_logic_broadcasts(op_type, function, broadcast):
    a, b = (numbers(s, seed=i) > 0 for i, s in enumerate(broadcast[0]))
    a, b = np.asarray(a), np.asarray(b)
    assert_is(one(op_type, a, b), function(a, b))
    assert_is(one("Not", a), np.logical_not(a))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_bits_are_combined_one_by_one(dtype):
    a, b = integers((3, 1), dtype, 1), integers((1, 4), dtype, 2)
    assert_is(one("BitwiseAnd", a, b), a & b)
    assert_is(one("BitwiseOr", a, b), a | b)
    assert_is(one("BitwiseXor", a, b), a ^ b)
    assert_is(one("BitwiseNot", a), ~a)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_shifts_out_of_the_width_leave_only_the_sign(dtype):
    bits = np.iinfo(dtype).bits
    x = integers((40, 1), dtype)
    y = np.array([0, 1, bits - 1, bits, 100, 127], dtype)
    signed = np.dtype(dtype).kind == "i"
    if signed:
        y = np.append(y, np.array([-1], dtype))

    def shifted(value, amount, direction):
        amount = amount if 0 <= amount < bits else bits + 64
        return value << amount if direction == "LEFT" else value >> amount

    for direction in ("LEFT", "RIGHT"):
        wanted = [
            [shifted(int(v), int(n), direction) % (1 << bits) for n in y]
            for v in x[:, 0]
        ]
        wanted = np.array(wanted, np.uint64).astype(dtype)
        assert_is(one("BitShift", x, y, direction=direction), wanted)


def test_a_shift_without_a_known_direction_is_refused():
    x = np.array([1], np.uint8)
    with pytest.raises(ExecutionError, match="LEFT or RIGHT, found 'UP'"):
        one("BitShift", x, x, direction="UP")


@pytest.mark.parametrize("negative", [0, 1])
@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "float8_e5m2"])
def test_infinities_are_found_by_sign(negative, positive, dtype):
    x = np.array([-np.inf, np.inf, np.nan, 1]).astype(dtype)
    wanted = np.array([negative, positive, 0, 0], bool)
    assert_is(
        one("IsInf", x, detect_negative=negative, detect_positive=positive), wanted
    )
    assert_is(one("IsNaN", x), np.array([False, False, True, False]))


@pytest.mark.parametrize("op_type", ["Max", "Mean", "Min", "Sum"])
@given(
    broadcast=st.integers(1, 4).flatmap(
        lambda n: hnp.mutually_broadcastable_shapes(num_shapes=n, min_side=0)
    ),
    dtype=st.sampled_from(FLOATS),
)
def test_any_number_of_inputs_is_combined(op_type, broadcast, dtype):
    inputs = [numbers(s, dtype, seed=i) for i, s in enumerate(broadcast[0])]
    stacked = np.stack(np.broadcast_arrays(*inputs)).astype(np.float64)
    wanted = getattr(np, op_type.lower())(stacked, axis=0)
    result = one(op_type, *inputs)
    assert (result.dtype, result.shape) == (inputs[0].dtype, wanted.shape)
    tolerance = 4e-3 if dtype == "float16" else 1e-5
    np.testing.assert_allclose(result, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("op_type", ["Max", "Mean", "Min", "Sum"])
def test_nan_in_one_input_is_nan_in_the_result(op_type):
    x = np.array([np.nan, 1], np.float32)
    y = np.array([1, np.nan], np.float32)
    assert np.isnan(one(op_type, x, y)).all()


@pytest.mark.parametrize("op_type", ["Max", "Mean", "Min", "Sum"])
@pytest.mark.parametrize("opset", [1, 6])
def test_before_opset_8_inputs_must_have_one_shape(op_type, opset):
    x = numbers((2, 3))
    assert_is(one(op_type, x, x, opset=opset), one(op_type, x, x))
    with pytest.raises(ExecutionError, match=r"\[2, 3\] and \[3\]"):
        one(op_type, x, x[0], opset=opset)


class TestClip:
    @given(shape=shapes, dtype=st.sampled_from([*FLOATS, "int8", "uint8", "int64"]))
    def test_values_are_kept_between_the_bounds(self, shape, dtype):
        x = np.abs(numbers(shape, np.float64, scale=20)).astype(dtype)
        low, high = np.array(3, dtype), np.array(11, dtype)
        assert_is(one("Clip", x, low, high), np.clip(x, low, high))
        assert_is(one("Clip", x, low), np.maximum(x, low))
        assert_is(one("Clip", x, None, high), np.minimum(x, high))
        assert_is(one("Clip", x), x)

    def test_the_upper_bound_wins_where_they_cross(self):
        x = np.array([0, 5, 9], np.float32)
        low, high = np.array(7, np.float32), np.array(2, np.float32)
        assert_is(one("Clip", x, low, high), np.full(3, 2, np.float32))

    def test_nan_stays_and_an_absent_bound_keeps_infinities(self):
        x = np.array([np.nan, np.inf, -np.inf], np.float32)
        wanted = np.array([np.nan, np.inf, 0], np.float32)
        assert_is(one("Clip", x, np.array(0, np.float32)), wanted)

    def test_bounds_are_scalars(self):
        x = np.zeros(2, np.float32)
        with pytest.raises(ExecutionError, match=r"scalar, found shape \[2\]"):
            one("Clip", x, x)

    @pytest.mark.parametrize("opset", [1, 6])
    def test_bounds_are_attributes_before_opset_11(self, opset):
        x = np.array([-5, 0.5, 5], np.float32)
        assert_is(one("Clip", x, opset=opset, min=-1.0, max=1.0), np.clip(x, -1, 1))
        assert_is(one("Clip", x, opset=opset, min=0.0), np.maximum(x, 0))
        assert_is(one("Clip", x, opset=opset), x)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e4m3fn", "int64"])
def test_where_chooses_between_values_of_any_type(dtype):
    x, y = np.array([[1], [2]]).astype(dtype), np.array([3, 4, 5]).astype(dtype)
    condition = np.array([True, False, True])
    assert_is(one("Where", condition, x, y), np.where(condition, x, y))


def test_where_chooses_between_strings():
    x, y = np.array(["a", "b"], object), np.array("c", object)
    wanted = np.array(["a", "c"], object)
    assert_is(one("Where", np.array([True, False]), x, y), wanted)


OLD = {
    (): None,
    (1, 1): None,
    (5,): None,
    (4, 5): None,
    (3, 4): 1,
    (2,): 0,
    (3, 4, 5): -3,
}


class TestBeforeOpset7:
    @pytest.mark.parametrize(("shape", "axis"), OLD.items())
    @pytest.mark.parametrize("opset", [1, 6])
    def test_the_second_input_stands_at_an_axis_of_the_first(self, shape, axis, opset):
        a, b = numbers((2, 3, 4, 5)), numbers(shape, seed=1)
        attributes = {"broadcast": 1} | ({} if axis is None else {"axis": axis})
        start = (4 - len(shape) if axis is None else axis) % 4 if shape else 0
        wide = b.reshape(shape + (1,) * (4 - start - len(shape)))
        wide = b.reshape(()) if b.size == 1 else wide
        assert_is(one("Add", a, b, opset=opset, **attributes), a + wide)
        assert_is(one("Less", a, b, opset=opset, **attributes), a < wide)

    @pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Pow", "Greater"])
    def test_shapes_must_be_equal_unless_broadcasting_is_asked_for(self, op_type):
        a = np.abs(numbers((2, 3)))
        assert_is(one(op_type, a, a, opset=6), one(op_type, a, a))
        with pytest.raises(ExecutionError, match="must have one shape"):
            one(op_type, a, a[0], opset=6)

    @pytest.mark.parametrize(("shape", "axis"), [((3,), 0), ((2, 3), 1), ((4,), None)])
    def test_a_shape_that_does_not_fit_is_refused(self, shape, axis):
        attributes = {"broadcast": 1} | ({} if axis is None else {"axis": axis})
        with pytest.raises(ExecutionError, match="cannot be broadcast to"):
            one("Mul", numbers((2, 3)), numbers(shape), opset=6, **attributes)

    def test_logic_has_the_same_attributes(self):
        a = numbers((2, 3)) > 0
        b = np.array([True, False])
        result = one("Xor", a, b, opset=1, broadcast=1, axis=0)
        assert_is(result, a ^ b[:, None])

    @pytest.mark.parametrize("op_type", ["Abs", "Neg", "Exp", "Tanh", "Sum", "Max"])
    def test_consumed_inputs_of_opset_1_are_ignored(self, op_type):
        x = numbers((2, 3))
        assert_is(one(op_type, x, opset=1, consumed_inputs=[0]), one(op_type, x))


@pytest.mark.parametrize("op_type", ["Add", "Div", "Equal", "Less", "Pow", "Mod"])
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_onnxruntime_agrees(op_type, dtype):
    a = np.array([[-7], [-1], [0], [5], [9]]).astype(dtype)
    b = np.array([1, 2, 3, 4]).astype(dtype)
    fmod = op_type == "Mod" and np.dtype(dtype).kind == "f"
    attributes = {"fmod": 1} if fmod else {}
    [wanted] = by_onnxruntime(op_type, [a, b], attributes, 15)
    result = one(op_type, a, b, opset=15, **attributes)
    assert (result.dtype, result.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_allclose(result, wanted, rtol=1e-6)
