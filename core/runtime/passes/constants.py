"""Constant nodes become initializers.

Cases: ``value`` and ``sparse_value`` as they are; ``value_int``, ``value_float`` and
``value_string`` as scalars; ``value_ints``, ``value_floats`` and ``value_strings`` as
vectors. A Constant that is an output of its graph becomes an Identity of the initializer,
because the output must be a node's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.graph import Graph, Node, SparseTensor, Tensor, Value
from runtime.passes.edit import is_public, set_inputs
from runtime.passes.scope import Scope
from runtime.valuetypes import TensorType

_DTYPES: dict[str, Any] = {
    "value_int": np.dtype(np.int64),
    "value_ints": np.dtype(np.int64),
    "value_float": np.dtype(np.float32),
    "value_floats": np.dtype(np.float32),
    "value_string": np.dtype(object),
    "value_strings": np.dtype(object),
}


def run(graph: Graph, scope: Scope) -> int:
    """Turn every Constant of one graph into an initializer; return how many."""
    changes = 0
    for node in graph:
        if node.op_type == "Constant" and not node.domain:
            const = _data(node)
            if const is not None:
                _move(graph, node, const, scope)
                changes += 1
    return changes


def _data(node: Node) -> Tensor | SparseTensor | None:
    for name, entry in node.attributes.items():
        value = entry.value
        if isinstance(value, (Tensor, SparseTensor)):
            return value
        if name in _DTYPES and value is not None:
            return Tensor.of(np.array(value, _DTYPES[name]))
    return None


def _move(graph: Graph, node: Node, const: Tensor | SparseTensor, scope: Scope) -> None:
    output = node.outputs[0]
    dtype = const.dtype if isinstance(const, Tensor) else const.values.dtype
    kind = TensorType(dtype, const.shape)
    if is_public(output):
        name = scope.model.graph.fresh_name(f"{output.name}_value")
        value = graph.add_initializer(Value(name, kind, const))
        node.op_type = "Identity"
        node.attributes.clear()
        set_inputs(node, [value])
        output.type = output.type or kind
        return
    graph.remove(node)
    output.producer = None
    output.const = const
    output.type = kind
    graph.add_initializer(output)
