"""Chains of Relu and Clip are two limits; whatever does more is none."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from math import inf

from hypothesis import given
from hypothesis import strategies as st
from runtime_ep_cpu.codegen.expression import ABSENT, Expression, Instruction
from runtime_ep_cpu.native.steps.limits import limits_of

NUMBERS = st.floats(-9, 9, width=32)
CLIPS = st.lists(st.tuples(st.none() | NUMBERS, st.none() | NUMBERS), max_size=3)


def clipping(limits, element="float"):
    """Return an expression that clips again and again, and its constants."""
    count = 1 + 2 * len(limits)
    steps, constants = [], []
    for number, pair in enumerate(limits):
        places = [ABSENT, ABSENT]
        for i, limit in enumerate(pair):
            constants.append(None if limit is None else np.array(limit, np.float32))
            if limit is not None:
                places[i] = len(constants)
        before = count + number - 1 if number else 0
        steps.append(Instruction("clip", (before, *places)))
    last = count + len(steps) - 1 if steps else 0
    operands = (element,) + ("float",) * (count - 1)
    return Expression(operands, tuple(steps), ((last, element),)), constants


@given(CLIPS, st.lists(NUMBERS, min_size=1, max_size=9))
def test_limits_keep_numbers_as_the_chain_does(limits, numbers):
    low, high = limits_of(*clipping(limits))
    want = np.array(numbers, np.float32)
    for least, most in limits:
        want = want if least is None else np.maximum(want, np.float32(least))
        want = want if most is None else np.minimum(want, np.float32(most))
    got = np.minimum(np.maximum(np.array(numbers, np.float32), low), high)
    np.testing.assert_array_equal(got, want)


def one(name, *inputs, **attributes):
    """Return an expression of one operation over a number and others."""
    step = Instruction(name, (0, *inputs), tuple(attributes.items()))
    last = 1 + len(inputs)
    return Expression(("float",) * last, (step,), ((last, "float"),))


def test_what_operators_mean_by_themselves():
    largest = float(np.finfo(np.float32).max)
    assert limits_of(one("relu"), []) == (0, inf)
    assert limits_of(one("clip_by_attributes"), []) == (-largest, largest)
    assert limits_of(one("clip_by_attributes", min=-1.0), []) == (-1, largest)


@pytest.mark.parametrize(
    ("expression", "operands"),
    [
        (one("tanh"), []),
        (one("clip", 1, ABSENT), [None]),
        (one("clip", 1, ABSENT), [np.array([1, 2], np.float32)]),
        (one("clip", 1, ABSENT), [np.array(np.nan, np.float32)]),
        (one("clip", 0, ABSENT), []),
        (clipping([(0.0, 1.0)], "half")[0], [np.float16(0), np.float16(1)]),
        (Expression(("float",), (Instruction("relu", (0,)),) * 2, ((2, "float"),)), []),
    ],
)
def test_others_have_no_limits(expression, operands):
    assert limits_of(expression, operands) is None
