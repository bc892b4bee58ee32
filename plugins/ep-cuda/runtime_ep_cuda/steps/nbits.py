"""Weights of few bits in blocks: unpacked and scaled on their way to the device."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
from runtime.graph import Node, Value
from runtime_ep_cpu.ops._contrib_blocks import BITS, unpacked

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import gather as reading
from runtime_ep_cuda.dtypes import FLOATS, INT32, INT64, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.product import multiply
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of

MS = "com.microsoft"

Array = np.ndarray[Any, Any]


def _known(node: Node, places: tuple[int, ...]) -> bool:
    given = (node.input(place) for place in places)
    return all(value is None or value.is_constant for value in given)


def _refuses_product(node: Node) -> str:
    if not _known(node, (1, 2, 3, 4)):
        return "packed weights that are no constants are not supported"
    if dtype_of(node.inputs[0]) not in FLOATS:
        return "MatMulNBits of these element types is not supported"
    if node.attribute("bits", 4) not in BITS or node.attribute("weight_prepacked", 0):
        return "weights packed this way are not supported"
    size = node.attribute("block_size")
    if size < 16 or size & (size - 1):
        return f"blocks of {size} are not supported"
    return ""


@plans("MatMulNBits", domain=MS, refuse=_refuses_product, after=True)
def matmul_n_bits(planner: Planner, group: Group) -> None:
    """MatMulNBits: a product with weights (N, K), which lie unpacked on the device."""
    node = anchor_of(group)
    dtype = planner.storage(node.outputs[0])
    a = planner.typed(planner.tensor(node.inputs[0]), dtype)
    depth, columns = node.attribute("K"), node.attribute("N")
    if not a.rank or a.shape[-1] != depth:
        raise Unplannable(f"{list(a.shape)} has not K = {depth}")
    packed: Any = node.inputs[1]
    others = tuple(node.input(place) for place in (2, 3, 4))
    form: Hashable = ("unpacked", others, node.attribute("block_size"), depth, columns)
    b = planner.weight(packed, form, lambda array: _unpacked(node, array), dtype)
    value = node.input(5)
    bias = None if value is None else planner.tensor(value)
    multiply(planner, group, a, b.transposed((1, 0)), 1.0, bias)


def _array(value: Value | None) -> Array | None:
    return None if value is None else value.constant()


def _unpacked(node: Node, packed: Array) -> Array:
    """Return the weights (N, K) in float32: less their zero points, times their scales."""
    bits, size = node.attribute("bits", 4), node.attribute("block_size")
    rows, depth = node.attribute("N"), node.attribute("K")
    blocks = -(-depth // size)
    scales, zeros, order = (_array(node.input(place)) for place in (2, 3, 4))
    if scales is None:
        raise ValueError("scales are missing")
    values = unpacked(packed.reshape(rows, blocks, -1), bits, size)
    values = values.reshape(rows, -1)[:, :depth]
    places = np.arange(depth) // size if order is None else order[:depth]
    factors = scales.reshape(rows, blocks).astype(np.float32)
    values -= _zero_points(zeros, bits, rows, blocks)[:, places]
    values *= factors[:, places]
    return np.asarray(values)


def _zero_points(given: Array | None, bits: int, rows: int, blocks: int) -> Array:
    """Return the zero points (N, blocks), the middle where none are given."""
    if given is None:
        return np.full((rows, blocks), 1 << (bits - 1), np.float32)
    if given.dtype == np.uint8:
        return np.asarray(unpacked(given.reshape(rows, -1), bits, blocks))
    return given.reshape(rows, blocks).astype(np.float32)


def _refuses_rows(node: Node) -> str:
    if not _known(node, (0, 2, 3)):
        return "packed embeddings that are no constants are not supported"
    bits = node.attribute("bits", 4)
    if dtype_of(node.inputs[0]) != np.uint8 or bits not in BITS:
        return "embeddings packed this way are not supported"
    if dtype_of(node.input(1)) not in (INT32, INT64):
        return "indices of these types are not supported"
    rank = len(node.inputs[0].shape or ())  # type: ignore[union-attr]
    axis = node.attribute("quantize_axis", 1)
    if node.attribute("gather_axis", 0) != 0 or rank != 2 or axis not in (1, -1):
        return "only rows of a matrix are gathered, quantized along each"
    return ""


@plans("GatherBlockQuantized", domain=MS, refuse=_refuses_rows)
def gather_block_quantized(planner: Planner, group: Group) -> None:
    """GatherBlockQuantized: rows of embeddings, which lie unpacked on the device."""
    node = anchor_of(group)
    packed: Any = node.inputs[0]
    value = node.outputs[0]
    others = tuple(node.input(place) for place in (2, 3))
    form: Hashable = ("rows", others, node.attribute("block_size", 128))
    rows = planner.weight(
        packed, form, lambda array: _rows(node, array), planner.storage(value)
    )
    ids = planner.tensor(node.input(1))
    y = planner.result(value, (*ids.shape, rows.shape[1]))
    planner.launch(reading.gather(rows, ids, y, 0))


def _rows(node: Node, packed: Array) -> Array:
    """Return all embeddings in float32."""
    bits, size = node.attribute("bits", 4), node.attribute("block_size", 128)
    scales, zeros = (_array(node.input(place)) for place in (2, 3))
    if scales is None:
        raise ValueError("scales are missing")
    count, blocks = scales.shape
    length = packed.shape[1] * 8 // bits
    values = unpacked(packed, bits, length)
    places = np.arange(length) // size if blocks > 1 else np.zeros(length, int)
    values -= _zero_points(zeros, bits, count, blocks)[:, places]
    values *= scales.astype(np.float32)[:, places]
    return np.asarray(values)
