"""What every pass may know besides the graph it rewrites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runtime.graph import Graph, Model, Node, Tensor, Value
from runtime.opsets import newest
from runtime.passes.facts import Facts
from runtime.settings import Settings
from runtime.valuetypes import TensorType

Array = np.ndarray[Any, Any]
Evaluate = Callable[[Node, Sequence[Array | None]], Sequence[Array] | None]
"""Computes a node from its inputs, or returns ``None``; the core never computes."""

RANDOM = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
) | {"Multinomial", "Bernoulli", "Dropout"}
"""Operators that need not give the same result twice; Dropout does outside training."""

FLOATS = frozenset((1, 10, 11, 16))
"""The element types of real numbers that every float operator of the standard takes."""

_SHARED = 64


@dataclass(slots=True)
class Scope:
    """The model, the settings, who computes, and what is known of values so far."""

    model: Model
    settings: Settings
    evaluate: Evaluate
    facts: Facts = field(default_factory=Facts)
    version: int = field(default_factory=newest)
    inlined: int = 0
    _constants: dict[tuple[Any, ...], Value] = field(default_factory=dict)

    def constant(self, graph: Graph, array: Array, stem: str = "constant") -> Value:
        """Return an initializer of a graph holding an array; small ones are shared."""
        array = np.ascontiguousarray(array).reshape(array.shape)
        key: tuple[Any, ...] = ()
        if array.size <= _SHARED and array.dtype != object:
            key = (graph, array.dtype.str, array.shape, array.tobytes())
            found = self._constants.get(key)
            if found is not None and graph.initializers.get(found.name) is found:
                return found
        tensor = Tensor.of(array, self.model.graph.fresh_name(stem))
        kind = TensorType(tensor.dtype, tensor.shape)
        value = graph.add_initializer(Value(tensor.name, kind, tensor))
        if key:
            self._constants[key] = value
        return value


def is_elementwise(node: Node, source: Value, scope: Scope) -> bool:
    """Whether a node's result has the float type and the rank of a value it is made of."""
    rank = scope.facts.rank(source)
    return (
        source.dtype in FLOATS
        and node.outputs[0].dtype == source.dtype
        and rank is not None
        and scope.facts.rank(node.outputs[0]) == rank
    )
