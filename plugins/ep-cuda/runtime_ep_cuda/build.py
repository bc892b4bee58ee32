"""From a partition to a program: groups, types, weights, and the first plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from runtime.cache import CompileCache
from runtime.graph import Node, Value
from runtime.plugin import Partition, Unsupported
from runtime.settings import Settings
from runtime_ep_cpu.ops import table

from runtime_ep_cuda.actions import Setting
from runtime_ep_cuda.dtypes import dtype_of
from runtime_ep_cuda.express import is_elementwise, operands_of
from runtime_ep_cuda.fuse import Habits, groups
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.precision import storage
from runtime_ep_cuda.program import Program
from runtime_ep_cuda.sessions import Session
from runtime_ep_cuda.settled import settled
from runtime_ep_cuda.steps.elementwise import plan_elementwise
from runtime_ep_cuda.steps.table import step_of
from runtime_ep_cuda.weights import Weights

Step = Callable[[Planner, Group], None]


def build(partition: Partition, settings: Settings, session: Session) -> Program:
    """Compile a partition; where all shapes are known the plan is made at once.

    Raises `Unsupported` with the reason where it cannot be planned.
    """
    sure = {n: table.bind(n) for n in settled(partition.nodes, partition.host_inputs)}
    outside = frozenset(partition.outputs)
    choice = session.choice
    found = groups(partition.nodes, outside.__contains__, _habits, sure)
    setting = Setting(
        Weights(),
        session.chooser,
        session.driver.properties,
        storage(partition.nodes, partition.constants, choice.precision),
        partition.outputs,
        sure,
        _operands(partition.nodes),
        tf32=choice.tf32,
        deterministic=settings.deterministic,
        channels_last=choice.channels_last,
    )
    walk = [(group, _step(group)) for group in found]
    program = Program(partition, setting, walk, session, CompileCache.of(settings))
    stand_ins = [_stand_in(value) for value in partition.inputs]
    if all(array is not None for array in stand_ins) and not partition.host_inputs:
        program.plan_for(stand_ins)
    return program


def _operands(nodes: Sequence[Node]) -> dict[Value, tuple[Value, ...]]:
    """Return what each result of an element-wise node is made of."""
    return {
        node.outputs[0]: operands_of(node) for node in nodes if is_elementwise(node)
    }


def _habits(node: Node) -> Habits:
    step = step_of(node)
    return Habits() if step is None else step.habits


def _step(group: Group) -> Step:
    if group.anchor is None:
        return plan_elementwise
    step = step_of(group.anchor)
    if step is None:
        raise Unsupported(f"no kernel for {group.anchor.op_type}")
    return step.plan


def _stand_in(value: Value) -> Any:
    """Return an array of a value's shape without memory, or ``None`` where it is open."""
    shape, dtype = value.shape, dtype_of(value)
    if shape is None or dtype is None or not all(isinstance(d, int) for d in shape):
        return None
    return np.broadcast_to(np.empty((), dtype), shape)
