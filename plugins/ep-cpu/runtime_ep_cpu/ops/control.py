"""Operators that run bodies: If, Loop, Scan and SequenceMap."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
from runtime.kernels import Call, KernelTable

from runtime_ep_cpu.ops import _scan
from runtime_ep_cpu.ops._axes import scalar
from runtime_ep_cpu.ops._scan import nothing_yet, stacked

table = KernelTable()
table.include(_scan.table)


@table("If", since=1, traits=("moves",))
def if_(cond, /, *, then_branch, else_branch):
    """If: the outputs of one branch."""
    branch = then_branch if scalar(cond, "cond") else else_branch
    return tuple(branch())


@table("Loop", since=1, traits=("moves",))
def loop(trips=None, cond=None, /, *v_initial, body, call: Call):
    """Loop: the last carried values, then each scan output along a new first axis.

    With a trip count but no condition the body's condition is ignored, as the
    standard says. With neither, it would never end; there the condition counts,
    as in onnxruntime.
    """
    limit = None if trips is None else int(scalar(trips, "the trip count"))
    going = cond is None or bool(scalar(cond, "cond"))
    obeyed = cond is not None or limit is None
    carried = list(v_initial)
    rows: list[list[Any]] = []
    for trip in count():
        if not going or (limit is not None and trip >= limit):
            break
        more, *results = body(np.array(trip, np.int64), np.array(going), *carried)
        going = bool(scalar(more, "the body's condition")) or not obeyed
        carried, elements = results[: len(carried)], results[len(carried) :]
        if elements:
            rows.append(elements)
    declared = call.node.bodies[0][1].outputs[1 + len(carried) :]
    scans = _columns(rows) if rows else [nothing_yet(v, 0) for v in declared]
    return (*carried, *scans)


def _columns(rows: list[list[Any]]) -> list[Any]:
    return [stacked(list(column), 0) for column in zip(*rows, strict=True)]


@table("SequenceMap", since=17, traits=("moves",))
def sequence_map(sequence, /, *additional_inputs, body: Callable[..., Any], call: Call):
    """SequenceMap: the body over each sample; tensors are given to every one."""
    outputs: list[list[Any]] = [[] for _ in call.node.outputs]
    for other in additional_inputs:
        if isinstance(other, list) and len(other) != len(sequence):
            raise ValueError(
                f"sequences of {len(sequence)} and {len(other)} samples are mixed"
            )
    for index, sample in enumerate(sequence):
        others = (
            other[index] if isinstance(other, list) else other
            for other in additional_inputs
        )
        for output, result in zip(outputs, body(sample, *others), strict=False):
            output.append(result)
    return tuple(outputs)
