"""Operators against the standard's reference: shapes, axes and attributes at random."""

import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_reference

SEEDS = st.integers(0, 10_000)
SIDES = st.integers(0, 3)
SHAPES = st.lists(SIDES, max_size=3).map(tuple)
FLAGS = st.sampled_from([0, 1])


class Numbers:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def of(self, dtype, shape):
        """Numbers of both signs, with ties; floats with fractions too."""
        dtype = np.dtype(dtype)
        whole = self.random.integers(-3, 4, shape)
        if dtype.kind == "b":
            return np.asarray(whole > 0)
        if dtype.kind == "u":
            return np.asarray(abs(whole), dtype)
        if dtype.kind == "f" and self.random.random() < 0.5:
            return np.asarray(whole + self.random.random(shape), dtype)
        return np.asarray(whole, dtype)


def broadcast(data, shape):
    """Draw a shape that broadcasts with another one."""
    cut = shape[data.draw(st.integers(0, len(shape))) :]
    return tuple(data.draw(st.sampled_from([1, side])) for side in cut)


def compare(op, inputs, attributes=None, outputs=1, rtol=1e-5, atol=1e-6, opset=0):
    opset = opset or 25
    with np.errstate(all="ignore"):
        want = by_reference(op, inputs, attributes, opset, outputs=outputs)
    got = run_node(op, inputs, attributes, opset, outputs=outputs)
    for ours, theirs in zip(got, want, strict=True):
        theirs = np.asarray(theirs)
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        if ours.dtype.kind in "biuO":
            assert ours.tolist() == theirs.tolist()
        else:
            np.testing.assert_allclose(ours, theirs, rtol, atol)


COMPARED = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"]
BITWISE = ["BitwiseAnd", "BitwiseOr", "BitwiseXor"]
NUMBERS = ["float32", "float64", "float16", "int32", "int64", "uint8", "int16"]
WHOLE = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
PAIRS = {
    **dict.fromkeys(COMPARED, NUMBERS),
    **dict.fromkeys(BITWISE, WHOLE),
    "PRelu": ["float32", "float64"],
}


@pytest.mark.parametrize("op", PAIRS)
@given(data=st.data(), shape=SHAPES, seed=SEEDS)
def test_pairs_are_broadcast(op, data, shape, seed):
    numbers = Numbers(seed)
    dtype = data.draw(st.sampled_from(PAIRS[op]))
    other = broadcast(data, shape)
    compare(op, [numbers.of(dtype, shape), numbers.of(dtype, other)])


@given(st.data(), SHAPES, SEEDS)
def test_where_broadcasts_three(data, shape, seed):
    numbers = Numbers(seed)
    dtype = data.draw(st.sampled_from([*NUMBERS, "bool"]))
    parts = [numbers.of(d, broadcast(data, shape)) for d in ("bool", dtype)]
    compare("Where", [*parts, numbers.of(dtype, shape)])


@given(st.data(), SHAPES, SEEDS, FLAGS)
def test_remainders(data, shape, seed, fmod):
    """By zero is left out: the standard leaves it open for integers."""
    numbers = Numbers(seed)
    dtype = data.draw(st.sampled_from(["float32", "int32", "int64", "uint8", "int8"]))
    fmod = 1 if dtype == "float32" else fmod
    divisor = numbers.of(dtype, broadcast(data, shape))
    divisor = np.where(divisor == 0, 3, divisor).astype(dtype)
    compare("Mod", [numbers.of(dtype, shape), divisor], {"fmod": fmod})


@given(st.data(), SHAPES, SEEDS, st.sampled_from(["LEFT", "RIGHT"]))
def test_shifted_bits(data, shape, seed, direction):
    numbers = Numbers(seed)
    dtype = data.draw(st.sampled_from(["uint8", "uint16", "uint32", "uint64"]))
    parts = [numbers.of(dtype, s) for s in (shape, broadcast(data, shape))]
    compare("BitShift", parts, {"direction": direction})


@given(SHAPES, SEEDS, st.sampled_from(WHOLE))
def test_inverted_bits(shape, seed, dtype):
    compare("BitwiseNot", [Numbers(seed).of(dtype, shape)])


@given(SHAPES, SEEDS, FLAGS, FLAGS)
def test_numbers_that_are_none(shape, seed, negative, positive):
    x = Numbers(seed).random.choice([0, 1, np.nan, np.inf, -np.inf], shape)
    x = np.asarray(x, np.float32)
    compare("IsNaN", [x])
    made = {"detect_negative": negative, "detect_positive": positive}
    compare("IsInf", [x], made)


@given(SHAPES, SHAPES, SEEDS)
def test_texts_are_joined(shape, tail, seed):
    random = Numbers(seed).random
    words = np.array(["", "a", "жук", "b c"], object)
    x = np.asarray(random.choice(words, shape), object)
    y = np.asarray(random.choice(words, (1,) * len(tail)), object)
    (got,) = run_node("StringConcat", [x, y])
    assert got.tolist() == np.asarray(np.add(x, y), object).tolist()


@given(SHAPES, SEEDS, st.sampled_from(["float32", "int64", "uint8", "bool", "float16"]))
def test_the_type_of_another(shape, seed, dtype):
    numbers = Numbers(seed)
    x = abs(numbers.of("float32", shape))
    compare("CastLike", [x, numbers.of(dtype, (1,))], opset=24)


@given(SHAPES, SEEDS, st.sampled_from([1, 2, 6, 12, 10, 4]))
def test_bits_read_anew(shape, seed, target):
    from runtime.valuetypes import numpy_dtype

    dtype = numpy_dtype(target)
    source = {8: "int64", 4: "int32", 2: "int16", 1: "int8"}[dtype.itemsize]
    x = Numbers(seed).of(source, shape)
    (got,) = run_node("BitCast", [x], {"to": target}, 26)
    assert got.dtype == dtype
    assert got.shape == shape
    assert got.tobytes() == x.tobytes()


EQUATIONS = {
    "ij,jk->ik": ((2, 3), (3, 2)),
    "ij,kj": ((2, 3), (4, 3)),
    "bij,bjk->bik": ((2, 3, 2), (2, 2, 1)),
    "...ij,...jk": ((2, 3, 2), (1, 2, 2)),
    "ii->i": ((3, 3),),
    "ij->ji": ((2, 0),),
    "i,j": ((2,), (3,)),
    "ijk->": ((2, 1, 3),),
    " i j , j -> i": ((2, 3), (3,)),
}


@pytest.mark.parametrize("equation", EQUATIONS)
@given(seed=SEEDS, dtype=st.sampled_from(["float32", "float64", "int32", "int64"]))
def test_sums_of_products_by_letters(equation, seed, dtype):
    numbers = Numbers(seed)
    inputs = [numbers.of(dtype, shape) for shape in EQUATIONS[equation]]
    (got,) = run_node("Einsum", inputs, {"equation": equation})
    want = np.einsum(equation, *(x.astype("f8") for x in inputs))
    assert got.dtype == np.dtype(dtype)
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(got, want, 1e-4, 1e-5)
