"""What a fused node does itself behind its product: a sum, an activation.

Each stage is known in the words of a library's epilogue, where those have it, and in the
words of expressions, by which the stages are computed that a library does not take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.graph import Value

from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import Expression, Instruction
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.operations import Convolution, Pointwise, Product
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps import epilogue
from runtime_ep_cuda.steps.elementwise import finish, value_after
from runtime_ep_cuda.steps.epilogue import Fit, Follower
from runtime_ep_cuda.tensor import Tensor

Given = Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One operation on the running result, with an operand where it takes one."""

    operation: str
    attributes: tuple[tuple[str, Any], ...] = ()
    operand: Tensor | None = None
    steps: tuple[Pointwise, ...] = ()

    def follower(self, fit: Fit) -> Follower | None:
        """Return the stage in a library's words, or ``None`` where it has none."""
        if not self.steps:
            return None
        if self.operand is None:
            return Follower(self.steps)
        seen = fit(self.operand)
        return None if seen is None else Follower(self.steps, seen)


Behind = Sequence[Stage]

NAMES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Relu": ("relu", ()),
    "Sigmoid": ("sigmoid", ()),
    "Tanh": ("tanh", ()),
    "Softplus": ("softplus", ()),
    "Softsign": ("softsign", ()),
    "LeakyRelu": ("leaky_relu", ("alpha",)),
    "ThresholdedRelu": ("thresholded_relu", ("alpha",)),
    "Elu": ("elu", ("alpha",)),
    "Celu": ("celu", ("alpha",)),
    "Selu": ("selu", ("alpha", "gamma")),
    "HardSigmoid": ("hard_sigmoid", ("alpha", "beta")),
    "Clip": ("clip_by_attributes", ("min", "max")),
}
"""Activations as formulas, with what their parameters in order are called."""


def summed(operand: Tensor) -> Stage:
    """Return the stage that adds a tensor."""
    return Stage("add", (), operand, (Pointwise("add"),))


def activated(name: str, given: Mapping[str, float | None]) -> Stage:
    """Return an activation with those of its parameters that are given."""
    formula, names = NAMES[name]
    known = {n: float(v) for n in names if (v := given.get(n)) is not None}
    return Stage(formula, tuple(sorted(known.items())), None, _steps(formula, known))


def _steps(formula: str, given: Given) -> tuple[Pointwise, ...]:
    """Return a formula in a library's words; nothing where those do not have it."""
    if formula in ("relu", "sigmoid", "tanh", "softplus"):
        return (Pointwise(formula),)
    if formula == "leaky_relu":
        alpha = given.get("alpha", 0.009999999776482582)
        return (Pointwise("leaky_relu", -1, alpha),)
    if formula == "elu":
        return (Pointwise("elu", -1, given.get("alpha", 1.0)),)
    if formula == "hard_sigmoid":
        return (
            Pointwise("mul", -1, given.get("alpha", 0.20000000298023224)),
            Pointwise("add", -1, given.get("beta", 0.5)),
            Pointwise("max", -1, 0.0),
            Pointwise("min", -1, 1.0),
        )
    if formula == "clip_by_attributes":
        words = (("min", "max"), ("max", "min"))
        return tuple(
            Pointwise(mode, -1, given[bound]) for bound, mode in words if bound in given
        )
    return ()


def followers(behind: Behind, fit: Fit) -> list[Follower]:
    """Return as many stages as a library has words for, from the first on."""
    found: list[Follower] = []
    for stage in behind:
        follower = stage.follower(fit)
        if follower is None:
            break
        found.append(follower)
    return found


def expression_of(behind: Behind) -> tuple[Expression, list[Tensor]]:
    """Return stages as an expression of the result and the operands they read."""
    operands = [stage.operand for stage in behind if stage.operand is not None]
    count, running, place = 1 + len(operands), 0, 0
    steps: list[Instruction] = []
    for stage in behind:
        inputs: tuple[int, ...] = (running,)
        if stage.operand is not None:
            place += 1
            inputs = (running, place)
        steps.append(Instruction(stage.operation, inputs, stage.attributes))
        running = count + len(steps) - 1
    return Expression(count, tuple(steps), (running,)), operands


def follow(planner: Planner, behind: Behind, x: Tensor, value: Value) -> None:
    """Compute stages of what is there, into a value."""
    expression, operands = expression_of(behind)
    order = planner.order_for(value, x.order)
    y = planner.result(value, x.shape, order)
    wide = [operand.broadcast(x.shape) for operand in operands]
    planner.launch(elementwise(expression, [x, *wide], [y]))


Place = Callable[[Value | None], tuple[Tensor, Tensor]]
"""Returns where a value is written, or what is none yet, and how a library sees that."""


def done(
    planner: Planner,
    group: Group,
    operation: Convolution | Product,
    inputs: Sequence[Tensor],
    bias: Sequence[Follower],
    behind: Behind,
    fit: Fit,
    place: Place,
) -> bool:
    """Plan an operation with its bias, what is behind it and what follows the group.

    A library does as much of it in one go as it can; tell whether it can at all.
    """
    after = followers(behind, fit)
    if len(after) == len(behind):
        first = value_after(group, 0)
        after += epilogue.followers(planner, group.after, first, fit)
    made: list[Tensor] = []

    def result_for(count: int) -> tuple[Tensor, Tensor]:
        own = count < len(behind)
        value = None if own else value_after(group, count - len(behind))
        result, seen = place(value)
        made[:] = [result]
        return result, seen

    count = epilogue.call(planner, operation, inputs, bias, after, result_for)
    if count is None:
        return False
    if count < len(behind):
        follow(planner, behind[count:], made[0], value_after(group, 0))
    finish(planner, group, max(count - len(behind), 0))
    return True
