"""Shape arithmetic, followed in symbols, becomes constants, or is made only once.

Cases:

1. An integer tensor all of whose elements are known, as of a Shape whose dims are, is a
   constant, even where other dims of the same shape are open.
2. Two integer tensors that hold the same expressions over dims are one, the first.
3. A Reshape whose target is computed gets a constant one where every dim is a number, the
   input's dim at the same place (0), or the only one left (-1).
4. Reshape, Transpose, Reshape around the last two of more dims is one Transpose.
5. A Reshape with a computed target that only adds dims of length 1 is Unsqueeze; one that
   only drops such dims is Squeeze.

Types of values inside the graph are refined on the way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.graph import Graph, Node, Value
from runtime.passes.contents import follow
from runtime.passes.edit import Draft, substitute, sweep
from runtime.passes.facts import INTEGERS, Facts
from runtime.passes.inference import infer
from runtime.passes.scope import Scope
from runtime.passes.shape_rules import RULES
from runtime.valuetypes import Shape, TensorType, numpy_dtype


def run(graph: Graph, scope: Scope) -> int:
    """Simplify the shape arithmetic of one graph; return how many nodes changed."""
    if graph is scope.model.graph:
        scope.facts = Facts()
    else:
        for value in graph.inputs:
            scope.facts.forget_symbols(value)
    public = {id(value) for value in graph.outputs}
    seen: dict[tuple[Any, ...], Value] = {}
    changes = 0
    for node in graph:
        if node.graph is not graph:
            continue
        infer(node, scope.facts)
        follow(node, scope.facts)
        for value in node.outputs:
            _refine(value, scope.facts, public)
        changes += _rewrite(node, scope, seen, public)
    return changes


def _refine(value: Value, facts: Facts, public: set[int]) -> None:
    kind, shape = value.type, facts.shape(value)
    if not isinstance(kind, TensorType) or id(value) in public:
        return
    if shape is not None and kind.shape != shape:
        value.type = TensorType(kind.dtype, shape, kind.sparse, (), kind.denotation)


def _rewrite(
    node: Node, scope: Scope, seen: dict[tuple[Any, ...], Value], public: set[int]
) -> bool:
    if node.domain:
        return False
    if node.op_type == "Reshape" and node.input(1) is not None:
        return (
            _to_transpose(node, scope)
            or _fix_target(node, scope)
            or _to_squeeze(node, scope)
        )
    output = node.outputs[0] if len(node.outputs) == 1 else None
    if output is None or output.dtype not in INTEGERS or not node.inputs:
        return False
    return _integer(node, output, scope, seen, public)


def _integer(
    node: Node,
    output: Value,
    scope: Scope,
    seen: dict[tuple[Any, ...], Value],
    public: set[int],
) -> bool:
    """Cases 1 and 2."""
    content, shape = scope.facts.content(output), scope.facts.shape(output)
    graph = node.graph
    if content is None or None in content or graph is None:
        return False
    if id(output) in public and node.op_type == "Identity":
        return False
    if all(isinstance(item, int) for item in content):
        array = np.array(content, numpy_dtype(output.dtype or 7)).reshape(shape)  # type: ignore[arg-type]
        substitute(output, scope.constant(graph, array))
        sweep([node])
        return True
    if id(output) in public:
        return False
    key = (output.dtype, shape, content)
    first = seen.get(key)
    if first is None or first.producer is None or first.producer.graph is not graph:
        seen[key] = output
        return False
    substitute(output, first)
    sweep([node])
    return True


def _fix_target(node: Node, scope: Scope) -> bool:
    """Case 3."""
    target, source = node.inputs[1], scope.facts.shape(node.input(0))
    if target is None or target.is_constant or node.graph is None:
        return False
    shape = RULES["Reshape"](node, scope.facts)
    content = scope.facts.content(target)
    if shape is None or content is None:
        return False
    fixed: list[int] = []
    for index, dim in enumerate(shape):
        if isinstance(dim, int):
            fixed.append(dim)
        elif (
            dim is not None
            and source is not None
            and source[index : index + 1] == (dim,)
        ):
            fixed.append(0)
        else:
            fixed.append(-1)
    if not _is_certain(fixed, shape, content):
        return False
    constant = scope.constant(node.graph, np.array(fixed, np.int64))
    node.attributes.pop("allowzero", None)
    node.set_input(1, constant)
    if target.producer is not None:
        sweep([target.producer])
    return True


def _is_certain(fixed: list[int], shape: Shape, content: Shape) -> bool:
    """Whether a target says the same for every size, empty tensors included."""
    if 0 in shape or fixed.count(-1) > 1:
        return False
    if -1 not in fixed:
        return True
    return content[fixed.index(-1)] == -1 or 0 not in fixed


def _to_transpose(node: Node, scope: Scope) -> bool:
    """Case 4."""
    middle = _only(node.input(0), "Transpose")
    first = _only(middle.inputs[0], "Reshape") if middle is not None else None
    if middle is None or first is None or middle.attribute("perm") != (0, 2, 1):
        return False
    shape = scope.facts.shape(first.inputs[0])
    inner = scope.facts.shape(first.outputs[0])
    outer = RULES["Reshape"](node, scope.facts)
    if shape is None or inner is None or outer is None or len(shape) < 3:
        return False
    if None in shape[-2:] or inner[1:] != shape[-2:]:
        return False
    if outer != (*shape[:-2], shape[-1], shape[-2]) or None in outer:
        return False
    order = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    result = Draft(scope, node, (node, middle, first)).call(
        "Transpose", first.inputs[0], perm=order
    )
    substitute(node.outputs[0], result)
    sweep([node])
    return True


def _to_squeeze(node: Node, scope: Scope) -> bool:
    """Case 5."""
    target, shape = node.inputs[1], scope.facts.shape(node.input(0))
    if target is None or target.is_constant or shape is None or node.graph is None:
        return False
    content = scope.facts.content(target)
    if content is None or None in content or not {-1, 0}.isdisjoint(content):
        return False
    few, many = sorted((shape, content), key=len)
    axes = [index for index, dim in enumerate(many) if dim == 1]
    if 1 in few or None in few or tuple(dim for dim in many if dim != 1) != few:
        return False
    node.op_type = "Unsqueeze" if many is content else "Squeeze"
    node.attributes.clear()
    node.set_input(1, scope.constant(node.graph, np.array(axes, np.int64)))
    if target.producer is not None:
        sweep([target.producer])
    return True


def _only(value: Value | None, op_type: str) -> Node | None:
    node = value.producer if value is not None else None
    found = node is not None and node.op_type == op_type and not node.domain
    return node if found and value is not None and len(value.uses) == 1 else None
