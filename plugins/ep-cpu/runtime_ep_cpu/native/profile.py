"""Tells a trace how long each group of a run took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime_ep_cpu.native.layout import NAMES, Layout
from runtime_ep_cpu.native.planner import PlannedStep, Share

_TYPES = {element: name for name, element in NAMES.items()}


def record(
    trace: Any,
    levels: Sequence[Sequence[PlannedStep]],
    stamps: np.ndarray[Any, Any],
    began: int,
    ended: int,
) -> None:
    """Add one event per step and group between two times in nanoseconds.

    ``stamps`` are readings of the cycle counter before the first level and after each.
    Steps of one level run side by side; its time is shared out by their work.
    """
    cycles = stamps - stamps[0]
    scale = (ended - began) / max(int(cycles[-1]), 1)
    for number, steps in enumerate(levels):
        start = began + int(cycles[number] * scale)
        length = int((cycles[number + 1] - cycles[number]) * scale)
        whole = sum(step.work + 1.0 for step in steps)
        for step in steps:
            own = length * (step.work + 1.0) / whole
            shares = step.shares or [Share(step.group, 1.0, step.reads, step.writes)]
            parts = sum(share.work for share in shares)
            for share in shares:
                end = start + int(own * share.work / parts)
                _event(trace, share, start, end)
                start = end


def _event(trace: Any, share: Share, start: int, end: int) -> None:
    group = share.group
    if group is None:
        trace.add("output_copy", "Node", start, end, {"op_name": "Copy"})
        return
    nodes = group.nodes
    node = group.anchor or nodes[-1]
    reads = [_stand_in(layout) for layout in share.reads]
    writes = [_stand_in(layout) for layout in share.writes]
    trace.kernel(node, "CPUExecutionProvider", start, reads, writes, end, nodes)


def _stand_in(layout: Layout) -> np.ndarray[Any, Any]:
    """Return an array of a layout's shape and type that takes no memory."""
    from ml_dtypes import bfloat16

    name = _TYPES[layout.element]
    dtype = bfloat16 if name == "bfloat16" else name
    return np.broadcast_to(np.empty((), dtype), layout.shape)
