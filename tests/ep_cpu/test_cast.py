"""Conversions between element types, against the standard's rules and tables."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from peers import by_onnxruntime
from runtime.errors import ExecutionError
from runtime.valuetypes import ELEMENT_TYPES, element_code, numpy_dtype

pytestmark = pytest.mark.filterwarnings("error")

TYPES = {entry.numpy: numpy_dtype(code) for code, entry in ELEMENT_TYPES.items()}
NUMERIC = [name for name in TYPES if name != "object"]
FLOAT8 = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
SIGNED_FLOATS = ("float16", "bfloat16", "float32", "float64", *FLOAT8)


def cast(x, to, opset=25, **attributes):
    code = element_code(TYPES.get(to, to))
    [result] = run_node("Cast", [x], {"to": code, **attributes}, opset)
    assert isinstance(result, np.ndarray)
    assert (result.dtype, result.shape) == (numpy_dtype(code), x.shape)
    return result


def exact(x):
    """An array's values as NumPy's widest type of their kind."""
    return x if x.dtype.kind == "c" else x.astype(np.float64)


def bits(x):
    return x.view(np.uint8)


@pytest.mark.parametrize("to", NUMERIC)
@pytest.mark.parametrize("source", NUMERIC)
def test_small_numbers_survive_every_conversion(source, to):
    x = np.array([0, 1, 1]).astype(TYPES[source])
    if "float8_e8m0fnu" in (source, to):
        x = x[1:]
    np.testing.assert_array_equal(exact(cast(x, to)), exact(x))


@pytest.mark.parametrize("to", NUMERIC)
@given(shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
def test_the_shape_stays(to, shape):
    cast(np.ones(shape, np.float32), to)


@given(
    values=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
    to=st.sampled_from(["int8", "uint8", "int16", "uint16", "int32", "uint32"]),
)
def test_integers_that_do_not_fit_lose_their_higher_bits(values, to):
    x = np.array(values, np.int64)
    info = np.iinfo(to)
    wanted = [(v - info.min) % (info.max - info.min + 1) + info.min for v in values]
    np.testing.assert_array_equal(cast(x, to), np.array(wanted, to))


@pytest.mark.parametrize("to", ["int2", "int4", "uint2", "uint4"])
@pytest.mark.parametrize("source", ["int8", "uint8", "int32", "float32", "float16"])
def test_sub_byte_integers_lose_higher_bits_too(source, to):
    width = int(to[-1])
    whole = np.arange(-8, 16) if source != "uint8" else np.arange(16)
    wanted = whole % (1 << width)
    if to.startswith("int"):
        wanted = np.where(wanted >> (width - 1), wanted - (1 << width), wanted)
    result = cast(whole.astype(source), to)
    np.testing.assert_array_equal(result.astype(np.int64), wanted)


def test_floats_become_integers_by_truncation():
    x = np.array([-2.7, -0.5, 0.5, 2.7])
    for source in ("float16", "float32", "float64", "bfloat16"):
        result = cast(x.astype(TYPES[source]), "int32")
        np.testing.assert_array_equal(result, [-2, 0, 0, 2])


@pytest.mark.parametrize("source", [n for n in NUMERIC if "e8m0" not in n])
def test_only_zeros_are_false(source):
    x = np.array([0, 1, -1]).astype(np.int8).astype(TYPES[source])
    np.testing.assert_array_equal(cast(x, "bool"), [False, True, True])


def test_nan_and_infinity_are_true():
    x = np.array([np.nan, np.inf, -0.0], np.float32)
    np.testing.assert_array_equal(cast(x, "bool"), [True, True, False])


@pytest.mark.parametrize("to", ["float16", "bfloat16", "float32"])
def test_floats_that_do_not_fit_become_infinite(to):
    x = np.array([1e300, -1e300, np.nan])
    np.testing.assert_array_equal(exact(cast(x, to)), [np.inf, -np.inf, np.nan])


def test_float16_rounds_to_even():
    x = np.array([1 + 2**-11, 1 + 3 * 2**-11], np.float64)
    np.testing.assert_array_equal(cast(x, "float16"), [1, 1 + 2**-9])


def test_imaginary_parts_are_dropped():
    x = np.array([1.5 + 2j, -3j], np.complex64)
    np.testing.assert_array_equal(cast(x, "float32"), [1.5, 0])
    np.testing.assert_array_equal(cast(x, "int8"), [1, 0])
    np.testing.assert_array_equal(cast(x, "bool"), [True, True])
    np.testing.assert_array_equal(cast(x, "complex128"), x)


LARGEST = dict(zip(FLOAT8, (448, 240, 57344, 57344), strict=True))


class TestFloat8:
    @pytest.mark.parametrize("to", FLOAT8)
    @pytest.mark.parametrize("source", ["float16", "bfloat16", "float32", "float64"])
    def test_large_values_saturate_by_default(self, source, to):
        x = np.array([np.inf, -np.inf, np.nan, 6e4, -6e4]).astype(TYPES[source])
        limit = LARGEST[to]
        wanted = [limit, -limit, np.nan, limit, -limit]
        np.testing.assert_array_equal(exact(cast(x, to)), wanted)

    @pytest.mark.parametrize("to", FLOAT8)
    def test_without_saturation_they_become_infinite_or_nan(self, to):
        x = np.array([np.inf, -np.inf, np.nan, 1e6, -1e6], np.float32)
        beyond = np.inf if to == "float8_e5m2" else np.nan
        wanted = [beyond, -beyond, np.nan, beyond, -beyond]
        np.testing.assert_array_equal(exact(cast(x, to, saturate=0)), wanted)

    def test_values_that_round_down_to_the_largest_are_in_range(self):
        x = np.array([463.9, 464.1], np.float32)
        result = exact(cast(x, "float8_e4m3fn", saturate=0))
        np.testing.assert_array_equal(result, [448, np.nan])

    @pytest.mark.parametrize("to", FLOAT8)
    def test_negative_zero_keeps_its_sign_where_the_type_has_one(self, to):
        [byte] = bits(cast(np.array([-0.0], np.float32), to))
        assert byte == (0 if to.endswith("uz") else 0x80)

    @pytest.mark.parametrize("to", FLOAT8)
    def test_every_value_comes_back(self, to):
        every = np.arange(256, dtype=np.uint8).view(TYPES[to])
        finite = every[np.isfinite(every.astype(np.float32))]
        for through in ("float16", "float32", "float64"):
            back = cast(cast(finite, through), to)
            np.testing.assert_array_equal(bits(back), bits(finite))

    @given(x=hnp.arrays(np.float32, 20, elements=st.floats(-500, 500, width=32)))
    def test_the_nearest_value_is_taken(self, x):
        every = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn)
        grid = every.astype(np.float32)
        grid = grid[np.isfinite(grid)]
        distance = np.abs(x[:, None] - grid).min(axis=1)
        result = exact(cast(x, "float8_e4m3fn"))
        np.testing.assert_array_equal(np.abs(result - x), distance)

    def test_integers_saturate_too(self):
        x = np.array([1000, -1000, 17], np.int64)
        result = exact(cast(x, "float8_e4m3fn"))
        np.testing.assert_array_equal(result, [448, -448, 16])


class TestFloat8E8M0:
    X = (1, 1.25, 1.5, 1.75, 2, 2.0**-127, 2.0**127)

    @pytest.mark.parametrize(
        ("mode", "wanted"),
        [
            ("up", [1, 2, 2, 2, 2, 2.0**-127, 2.0**127]),
            ("down", [1, 1, 1, 1, 2, 2.0**-127, 2.0**127]),
            ("nearest", [1, 1, 2, 2, 2, 2.0**-127, 2.0**127]),
        ],
    )
    def test_values_are_rounded_to_powers_of_two(self, mode, wanted):
        x = np.array(self.X, np.float64)
        result = cast(x, "float8_e8m0fnu", round_mode=mode)
        np.testing.assert_array_equal(exact(result), wanted)

    def test_saturation_up_is_the_standards_first_column(self):
        x = np.array([0, np.nan, np.inf, 1e300, 1e-300])
        wanted = [2.0**-127, np.nan, 2.0**127, 2.0**127, 2.0**-127]
        np.testing.assert_array_equal(exact(cast(x, "float8_e8m0fnu")), wanted)

    def test_nearest_without_saturation_is_its_second_column(self):
        x = np.array([0, np.nan, np.inf, 1e300, 1e-300])
        result = cast(x, "float8_e8m0fnu", saturate=0, round_mode="nearest")
        assert np.isnan(exact(result)).all()

    def test_an_unknown_rounding_is_refused(self):
        with pytest.raises(ExecutionError, match="up, down or nearest"):
            cast(np.ones(1, np.float32), "float8_e8m0fnu", round_mode="even")


class TestStrings:
    @pytest.mark.parametrize(
        ("x", "wanted"),
        [
            (np.array([1.5, 0.1, -2, 1e-7], np.float32), ["1.5", "0.1", "-2", "1e-07"]),
            (np.array([1 / 3, 1e300]), ["0.3333333333333333", "1e+300"]),
            (np.array([np.nan, np.inf, -np.inf]), ["NaN", "INF", "-INF"]),
            (np.array([0.1], np.float16), ["0.1"]),
            (np.array([-3, 200], np.int64), ["-3", "200"]),
            (np.array([True, False]), ["1", "0"]),
            (np.array([-3, 2]).astype(ml_dtypes.int4), ["-3", "2"]),
            (np.array([1.5]).astype(ml_dtypes.bfloat16), ["1.5"]),
        ],
    )
    def test_numbers_are_written_with_as_few_digits_as_possible(self, x, wanted):
        assert cast(x, "object").tolist() == wanted

    @pytest.mark.parametrize("to", SIGNED_FLOATS)
    def test_floats_are_read(self, to):
        x = np.array(["1.5", "1E1", "-2e0", "+INF", "inf", "-INF", "nan"], object)
        wanted = [1.5, 10, -2, np.inf, np.inf, -np.inf, np.nan]
        if to in FLOAT8:
            x, wanted = x[:3], wanted[:3]
        np.testing.assert_array_equal(exact(cast(x, to)), wanted)

    @pytest.mark.parametrize("to", ["int8", "uint8", "int64", "uint64", "int4"])
    def test_integers_are_read_and_fractions_cut_off(self, to):
        x = np.array(["7", "2.9", "1e0"], object)
        np.testing.assert_array_equal(cast(x, to).astype(np.int64), [7, 2, 1])

    def test_large_integers_are_read_exactly(self):
        for to, value in (("int64", 2**63 - 1), ("uint64", 2**64 - 1)):
            assert cast(np.array([str(value)], object), to).tolist() == [value]

    def test_booleans_are_read_as_numbers(self):
        x = np.array(["0", "1", "2.5"], object)
        np.testing.assert_array_equal(cast(x, "bool"), [False, True, True])

    def test_strings_stay_as_they_are(self):
        x = np.array(["a", "b"], object)
        assert cast(x, "object").tolist() == ["a", "b"]

    @pytest.mark.parametrize("to", ["float32", "int32", "bool"])
    def test_what_is_no_number_is_refused(self, to):
        with pytest.raises(ExecutionError, match="Hello"):
            cast(np.array(["Hello"], object), to)

    @given(st.lists(st.floats(width=32), min_size=1, max_size=10))
    def test_floats_come_back_from_their_spelling(self, values):
        x = np.array(values, np.float32)
        np.testing.assert_array_equal(cast(cast(x, "object"), "float32"), x)


class TestVersions:
    def test_opset_1_spells_the_type(self):
        x = np.array([1.5, 2.5], np.float32)
        [result] = run_node("Cast", [x], {"to": "INT32"}, 1)
        np.testing.assert_array_equal(result, np.array([1, 2], np.int32))
        with pytest.raises(ExecutionError, match="names no element type"):
            run_node("Cast", [x], {"to": "NUMBER"}, 1)

    @pytest.mark.parametrize("opset", [6, 9, 13, 19, 21, 23, 24, 25])
    def test_later_ones_number_it(self, opset):
        x = np.array([1.5, 2.5], np.float32)
        np.testing.assert_array_equal(cast(x, "int32", opset), [1, 2])

    def test_a_number_without_a_type_is_refused(self):
        with pytest.raises(ExecutionError, match="99 is no element type"):
            run_node("Cast", [np.ones(1)], {"to": 99}, 21)

    @pytest.mark.parametrize("opset", [15, 19, 21, 23, 24, 25])
    @pytest.mark.parametrize("to", ["int8", "float16", "object", "bool"])
    def test_cast_like_takes_the_type_of_its_second_input(self, opset, to):
        x, like = np.array([0, 1.5], np.float32), np.empty((0, 3), TYPES[to])
        [result] = run_node("CastLike", [x, like], {}, opset)
        np.testing.assert_array_equal(result, cast(x, to))
        assert result.dtype == TYPES[to]

    def test_cast_like_saturates_or_not(self):
        x, like = np.array([1e6], np.float32), np.empty(0, ml_dtypes.float8_e5m2)
        for saturate, wanted in ((1, 57344), (0, np.inf)):
            [result] = run_node("CastLike", [x, like], {"saturate": saturate}, 19)
            assert float(result[0]) == wanted


class TestBitCast:
    @staticmethod
    def bit_cast(x, to):
        attributes = {"to": element_code(TYPES[to])}
        [result] = run_node("BitCast", [x], attributes, 26)
        return result

    @pytest.mark.parametrize(
        ("source", "to"),
        [
            (a.numpy, b.numpy)
            for a, b in itertools.permutations(ELEMENT_TYPES.values(), 2)
            if a.bits == b.bits and "object" not in (a.numpy, b.numpy)
        ],
    )
    def test_the_bits_stay(self, source, to):
        x = np.array([[0, 1], [1, 1]]).astype(TYPES[source])
        result = self.bit_cast(x, to)
        assert (result.dtype, result.shape) == (TYPES[to], x.shape)
        if to != "bool":
            assert result.tobytes() == x.tobytes()

    def test_signs_are_reinterpreted(self):
        x = np.array([-3, 3]).astype(ml_dtypes.int4)
        assert self.bit_cast(x, "uint4").astype(int).tolist() == [13, 3]
        assert self.bit_cast(np.array(-1.0, np.float32), "uint32") == 0xBF800000

    def test_any_bit_makes_a_boolean_true(self):
        result = self.bit_cast(np.array([0, 1, 2], np.uint8), "bool")
        assert result.view(np.uint8).tolist() == [0, 1, 1]

    @pytest.mark.parametrize("to", ["int64", "uint4", "object"])
    def test_widths_must_be_equal(self, to):
        with pytest.raises(ExecutionError, match="cannot reinterpret float as"):
            self.bit_cast(np.ones(2, np.float32), to)


@pytest.mark.parametrize("to", ["float32", "float16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("source", ["float32", "float64", "int32", "int8", "bool"])
def test_onnxruntime_agrees(source, to):
    x = np.array([0, 1, 100, 2.75]).astype(source)
    attributes = {"to": element_code(TYPES[to])}
    [wanted] = by_onnxruntime("Cast", [x], attributes, 13)
    np.testing.assert_array_equal(cast(x, to, 13), wanted)
