"""What follows a convolution or product, in the words of a library's epilogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runtime.graph import Node, Value

from runtime_ep_cuda.express import operation
from runtime_ep_cuda.operations import Call, Convolution, Pointwise, Product, Spec
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.tensor import Tensor

Fit = Callable[[Tensor], Tensor | None]
"""Returns an operand as it lies under the library's result, or ``None``."""


@dataclass(frozen=True, slots=True)
class Follower:
    """A node of an epilogue: its steps, and the tensor that the first one reads."""

    steps: tuple[Pointwise, ...]
    operand: Tensor | None = None


_PLAIN = {
    "relu": "relu", "sigmoid": "sigmoid", "tanh": "tanh", "softplus": "softplus",
    "gelu_by_tanh": "gelu_tanh", "hard_swish": "hard_swish", "mish": "mish",
}  # fmt: skip
_WITH_OPERAND = {"add": "add", "multiply": "mul", "total": "add"}


def followers(
    planner: Planner, nodes: Sequence[Node], first: Value, fit: Fit
) -> list[Follower]:
    """Return the epilogue's form of as many nodes as can be, from the first on.

    ``first`` is what the nodes begin with; each reads what the one before it made.
    """
    found: list[Follower] = []
    running = first
    for node in nodes:
        follower = _follower(planner, node, running, fit)
        if follower is None:
            break
        found.append(follower)
        running = node.outputs[0]
    return found


def _follower(
    planner: Planner, node: Node, running: Value, fit: Fit
) -> Follower | None:
    name = operation(node) or ""
    if node.domain:
        return None
    if name in _PLAIN and len(node.inputs) == 1:
        return Follower((Pointwise(_PLAIN[name]),))
    if name == "gelu":
        exact = node.attribute("approximate", "none") == "none"
        return Follower((Pointwise("gelu" if exact else "gelu_tanh"),))
    if name == "swish":
        alpha = node.attribute("alpha", 1.0)
        return Follower((Pointwise("swish", -1, alpha),))
    if name in ("leaky_relu", "elu"):
        default = 0.009999999776482582 if name == "leaky_relu" else 1.0
        return Follower((Pointwise(name, -1, node.attribute("alpha", default)),))
    if name == "clip":
        return _clip(planner, node, running)
    return _with_operand(planner, node, running, fit, name)


def _clip(planner: Planner, node: Node, running: Value) -> Follower | None:
    if node.inputs[0] is not running:
        return None
    steps = []
    for mode, place in (("max", 1), ("min", 2)):
        bound = node.input(place)
        if bound is None:
            continue
        known = planner.known(bound)
        if known is None or known.size != 1:
            return None
        steps.append(Pointwise(mode, -1, float(known.reshape(()))))
    return Follower(tuple(steps))


def _with_operand(
    planner: Planner, node: Node, running: Value, fit: Fit, name: str
) -> Follower | None:
    mode = _WITH_OPERAND.get(name)
    if name == "subtract" and node.inputs[0] is running:
        mode = "sub"
    if mode is None or len(node.inputs) != 2:
        return None
    others = [value for value in node.inputs if value is not running]
    if len(others) != 1 or others[0] is None:
        return None
    operand = fit(planner.tensor(others[0]))
    return None if operand is None else Follower((Pointwise(mode),), operand)


def call(
    planner: Planner,
    operation: Convolution | Product,
    inputs: Sequence[Tensor],
    before: Sequence[Follower],
    after: Sequence[Follower],
    result_for: Callable[[int], tuple[Tensor, Tensor]],
) -> int | None:
    """Have a library do an operation with as much of an epilogue as one takes.

    ``before`` belongs to the operation itself, its bias. ``result_for`` gives, for a
    number of followers, the tensor to write and how the library sees it. Returns how
    many followers were taken, or ``None`` where no library does even the bare operation.
    """
    for count in range(len(after), -1, -1):
        taken = [*before, *after[:count]]
        _, seen = result_for(count)
        made = with_followers(replace(operation, y=Spec.of(seen)), taken)
        if planner.can(made):
            operands = [f.operand for f in taken if f.operand is not None]
            if planner.call(Call(made, (*inputs, *operands), seen)):
                return count
    return None


def with_followers(operation: Any, taken: Sequence[Follower]) -> Convolution | Product:
    """Return an operation with an epilogue, its operands numbered."""
    operands: list[Spec] = []
    steps: list[Pointwise] = []
    for follower in taken:
        for step in follower.steps:
            if follower.operand is not None:
                operands.append(Spec.of(follower.operand))
                step = step._replace(operand=len(operands) - 1)
            steps.append(step)
    made: Convolution | Product = replace(
        operation, operands=tuple(operands), epilogue=tuple(steps)
    )
    return made
