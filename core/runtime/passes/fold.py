"""Nodes whose inputs are all known before any run are computed now.

The CPU's kernels compute, through ``scope.evaluate``; the core never does, unless a node
only gives data another shape. Left alone are:

1. random operators, nodes with bodies and nodes without inputs;
2. QuantizeLinear and DequantizeLinear, and whatever reads weights of less than eight bits
   or eight-bit floats: the packed form is what the model's author wants to be kept;
3. results larger than `LARGE` bytes and more than twice the bytes of the inputs, such as
   ConstantOfShape, Expand and Range make them from little;
4. results of unknown size, unless everything involved is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from runtime.graph import Graph, Node, Tensor, Value
from runtime.passes.cse import likeness
from runtime.passes.edit import is_public, substitute, sweep
from runtime.passes.scope import RANDOM, Array, Scope
from runtime.valuetypes import ELEMENT_TYPES, TensorType, element_code, nbytes

Results = Sequence[Array] | None
"""What evaluating a node gave, see `scope.Evaluate`."""

LARGE = 64 * 1024
"""Bytes up to which a result is kept whatever the size of the inputs."""

_FEW = 1024
_SEEN = 64
"""Bytes up to which an input is compared with those of nodes computed before."""
_NEVER = RANDOM | {"QuantizeLinear", "DequantizeLinear", "Constant"}
_GROWING = frozenset(
    ("ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "OneHot", "EyeLike")
)
_LAYOUT = frozenset(("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"))
_PACKED = frozenset((17, 18, 19, 20, 21, 22, 23, 24, 25, 26))


def run(graph: Graph, scope: Scope) -> int:
    """Compute what is constant in one graph; return how many nodes that was."""
    changes = 0
    seen: dict[Any, Results] = {}
    for node in graph:
        if all(value is None or value.is_constant for value in node.inputs):
            changes += _fold(graph, node, scope, seen)
    return changes


def _fold(graph: Graph, node: Node, scope: Scope, seen: dict[Any, Results]) -> bool:
    if not _may(node, scope):
        return False
    inputs = [None if value is None else value.constant() for value in node.inputs]
    results = _laid_out(node, inputs, scope) or _computed(node, inputs, scope, seen)
    if results is None or len(results) < len(node.outputs):
        return False
    pairs = [
        (value, result)
        for value, result in zip(node.outputs, results, strict=False)
        if value.uses or is_public(value)
    ]
    if not all(_fits(value, result, node) for value, result in pairs):
        return False
    for value, result in pairs:
        substitute(value, scope.constant(graph, result, value.name or node.op_type))
    sweep([node])
    return True


def _computed(
    node: Node, inputs: list[Array | None], scope: Scope, seen: dict[Any, Results]
) -> Results:
    """Return what a node computes, or what was ``seen`` of a small one just like it.

    Exporters write the same arithmetic of a few numbers for every layer.
    """
    alike = likeness(node)
    sizes = (0 if array is None else array.nbytes for array in inputs)
    if alike is None or max(sizes) > _SEEN or any(_is_text(array) for array in inputs):
        return scope.evaluate(node, inputs)
    wanted = tuple(bool(value.uses) or is_public(value) for value in node.outputs)
    given = tuple(a if a is None else (a.dtype, a.shape, a.tobytes()) for a in inputs)
    key = (alike, wanted, given)
    if key not in seen:
        seen[key] = scope.evaluate(node, inputs)
    return seen[key]


def _is_text(array: Array | None) -> bool:
    return array is not None and array.dtype == object


def _laid_out(
    node: Node, inputs: list[Array | None], scope: Scope
) -> list[Array] | None:
    """Return the same data in another shape, where that is all a node does."""
    shape = scope.facts.shape(node.outputs[0])
    if node.op_type not in _LAYOUT or node.domain or shape is None:
        return None
    array, dims = inputs[0], [dim for dim in shape if isinstance(dim, int)]
    if array is None or len(dims) != len(shape) or array.size != prod(dims):
        return None
    return [array.reshape(dims)]


def _may(node: Node, scope: Scope) -> bool:
    present = [value for value in node.inputs if value is not None]
    if node.op_type in _NEVER or not present or node.bodies:
        return False
    if node.op_type == "Identity" and is_public(node.outputs[0]):
        return False
    if any(value.dtype is None or value.dtype in _PACKED for value in present):
        return False
    size = _size(node, scope)
    if size is None:
        few = sum(map(_bytes, present)) <= _FEW
        return few and node.op_type not in _GROWING
    return size <= LARGE or size <= 2 * sum(map(_bytes, present))


def _bytes(value: Value) -> int:
    const = value.const
    return nbytes(const.dtype, const.shape) if isinstance(const, Tensor) else 0


def _size(node: Node, scope: Scope) -> int | None:
    """Return the bytes of all results, where that is known beforehand."""
    total = 0
    for value in node.outputs:
        shape, dtype = scope.facts.shape(value), value.dtype
        if not value.uses and not is_public(value):
            continue
        if shape is None or dtype is None:
            return None
        count = 1
        for dim in shape:
            if not isinstance(dim, int):
                return None
            count *= dim
        total += count * max(ELEMENT_TYPES[dtype].bits, 64 if dtype == 8 else 0) // 8
    return total


def _fits(value: Value, result: Array | None, node: Node) -> bool:
    """Whether a result is a tensor of the declared type, and no larger than allowed."""
    if not isinstance(result, (np.ndarray, np.generic)):
        return False
    if value.type is not None and (
        not isinstance(value.type, TensorType)
        or (value.dtype and value.dtype != element_code(result.dtype))
    ):
        return False
    given = sum(_bytes(item) for item in node.inputs if item is not None)
    return result.nbytes <= LARGE or result.nbytes <= 2 * given
