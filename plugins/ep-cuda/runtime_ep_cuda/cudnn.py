"""cuDNN: operations become graphs, graphs plans, and plans the planner's candidates.

Which operations build is the table of `cudnn_rules`. Convolutions, products and attention
take their epilogues along; true float32 is had by refusing the plans that use tensor cores.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from runtime_ep_cuda.cudnn_graphs import describe
from runtime_ep_cuda.operations import Operation, specs_of

logger = logging.getLogger("runtime")

MARK = b"cudnn:"
"""What saved plans begin with."""


class Device:
    """What cuDNN has of one device: a handle of this process, or its properties alone.

    With a ``description``, the JSON that ``cudnn.create_device_properties`` takes, plans
    are built where there is no device, and cannot be run. At most ``most`` plans are built
    for an operation, and at most ``most_compiled`` of those whose kernels are compiled for
    it, each of which takes a good part of a second. ``deterministic`` refuses those whose
    results differ from run to run. Plans are run by the ``runner``, which has a handle of
    its own, so that some may be built while others run. While either is used, the device
    must be the calling thread's.
    """

    def __init__(
        self,
        sm: int,
        multiprocessors: int,
        *,
        description: str = "",
        most: int = 8,
        most_compiled: int = 4,
        deterministic: bool = False,
        runner: Device | None = None,
    ):
        self.sm = sm
        self.multiprocessors = multiprocessors
        self.description = description
        self.most = most
        self.most_compiled = most_compiled
        self.deterministic = deterministic
        self.runner = runner or self
        self._handle: int | None = None
        self._stream = 0
        self._properties: Any = None

    @property
    def handle(self) -> int | None:
        """cuDNN's handle, made when it is first asked for; none without a device."""
        if self._handle is None and not self.description:
            import cudnn

            self._handle = cudnn._pybind_module.create_handle()
        return self._handle

    def use(self, stream: int) -> None:
        """Have what follows run in a stream; cuDNN is told only when it changes."""
        handle = self.handle
        if stream != self._stream:
            import cudnn

            cudnn._pybind_module._raw_set_stream(handle, stream)
            self._stream = stream

    def graph(self, **types: Any) -> Any:
        """Return an empty graph for this device.

        It is the C++ one: the frontend's Python class over it adds plans of engines
        that need packages which nobody has asked for.
        """
        import cudnn

        if self.description and self._properties is None:
            self._properties = cudnn.create_device_properties(self.description)
        place: dict[str, Any] = {"handle": self.handle}
        if self.description:
            place = {
                "device_property": self._properties,
                "sm_count": self.multiprocessors,
                "sm_version": self.sm * 10,
            }
        return cudnn._pybind_module.backend_graph(name="operation", **place, **types)

    def close(self) -> None:
        """Give the handle back."""
        if self._handle is not None:
            import cudnn

            cudnn._pybind_module._raw_destroy_handle(self._handle)
            self._handle = None


class Plan:
    """A plan of cuDNN's as a `driver.Candidate`: one of the plans of a graph.

    The handle that runs it is there before the first run, which may be recorded.
    """

    def __init__(self, device: Device, graph: Any, index: int, name: str):
        self.name = name
        self.workspace = int(graph.get_workspace_size_plan_at_index(index))
        self._runner = device.runner
        self._handle = device.runner.handle
        self._graph = graph
        self._index = index

    def run(self, pointers: Sequence[int], workspace: int, stream: int) -> None:
        """Begin it; the pointers' places are the graph's uids, counted from 1."""
        self._runner.use(stream)
        try:
            self._graph._execute_plan_at_index(
                dict(enumerate(pointers, 1)), workspace, self._index, self._handle
            )
        except _refusals() as error:
            raise RuntimeError(f"{self.name}: {error}") from error

    def save(self) -> bytes:
        """Return the plan with its compiled kernel, as cuDNN serializes it."""
        try:
            self._graph.build_plan_at_index(self._index)
            return MARK + bytes(self._graph.serialize())
        except _refusals() as error:
            raise RuntimeError(f"{self.name}: {error}") from error


def candidates(
    device: Device,
    operation: Operation,
    limit: int,
    most: int | None = None,
    deterministic: bool = False,
) -> list[Plan]:
    """Return plans in cuDNN's order of preference; none where it refuses the operation.

    Its heuristics are asked first; engines they do not name come after, as many as
    there is room for. No more than ``most`` are built; ``deterministic`` refuses those
    whose results differ from run to run.
    """
    try:
        return list(islice(_plans(device, operation, limit, deterministic), most))
    except _refusals() as error:
        logger.debug("cuDNN refuses %s: %s", operation, error)
        return []


def restore(device: Device, saved: bytes) -> Plan | None:
    """Return a plan that was saved, or ``None`` where it is not for this device."""
    if not saved.startswith(MARK):
        return None
    graph, plan = device.graph(), list(saved[len(MARK) :])
    try:
        if device.description:
            graph.deserialize(plan)
        else:
            graph.deserialize(device.handle, plan)
        return Plan(device, graph, 0, "restored")
    except _refusals() as error:
        logger.debug("cuDNN cannot restore a plan: %s", error)
        return None


def _plans(
    device: Device, operation: Operation, limit: int, deterministic: bool
) -> Iterator[Plan]:
    """Yield plans as they are built; raise the last refusal where there is none."""
    import cudnn

    graph = describe(operation, device.graph)
    graph.validate()
    graph.build_operation_graph()
    refused: list[Exception] = []
    engines: set[str] = set()
    room, compiled, first = device.most, device.most_compiled, 0
    for mode in (cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK):
        try:
            graph.create_execution_plans([mode])
        except _refusals() as error:
            refused.append(error)
            continue
        _deselect(graph, operation, deterministic or device.deterministic)
        graph.deselect_workspace_greater_than(limit)
        known = frozenset(engines)
        for index in range(first, graph.get_execution_plan_count()):
            name = graph.get_plan_name_at_index(index)
            engine = name.partition("_")[0]
            slow = _is_compiled(graph, index)
            if not room or (slow and not compiled) or engine in known:
                continue
            if _builds(graph, index, refused):
                engines.add(engine)
                room, compiled = room - 1, compiled - slow
                yield Plan(device, graph, index, name)
        first = graph.get_execution_plan_count()
    if not engines and refused:
        raise refused[-1]


def _is_compiled(graph: Any, index: int) -> bool:
    import cudnn

    notes = graph.get_behavior_notes_for_plan_at_index(index)
    return cudnn.behavior_note.RUNTIME_COMPILATION in notes


def _builds(graph: Any, index: int, refused: list[Exception]) -> bool:
    try:
        graph.build_plan_at_index(index)
    except _refusals() as error:
        refused.append(error)
        return False
    return True


def _deselect(graph: Any, operation: Operation, deterministic: bool) -> None:
    """Refuse plans whose arithmetic is not what was asked for."""
    import cudnn

    notes = cudnn.numerical_note
    refused = [notes.REDUCED_PRECISION_REDUCTION]
    if specs_of(operation)[0].dtype == "float32" and not operation.tf32:
        refused += [notes.TENSOR_CORE, notes.DOWN_CONVERT_INPUTS]
    if deterministic:
        refused += [notes.NONDETERMINISTIC, notes.DOWN_CONVERT_INPUTS]
    graph.deselect_numeric_notes(refused)


def _refusals() -> tuple[type[Exception], ...]:
    import cudnn

    return (cudnn.cudnnGraphNotSupportedError, RuntimeError)
