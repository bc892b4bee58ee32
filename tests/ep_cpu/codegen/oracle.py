"""Evaluates expressions with NumPy, floats in float64: what generated code must say."""

from types import SimpleNamespace

import ml_dtypes
import numpy as np
from runtime_ep_cpu.codegen.expression import Expression, Instruction, evaluate
from runtime_ep_cpu.ops._array_math import math_of

DTYPES = {
    "float": np.dtype(np.float32),
    "half": np.dtype(np.float16),
    "bfloat": np.dtype(ml_dtypes.bfloat16),
    "double": np.dtype(np.float64),
    "i64": np.dtype(np.int64),
    "i32": np.dtype(np.int32),
    "i16": np.dtype(np.int16),
    "i8": np.dtype(np.int8),
    "i1": np.dtype(np.bool_),
}


def wide(element):
    """Return the type an oracle computes an element in."""
    is_float = element in ("float", "half", "bfloat", "double")
    return np.dtype(np.float64) if is_float else DTYPES[element]


class _Math(SimpleNamespace):
    def constant(self, value, type):
        return np.asarray(value, wide(type))

    def convert(self, x, type):
        return x.astype(wide(type))

    def equal(self, x, y):
        return x == y


def math():
    """Return the namespace."""
    namespace = math_of(np)
    return _Math(**vars(namespace))


def values(expression, operands):
    """Return the results of an expression, floats as float64."""
    given = [
        np.asarray(x).astype(wide(element))
        for x, element in zip(operands, expression.operands, strict=True)
    ]
    with np.errstate(all="ignore"):
        return evaluate(expression, given, math())


def identity(element="float"):
    """Return the expression that leaves one operand what it is."""
    return Expression((element,), (), ((0, element),))


def one(operation, *operands, result="float", **attributes):
    """Return the expression of one operation."""
    step = Instruction(
        operation, tuple(range(len(operands))), tuple(sorted(attributes.items()))
    )
    return Expression(operands, (step,), ((len(operands), result),))


def strides(array):
    """Return an array's strides in elements; 0 along axes of one element."""
    return [
        stride // array.itemsize if size != 1 else 0
        for stride, size in zip(array.strides, array.shape, strict=True)
    ]
