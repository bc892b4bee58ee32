"""Scan, and how the outputs of a body's runs become one tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from runtime.graph import Value
from runtime.kernels import Call, KernelTable
from runtime.valuetypes import numpy_dtype

from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._axes import axis_of, ints

table = KernelTable()
Body = Callable[..., Sequence[Any]]


def stacked(elements: list[Any], axis: int) -> Any:
    """Return what the runs of a body gave for one output, along a new axis."""
    first = elements[0]
    for element in elements:
        if element.shape != first.shape or element.dtype != first.dtype:
            raise ValueError(
                "a scan output changes from one run of the body to another: "
                f"{first.dtype}{list(first.shape)}, {element.dtype}"
                f"{list(element.shape)}"
            )
    return namespace_of(first).stack(elements, axis=axis_of(axis, first.ndim + 1))


def nothing_yet(value: Value, axis: int) -> np.ndarray:
    """Return the scan output of a body that never ran, from its declared type.

    Unknown dims are 0.
    """
    if not value.dtype:
        raise ValueError(
            f"the body never ran, and the type of its output {value.name!r} is unknown"
        )
    dims = [dim if isinstance(dim, int) else 0 for dim in value.shape or ()]
    dims.insert(axis_of(axis, len(dims) + 1), 0)
    dtype = numpy_dtype(value.dtype)
    return np.full(dims, "" if dtype.kind == "O" else 0, dtype)


@table("Scan", since=8, traits=("moves",))
def scan_8(
    sequence_lens,
    /,
    *initial_state_and_scan_inputs,
    body,
    num_scan_inputs,
    directions=None,
    call: Call,
):
    """Scan of opset 8: axis 0 is the batch, axis 1 the sequence.

    Beyond the length of a shorter sequence a scan output is zero.
    """
    states, scans = _parted(initial_state_and_scan_inputs, num_scan_inputs)
    if scans[0].ndim < 2:
        raise ValueError(
            f"a scan input of shape {list(scans[0].shape)} has no sequence"
        )
    batch, longest = scans[0].shape[:2]
    if any(scan.shape[:2] != (batch, longest) for scan in scans):
        raise ValueError("the scan inputs differ in batch or sequence length")
    if any(state.shape[:1] != (batch,) for state in states):
        found = [list(state.shape) for state in states]
        raise ValueError(f"initial states of the shapes {found} are not {batch} each")
    lengths = [longest] * batch if sequence_lens is None else ints(sequence_lens)
    if len(lengths) != batch or not all(0 <= n <= longest for n in lengths):
        raise ValueError(
            f"sequence_lens {lengths} do not fit {batch} sequences of {longest} steps"
        )
    results = [
        scan(
            *(state[index, ...] for state in states),
            *(scanned[index, :length] for scanned in scans),
            body=body,
            num_scan_inputs=num_scan_inputs,
            scan_input_directions=directions,
            call=call,
        )
        for index, length in enumerate(lengths)
    ]
    if not results:
        declared = call.node.bodies[0][1].outputs[len(states) :]
        empty = [nothing_yet(value, 0) for value in declared]
        return (*states, *(_padded([part], longest)[:0] for part in empty))
    columns = list(zip(*results, strict=True))
    last = (stacked(list(column), 0) for column in columns[: len(states)])
    return (*last, *(_padded(column, longest) for column in columns[len(states) :]))


def _padded(parts: Sequence[Any], longest: int) -> Any:
    """Join sequences (steps, …) of a batch, zeros behind the shorter ones."""
    model = max(parts, key=len)
    xp = namespace_of(model)
    empty = "" if model.dtype == object else 0
    shape = (len(parts), longest, *model.shape[1:])
    result = xp.full(shape, empty, model.dtype)
    for index, part in enumerate(parts):
        if len(part):
            result[index, : len(part)] = part
    return result


@table("Scan", since=9, traits=("moves",))
def scan(
    *initial_state_and_scan_inputs,
    body,
    num_scan_inputs,
    scan_input_axes=None,
    scan_input_directions=None,
    scan_output_axes=None,
    scan_output_directions=None,
    call: Call,
):
    """Scan: slices of the scan inputs go through the body, along with the states.

    Negative axes came in opset 11.
    """
    states, scans = _parted(initial_state_and_scan_inputs, num_scan_inputs)
    axes = _numbers(scan_input_axes, len(scans), "scan_input_axes")
    axes = [axis_of(axis, s.ndim) for axis, s in zip(axes, scans, strict=True)]
    if len({s.shape[axis] for axis, s in zip(axes, scans, strict=True)}) > 1:
        raise ValueError("the scan inputs differ in length along their scan axes")
    backward = _flags(scan_input_directions, len(scans))
    sliced = [_ordered(*scanned) for scanned in zip(scans, axes, backward, strict=True)]
    last, rows = _run(body, states, sliced)
    declared = call.node.bodies[0][1].outputs[len(states) :]
    out_axes = _numbers(scan_output_axes, len(declared), "scan_output_axes")
    prepend = _flags(scan_output_directions, len(declared))
    if not rows:
        empty = (nothing_yet(v, a) for v, a in zip(declared, out_axes, strict=True))
        return (*last, *empty)
    columns = zip(zip(*rows, strict=True), out_axes, prepend, strict=True)
    outputs = (
        stacked(list(reversed(column) if back else column), axis)
        for column, axis, back in columns
    )
    return (*last, *outputs)


def _run(
    body: Body, states: list[Any], scans: list[Any]
) -> tuple[list[Any], list[list[Any]]]:
    """Return the last states and, for each step, the scan output elements."""
    rows = []
    for step in range(scans[0].shape[0]):
        results = list(body(*states, *(scan[step, ...] for scan in scans)))
        states, elements = results[: len(states)], results[len(states) :]
        rows.append(elements)
    return states, rows


def _parted(values: Sequence[Any], scans: int) -> tuple[list[Any], list[Any]]:
    if not 1 <= scans <= len(values):
        raise ValueError(f"{scans} of {len(values)} inputs cannot be scanned")
    split = len(values) - scans
    return list(values[:split]), list(values[split:])


def _ordered(scan: Any, axis: int, backward: bool) -> Any:
    """Return a scan input as a view with the scan axis first, in scan order."""
    first = namespace_of(scan).moveaxis(scan, axis, 0)
    return first[::-1] if backward else first


def _numbers(given: Sequence[int] | None, expected: int, name: str) -> list[int]:
    numbers = [0] * expected if given is None else list(given)
    if len(numbers) != expected:
        raise ValueError(f"{name} has {len(numbers)} elements for {expected} tensors")
    return numbers


def _flags(given: Sequence[int] | None, expected: int) -> list[bool]:
    numbers = _numbers(given, expected, "the list of directions")
    if not set(numbers) <= {0, 1}:
        raise ValueError(f"the directions {numbers} are not all 0 or 1")
    return [bool(number) for number in numbers]
