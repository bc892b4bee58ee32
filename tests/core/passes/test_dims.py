"""Arithmetic on dims: equal expressions have one spelling, and no spelling lies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime.passes import dims

SIZES = {"a": 3, "b": 4, "past": 5, "seq": 7, "unk__0": 2, "k.3_dim": 6}


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("seq + past", "past + seq"),
        ("1 + seq", "seq + 1"),
        ("2*a*b", "2*a*b"),
        ("b * a", "a*b"),
        ("2*(a+b)", "2*a + 2*b"),
        ("a - a", 0),
        ("-a + b", "b - a"),
        ("(2*a)//2", "a"),
        ("(1 + a)//2", "(a + 1)//2"),
        ("((a - 1)//2) + 1", "(a - 1)//2 + 1"),
        ("Min(a, 64)", "Min(64, a)"),
        ("past_sequence_length + 1", "past_sequence_length + 1"),
        ("Concatk.3_dim_0", "Concatk.3_dim_0"),
        ("seq-len", "seq-len"),
        ("batch size", "batch size"),
        ("a//b", "a//b"),
        ("2x", "2x"),
        ("", ""),
    ],
)
def test_one_spelling(spelling, canonical):
    assert dims.canonical(spelling) == canonical
    assert dims.canonical(canonical) == canonical


@pytest.mark.parametrize(
    ("operation", "a", "b", "result"),
    [
        (dims.add, "past", "seq", "past + seq"),
        (dims.add, "a", -1, "a - 1"),
        (dims.subtract, "past + seq", "past", "seq"),
        (dims.multiply, "a", 0, 0),
        (dims.multiply, "past + seq", 2, "2*past + 2*seq"),
        (dims.divide, "64*b*past + 64*b*seq", "b*past + b*seq", 64),
        (dims.divide, "768*a*b", "64*a*b", 12),
        (dims.divide, "a*b", "b", "a"),
        (dims.divide, "a", "b", None),
        (dims.divide, "a", 0, None),
        (dims.divide, 0, "a", 0),
        (dims.divide, "a - 1", 2, "(a - 1)//2"),
        (dims.minimum, "a", "a + 1", "a"),
        (dims.minimum, 64, "a", "Min(64, a)"),
        (dims.minimum, 3, 2, 2),
        (dims.add, None, 1, None),
    ],
)
def test_operations(operation, a, b, result):
    assert operation(a, b) == result


def test_products_of_quotients_keep_their_meaning():
    half = dims.add(dims.divide(dims.add("a", -1), 2), 1)
    other = dims.add(dims.divide(dims.add("b", -1), 2), 1)
    area = dims.multiply(half, other)
    assert dims.canonical(area) == area
    assert dims.divide(dims.multiply(area, 32), area) == 32
    assert dims.divide(area, half) == other
    assert value(area) == ((3 - 1) // 2 + 1) * ((4 - 1) // 2 + 1)


@pytest.mark.parametrize(
    ("a", "b", "bounded"),
    [
        ("Min(64, seq)", "seq", True),
        ("Min(seq, 64 - past)", "seq", True),
        ("Min(1, seq)", "seq", False),
        ("Min(64, seq)", "past", False),
        ("Min(64, seq) + 1", "seq", False),
        ("seq", "seq", False),
        (5, "seq", False),
    ],
)
def test_a_minimum_that_broadcasts_to_a_dim_is_that_dim(a, b, bounded):
    assert dims.bounded_by(a, b) is bounded


@pytest.mark.parametrize(
    ("shapes", "result"),
    [
        ([("a", 1), (1, 4)], ("a", 4)),
        ([("a", 4), (4,)], ("a", 4)),
        ([("a", "b"), ("a", "b")], ("a", "b")),
        ([("a",), ("b",)], (None,)),
        ([("a",), (5,)], (5,)),
        ([("seq",), ("Min(64, seq)",)], ("seq",)),
        ([None, (1,)], None),
    ],
)
def test_broadcasting(shapes, result):
    assert dims.broadcast(shapes) == result


@pytest.mark.parametrize(
    ("cut", "length"),
    [
        ((8, 2, 5, 1), 3),
        ((8, 0, 2**63 - 1, 1), 8),
        ((8, -1, 2**63 - 1, 1), 1),
        ((8, 7, -9, -2), 4),
        (("a", 0, 2**63 - 1, 1), "a"),
        (("a", 0, "a", 1), "a"),
        ((64, 0, "a", 1), "Min(64, a)"),
        ((64, "past", "past + seq", 1), "Min(64 - past, seq)"),
        (("a", 1, 2**63 - 1, 1), None),
        (("a", -1, 2**63 - 1, 1), "Min(1, a)"),
        (("a", 0, "b", 2), None),
        ((None, 0, 3, 1), None),
    ],
)
def test_how_many_elements_a_slice_has(cut, length):
    assert dims.sliced(*cut) == length


def value(dim):
    """Compute a spelling for fixed sizes."""
    names = {name.replace(".", "_"): size for name, size in SIZES.items()}
    return eval(str(dim).replace(".", "_"), {"Min": min}, names)


def numbers():
    """Return expressions made by this module's own operations."""
    leaves = st.sampled_from([*SIZES, 1, 2, 3, 64])
    operations = st.sampled_from([dims.add, dims.multiply, dims.divide, dims.minimum])
    return st.recursive(
        leaves,
        lambda inner: st.builds(lambda f, a, b: f(a, b), operations, inner, inner),
        max_leaves=6,
    )


@given(numbers(), numbers())
def test_every_result_is_true_whatever_the_sizes(a, b):
    for operation, plain in (
        (dims.add, lambda x, y: x + y),
        (dims.subtract, lambda x, y: x - y),
        (dims.multiply, lambda x, y: x * y),
        (dims.minimum, min),
    ):
        result = operation(a, b)
        if result is not None:
            assert value(result) == plain(value(a), value(b))
            assert dims.canonical(result) == result
    quotient = dims.divide(a, b)
    if quotient is not None:
        assert value(quotient) == value(a) // value(b)
    if dims.at_most(a, b):
        assert value(a) <= value(b)
