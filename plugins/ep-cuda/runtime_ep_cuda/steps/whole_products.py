"""Which products of matrices are of int8, and what their sums stand for."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from runtime.graph import Node

from runtime_ep_cuda.group import Group
from runtime_ep_cuda.operations import Product, Spec
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.quantized import constant_of
from runtime_ep_cuda.steps import product, whole
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.steps.whole_chain import Ending
from runtime_ep_cuda.steps.whole_columns import Columns
from runtime_ep_cuda.steps.whole_sources import (
    INT8,
    Source,
    Weights,
    as_int8,
    source_of,
    weights_of,
)
from runtime_ep_cuda.tensor import Tensor

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """A product's factors: bytes by bytes that are constant, or activations, too.

    ``turned`` tells that a constant is (columns, rows); ``alpha`` multiplies the product,
    and ``bias``, one number or one a column, is added to it then.
    """

    a: Source
    b: Source | Weights
    turned: bool = False
    alpha: float = 1.0
    bias: Array | None = None
    ending: Ending | None = None


def factors_of(group: Group) -> Factors | None:
    """Return the factors of a MatMul or Gemm of dequantized bytes."""
    node = anchor_of(group)
    gemm = node.op_type == "Gemm"
    if gemm and node.attribute("transA", 0):
        return None
    turned = bool(gemm and node.attribute("transB", 0))
    a, value = source_of(node.inputs[0], group.before), node.inputs[1]
    rank = len(value.shape or ()) if value is not None else 0
    b: Source | Weights | None = None
    if rank == 2:
        b = weights_of(value, 0 if turned else 1)
    if b is None and not turned:
        b = source_of(value, group.before)
    if a is None or b is None:
        return None
    if not gemm:
        return Factors(a, b, turned)
    bias = _bias(node)
    if bias is None and node.input(2) is not None:
        return None
    return Factors(a, b, turned, float(node.attribute("alpha", 1.0)), bias)


def _bias(node: Node) -> Array | None:
    """Return what a Gemm adds to each column, if it is known."""
    value = node.input(2)
    array = None if value is None else constant_of(value)
    if array is None or prod(array.shape[:-1]) != 1:
        return None
    return array.reshape(-1).astype(np.float64) * float(node.attribute("beta", 1.0))


def multiplied(planner: Planner, group: Group) -> bool:
    """Plan a MatMul or Gemm of dequantized bytes by whole numbers, if that goes."""
    found = factors_of(group)
    if found is None:
        return False
    work = work_of(planner, found)
    return work is not None and whole.done(planner, group, work)


def work_of(planner: Planner, factors: Factors) -> whole.Work | None:
    """Return a product as work for `whole`, or ``None`` where it is not exact so."""
    a, zero = as_int8(planner, factors.a)
    made = _second(planner, factors)
    if made is None:
        return None
    b, other = made
    if other or (zero and isinstance(factors.b, Source)) or 0 in (*a.shape, *b.shape):
        return None
    shape, wide_a, wide_b = product.batched(planner, a, b)
    under = (*wide_a.shape[:2], wide_b.shape[2])
    y = planner.new(INT8, under)
    operation = Product(Spec.of(wide_a), Spec.of(wide_b), Spec.of(y))
    if isinstance(factors.b, Source):
        number = factors.a.scale * factors.b.scale * factors.alpha
        return whole.Work(
            operation, (wide_a, wide_b), shape, None,
            lambda tensor: tensor.reshaped(under),
            lambda unit: number / unit, lambda unit: None, factors.ending,
        )  # fmt: skip
    scale = factors.a.scale * factors.alpha
    axis = 0 if factors.turned else 1
    vectors = Columns(planner, factors.b, axis, (1, 1, -1), scale, zero, factors.bias)
    return whole.Work(
        operation, (wide_a, wide_b), shape, None,
        lambda tensor: tensor.reshaped(under),
        vectors.factor, vectors.offset, factors.ending,
    )  # fmt: skip


def _second(planner: Planner, factors: Factors) -> tuple[Tensor, int] | None:
    """Return the second factor as int8, constants by columns, and its zero point."""
    b = factors.b
    if isinstance(b, Source):
        return as_int8(planner, b)
    axis = 0 if factors.turned else 1
    if not b.fits(axis):
        return None

    def by_columns(_: Array) -> Array:
        made = b.centred(axis)
        return made if factors.turned else made.T

    form: Hashable = ("int8 by columns", factors.turned, b.key)
    return planner.weight(b.value, form, by_columns, INT8).transposed((1, 0)), 0
