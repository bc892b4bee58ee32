"""What runs: a partition as plans, one for each combination of shapes, each replayed."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from runtime.abilities import Context
from runtime.errors import Cancelled, LimitExceeded
from runtime.graph import Value
from runtime.plugin import Partition

from runtime_ep_cuda.actions import Action, Setting
from runtime_ep_cuda.arrays import DeviceArray
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.driver import Function, Recording, Stream, Unrecordable
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.marks import Mark, check_free, keep
from runtime_ep_cuda.memory import AS_REQUESTED, Pool
from runtime_ep_cuda.plan import Plan
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.recall import Recall
from runtime_ep_cuda.sessions import Session
from runtime_ep_cuda.sources import Share
from runtime_ep_cuda.tensor import Tensor

logger = logging.getLogger("runtime")

WORD = 16
"""Bytes that kernels and libraries read at once, and by which addresses are divided."""

MOST_PLANS = 16
"""Combinations of shapes that are kept; the one not used for longest goes first."""

Walk = Sequence[tuple[Group, Callable[[Planner, Group], None]]]
Shapes = tuple[Any, ...]


class Program:
    """A partition on one device.

    Runs are one after another, as they share their working memory; threads may call at
    once. Each program has a stream of its own: what is recorded in it is nobody else's.
    """

    concurrent = True

    def __init__(
        self,
        partition: Partition,
        setting: Setting,
        walk: Walk,
        session: Session,
        cache: Any,
    ) -> None:
        self._partition = partition
        self._setting = setting
        self._walk = walk
        self._driver = session.driver
        self._pool = session.pool
        self._own = session.streams.lend(self)
        self._stream = self._own if session.stream is None else session.stream
        self._graphs = session.choice.graphs
        self._cache = cache
        self._lock = threading.Lock()
        self._plans: OrderedDict[Shapes, Plan] = OrderedDict()
        self._last: Mark | None = None
        self._order = object()
        self._functions: dict[str, Function] = {}
        self._recall = Recall()
        self._room = (0, 0)
        self._temporaries = Pool(Share(self._pool, "temporaries"), 0, AS_REQUESTED)
        self._hosted = [
            value in partition.host_inputs or value in partition.shape_only
            for value in partition.inputs
        ]
        self.weights = dict.fromkeys((v.name for v in partition.constants), "repacked")
        self.facts: dict[str, str] = {}

    # planning

    def plan_for(self, inputs: Sequence[Any]) -> Plan:
        """Return the plan for inputs of these shapes, made now if it is new."""
        key = tuple(
            (value.shape, value.tobytes()) if self._reads(index) else value.shape
            for index, value in enumerate(inputs)
        )
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._make(inputs)
            while len(self._plans) > MOST_PLANS:
                self._drop(self._plans.popitem(last=False)[1])
        self._plans.move_to_end(key)
        return plan

    def _reads(self, index: int) -> bool:
        return self._partition.inputs[index] in self._partition.host_inputs

    def _make(self, inputs: Sequence[Any]) -> Plan:
        """Plan, compile and lay out; raises `Unsupported` for shapes that do not go."""
        given: dict[Value, tuple[tuple[int, ...], Any]] = {}
        known: dict[Value, Any] = {}
        shapes: dict[Value, tuple[int, ...]] = {}
        for index, value in enumerate(self._partition.inputs):
            array = inputs[index]
            if self._reads(index):
                known[value] = np.array(array)
            elif self._hosted[index]:
                shapes[value] = tuple(array.shape)
            else:
                given[value] = (tuple(array.shape), np.dtype(array.dtype))
        planner = Planner(self._setting, given, known, shapes)
        planner.plan(self._walk, self._recall)
        plan = Plan.of(planner, tuple(dict.fromkeys(self._setting.outputs)))
        plan.temporaries = self._temporaries
        self._load(plan.actions)
        try:
            for weights in (self._setting.weights, plan.constants):
                weights.settle(self._allocate, self._upload)
        finally:
            self._driver.synchronize(self._stream)
        return plan

    def _allocate(self, size: int) -> int:
        return self._pool.allocate(size, "weights")

    def _upload(self, address: int, array: Any) -> None:
        self._driver.upload(address, array, self._stream)

    def _drop(self, plan: Plan) -> None:
        """Forget a plan, and give back what is only its own."""
        self._wait()
        plan.forget()
        plan.constants.release(self._pool.free)
        self._leave_home(plan)

    def _load(self, actions: Sequence[Action]) -> None:
        """Compile the kernels that no plan before has needed."""
        kernels = {
            action.work.kernel.name: action.work.kernel
            for action in actions
            if isinstance(action.work, Launch)
        }
        new = [k for name, k in kernels.items() if name not in self._functions]
        if new:
            self._functions.update(self._driver.load(new, self._cache))

    # running

    def run(
        self, inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> list[Any]:
        """Run once; results are finished when it returns, but on a caller's stream."""
        with self._lock:
            if context.stopped():
                raise Cancelled("the run was stopped, as asked")
            given = context.streams.get(self._partition.device)
            if given is not None:
                check_free(self._driver, given)
            plan = self.plan_for(inputs)
            self._settle(plan)
            made = [
                buffer
                if _fits(tensor, buffer)
                else self._room_for(tensor.shape, tensor.dtype)
                for tensor, buffer in zip(
                    plan.outputs.values(), self._distinct(outputs), strict=True
                )
            ]
            sources = [
                array.pointer
                for array, hosted in zip(inputs, self._hosted, strict=True)
                if not hosted
            ]
            stream = self._stream if given is None else given
            targets = [array.pointer for array in made]
            if self._last is not None:
                self._last.precede(stream)
            try:
                self._go(plan, sources, targets, stream, context)
            finally:
                self._leave(stream, (*inputs, *made), given is None)
            found = dict(zip(plan.outputs, made, strict=True))
            return [found[value] for value in self._partition.outputs]

    def _leave(self, stream: Stream, arrays: Sequence[Any], waits: bool) -> None:
        """End a run: wait for it, or mark in a caller's stream until where it goes on."""
        if waits:
            self._driver.synchronize(stream)
            self._last = None
            if self._temporaries.reserved:
                self._temporaries.trim()
        else:
            self._last = Mark(self._driver, stream, self._order)
            keep(arrays, self._last)

    def _distinct(self, outputs: Sequence[Any]) -> list[Any]:
        return list(dict(zip(self._partition.outputs, outputs, strict=True)).values())

    def _room_for(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        memory = self._pool.hold(prod(shape) * dtype.itemsize, "results")
        return DeviceArray(self._driver, memory.address, shape, dtype, memory)

    def _settle(self, plan: Plan) -> None:
        """Give a plan its working memory, which all plans share."""
        address, size = self._room
        if plan.size > size:
            self._wait()
            for other in self._plans.values():
                other.forget()
            if address:
                self._pool.free(address)
                self._room = (0, 0)
            address = self._pool.allocate(plan.size, "intermediate results")
            self._room = (address, plan.size)
        plan.place(address)

    def _go(
        self,
        plan: Plan,
        sources: Sequence[int],
        targets: Sequence[int],
        stream: Stream,
        context: Context,
    ) -> None:
        """Run a plan where its callers' memory is, or by way of memory of its own.

        Kernels and libraries read words of 16 bytes: whatever lies otherwise is copied.
        """
        addresses = (*sources, *targets)
        if any(address % WORD for address in addresses):
            self._make_home(plan)
            by_home = True
        else:
            recorded = self._graphs and plan.is_static and context.trace is None
            moving = plan.is_restless and addresses not in plan.recordings
            by_home = recorded and moving and self._finds_home(plan)
        go = self._go_home if by_home else self._go_there
        go(plan, sources, targets, stream, context)

    def _go_there(
        self,
        plan: Plan,
        sources: Sequence[int],
        targets: Sequence[int],
        stream: Stream,
        context: Context,
    ) -> None:
        """Replay where these addresses have been seen before; else begin one by one."""
        addresses = (*sources, *targets)
        recording = plan.recordings.get(addresses)
        if context.trace is None and recording is not None:
            recording.launch(stream)
            return
        plan.bind(sources, targets)
        if context.trace is not None:
            self._traced(plan, stream, context)
            return
        if self._graphs and plan.is_static and plan.sees(addresses):
            recording = self._record(plan)
        if recording is not None:
            recording.launch(stream)
        else:
            plan.issue(self._driver, self._functions, stream)

    def _record(self, plan: Plan) -> Recording | None:
        """Record a plan for the addresses it is bound to, if it can be recorded at all."""
        try:
            with self._driver.recording(self._own) as found:
                plan.issue(self._driver, self._functions, self._own)
        except Unrecordable as error:
            logger.warning("CUDA graphs are given up for a plan: %s", error)
            plan.is_static = False
            return None
        plan.recordings[plan.bound] = found[0]
        return found[0]

    def _make_home(self, plan: Plan) -> None:
        """Give a plan memory of its own for inputs and outputs."""
        if not plan.home:
            size = max(plan.home_size, 1)
            plan.home = self._pool.allocate(size, "copies of inputs and results")

    def _leave_home(self, plan: Plan) -> None:
        if plan.home:
            self._pool.free(plan.home)
            plan.home = 0

    def _finds_home(self, plan: Plan) -> bool:
        """Give a plan memory of its own if there is any; without, it runs as before."""
        try:
            self._make_home(plan)
        except LimitExceeded as error:
            logger.debug("runs are not replayed: %s", error)
            plan.misses = 0
            plan.seen.clear()
            return False
        return True

    def _go_home(
        self,
        plan: Plan,
        sources: Sequence[int],
        targets: Sequence[int],
        stream: Stream,
        context: Context,
    ) -> None:
        """Run a plan in memory of its own, to which inputs, from which results are copied."""
        inside, outside = plan.at_home()
        for tensor, source, target in zip(
            plan.inputs.values(), sources, inside, strict=True
        ):
            self._driver.copy(target, source, tensor.nbytes, stream)
        self._go_there(plan, inside, outside, stream, context)
        for tensor, source, target in zip(
            plan.outputs.values(), outside, targets, strict=True
        ):
            self._driver.copy(target, source, tensor.nbytes, stream)

    def _traced(self, plan: Plan, stream: Stream, context: Context) -> None:
        """Begin one action after another, each waited for, and note how long it took."""
        for action in plan.actions:
            began = time.perf_counter_ns()
            plan.begin(self._driver, self._functions, action, stream)
            self._driver.synchronize(stream)
            group = action.group
            if group is not None:
                node = group.anchor or group.after[0]
                context.trace.kernel(
                    node, self._partition.provider, began, (), (), fused=group.nodes
                )

    # what it holds

    def memory(self) -> Mapping[str, int]:
        """Return the bytes of weights and of working memory on the device."""
        return {"weights": self._setting.weights.bytes, "arena": self._room[1]}

    def trim(self) -> None:
        """Give working memory back; plans stay, and are recorded anew."""
        with self._lock:
            self._drop_room()
            self._pool.trim()

    def _wait(self) -> None:
        """Wait for a run that may still be going on in a caller's stream."""
        if self._last is not None:
            self._last.finish()
            self._last = None

    def _drop_room(self) -> None:
        self._wait()
        self._temporaries.trim()
        for plan in self._plans.values():
            plan.forget()
            plan.base = 0
            self._leave_home(plan)
        if self._room[0]:
            self._pool.free(self._room[0])
        self._room = (0, 0)

    def close(self) -> None:
        """Release everything."""
        with self._lock:
            self._drop_room()
            for plan in self._plans.values():
                self._drop(plan)
            self._plans.clear()
            self._setting.weights.release(self._pool.free)
            self._pool.trim()


def _fits(tensor: Tensor, buffer: Any) -> bool:
    """Whether a result goes into memory that a caller has bound; the core tells if not."""
    return (
        buffer is not None
        and tuple(buffer.shape) == tensor.shape
        and np.dtype(buffer.dtype) == tensor.dtype
    )
