"""The table of steps: who plans an operator, what it refuses, what it must know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.graph import Node

from runtime_ep_cuda.fuse import Habits
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner

Function = Callable[[Planner, Group], None]


def _nothing(node: Node) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Step:
    """How an operator is planned.

    ``refuse`` says why a node is left to others, or ``""``. ``known`` are the places of
    inputs whose contents a plan must know. ``since`` is the opset from which on the
    operator is spelled as the step reads it; older ones are rewritten by the engine.
    """

    plan: Function
    refuse: Callable[[Node], str] = _nothing
    known: tuple[int, ...] = ()
    since: int = 1
    habits: Habits = field(default_factory=Habits)


def moving(function: Function) -> Function:
    """Return a step that moves bytes where all around it is quantized by one scale."""

    def plan(planner: Planner, group: Group) -> None:
        if not group.before or group.anchor is None:
            function(planner, group)
            return
        read = {n.outputs[0]: planner.tensor(n.inputs[0]) for n in group.before}
        made = group.anchor.outputs[0]
        dtype = next(iter(read.values())).dtype
        with planner.pretending(read, {made: dtype}):
            function(planner, Group(group.anchor))
        for node in group.after:
            planner.define(node.outputs[0], planner.tensor(made))

    return plan


TABLE: dict[tuple[str, str], Step] = {}
"""Steps by domain and operator."""


def plans(
    *op_types: str,
    domain: str = "",
    refuse: Callable[[Node], str] = _nothing,
    known: tuple[int, ...] = (),
    since: int = 1,
    before: bool = False,
    after: bool = False,
    quantized: bool = False,
    moves: bool = False,
    scales: Callable[[Node, Node], bool] | None = None,
) -> Callable[[Function], Function]:
    """Register a function as the step of operators.

    With ``before`` it reads its first input through the element-wise nodes of
    ``group.before``; with ``after`` it does, or passes on, those of ``group.after``.
    With ``quantized`` it does itself what dequantizes its first two inputs, which is
    in ``group.before``. One that ``moves`` elements does not mind their type, and is
    given bytes where only such are around it. With ``scales`` it is the ``group.scaling``
    of an anchor before it of which that is true.
    """

    def register(function: Function) -> Function:
        habits = Habits(before, after, quantized, moves, scales)
        plan = moving(function) if moves else function
        step = Step(plan, refuse, known, since, habits)
        for op_type in op_types:
            TABLE[domain, op_type] = step
        return function

    return register


def step_of(node: Node) -> Step | None:
    """Return the step of an operator that is no element-wise one."""
    return TABLE.get((node.domain, node.op_type))
