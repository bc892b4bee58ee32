"""What runs: a partition as engines, built for the shapes that come, each run in a context."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
from runtime.abilities import Context
from runtime.errors import Cancelled, ExecutionError
from runtime.graph import Value
from runtime.plugin import Partition
from runtime_ep_cuda.arrays import DeviceArray
from runtime_ep_cuda.driver import Driver, Stream
from runtime_ep_cuda.marks import Mark, check_free, keep
from runtime_ep_cuda.memory import Pool

from runtime_ep_tensorrt.adapter import Engine
from runtime_ep_tensorrt.orders import BuildFailed, Ranges
from runtime_ep_tensorrt.profiles import admitted, grown, is_fixed, seen
from runtime_ep_tensorrt.recordings import replay
from runtime_ep_tensorrt.records import Record, packed
from runtime_ep_tensorrt.slots import Habits, Slot
from runtime_ep_tensorrt.spellings import Shape

Make = Callable[[Sequence[Ranges]], tuple[Engine, Record]]


class Program:
    """A partition on one device; runs of several threads go side by side.

    Engines are made when shapes come that the present one was not built for, unless
    ``fixed`` are the ranges that a user told. ``make`` makes them.
    """

    concurrent = True

    def __init__(
        self,
        partition: Partition,
        make: Make,
        driver: Driver,
        pool: Pool,
        habits: Habits,
        facts: dict[str, str],
        fixed: Sequence[Ranges] | None = None,
        first: Sequence[Ranges] | None = None,
    ) -> None:
        self._partition = partition
        self._make = make
        self._driver = driver
        self._pool = pool
        self._habits = habits
        self._lock = threading.RLock()
        self._idle: list[Slot] = []
        self._engine: Engine | None = None
        self._record: Record | None = None
        self._fixed = fixed
        self._ranges: Sequence[Ranges] = ()
        self._open = [v for v in partition.inputs if not is_fixed(v)]
        self.facts = facts
        self.weights = dict.fromkeys((v.name for v in partition.constants), "repacked")
        if first is not None or not self._depends:
            self._settle(first or [])

    @property
    def _depends(self) -> bool:
        """Whether the engine depends on shapes or sizes that only a run tells."""
        return bool(self._open or self._partition.host_inputs)

    # engines

    def _settle(self, ranges: Sequence[Ranges]) -> None:
        """Make the engine for some ranges, and check that it is the partition's."""
        engine, record = self._make(ranges)
        for values, mine in (
            (self._partition.inputs, True), (self._partition.outputs, False),
        ):  # fmt: skip
            for value in values:
                _check(engine, value, mine)
        self._drop()
        self._engine, self._record, self._ranges = engine, record, ranges
        self.facts["profiles"] = str(max(len(ranges), 1))

    def _fitting(self, shapes: Mapping[str, Shape], values: Mapping[str, Shape]) -> int:
        """Return the profile that admits what came; a new engine is made if none does.

        Raises `ExecutionError` for shapes outside of what a user told.
        """
        for index, ranges in enumerate(self._ranges):
            if admitted(ranges.shapes, shapes) and admitted(ranges.values, values):
                return index
        if self._engine is not None and not self._depends:
            return 0
        if self._fixed is not None:
            told = ", ".join(f"{name}{list(s)}" for name, s in shapes.items())
            raise ExecutionError(
                f"{told} lies outside of the profiles; widen trt_profile_min_shapes and "
                "trt_profile_max_shapes"
            )
        before = self._ranges[0] if self._ranges else Ranges({})
        wanted = Ranges(
            grown(before.shapes, shapes) if before.shapes else seen(shapes),
            grown(before.values, values) if before.values else seen(values),
        )
        began = time.perf_counter()
        try:
            self._settle([wanted])
        except BuildFailed as error:
            raise ExecutionError(f"TensorRT builds no engine: {error}") from error
        self.facts["last build"] = f"{time.perf_counter() - began:.1f} s"
        return 0

    # running

    def run(
        self, inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> list[Any]:
        """Run once; results are finished when it returns, but on a caller's stream."""
        if context.stopped():
            raise Cancelled("the run was stopped, as asked")
        given = context.streams.get(self._partition.device)
        if given is not None:
            check_free(self._driver, given)
        arrays = dict(
            zip((v.name for v in self._partition.inputs), inputs, strict=True)
        )
        buffers = dict(
            zip((v.name for v in self._partition.outputs), outputs, strict=True)
        )
        with self._leased(arrays) as (slot, index):
            stream = given
            if stream is None:
                stream = self._habits.stream
            if stream is None:
                stream = slot.stream
            began = time.perf_counter_ns()
            results = self._go(slot, index, arrays, buffers, stream, given is not None)
            if context.trace is not None:
                self._driver.synchronize(stream)
                ended = time.perf_counter_ns()
                context.trace.add("engine", "TensorRT", began, ended, dict(self.facts))
        return [results[value.name] for value in self._partition.outputs]

    @contextmanager
    def _leased(self, arrays: Mapping[str, Any]) -> Iterator[tuple[Slot, int]]:
        """Lend a context of the engine for these inputs, and the profile to run it in."""
        shared = self._habits.shared
        if shared is not None:
            shared.lock.acquire()
        try:
            with self._lock:
                index = self._fitting(*self._asked(arrays))
                slot = self._idle.pop() if self._idle else self._slot()
            try:
                yield slot, index
            except BaseException:
                self._release(slot)
                raise
            with self._lock:
                if slot.engine is self._engine:
                    self._idle.append(slot)
                else:
                    self._release(slot)
        finally:
            if shared is not None:
                shared.lock.release()

    def _asked(
        self, arrays: Mapping[str, Any]
    ) -> tuple[dict[str, Shape], dict[str, Shape]]:
        """Return what a profile must admit: shapes of open inputs, values of sizes."""
        shapes = {v.name: tuple(arrays[v.name].shape) for v in self._open}
        values = {
            v.name: tuple(np.asarray(arrays[v.name]).reshape(-1).tolist())
            for v in self._partition.inputs
            if v in self._partition.host_inputs
        }
        return shapes, values

    def _slot(self) -> Slot:
        engine = self._engine
        assert engine is not None
        with self._driver.using(0):
            run = engine.context()
        memory = None
        if self._habits.shared is None:
            memory = self._pool.hold(max(engine.memory, 1), "engines")
            run.use_memory(memory.address, engine.memory)
        stream = self._habits.streams.take()
        return Slot(engine, run, stream, memory)

    def _release(self, slot: Slot) -> None:
        """Let a context go, once all that was begun with it is done."""
        self._driver.synchronize(slot.stream)
        slot.place.settle()
        slot.forget()
        self._habits.streams.give(slot.stream)

    def _go(
        self,
        slot: Slot,
        index: int,
        arrays: Mapping[str, Any],
        buffers: Mapping[str, Any],
        stream: Stream,
        waits: bool,
    ) -> dict[str, Any]:
        """Bind everything, run, and gather the results."""
        shared, mark = self._habits.shared, None
        places = [slot.place] if shared is None else [slot.place, shared.place]
        for place in places:
            place.enter(stream)
        finished = False
        try:
            results, ours = self._begin(slot, index, arrays, buffers, stream)
            on_host = [n for n, r in results.items() if isinstance(r, np.ndarray)]
            if not waits or len(results) < len(buffers) or on_host or ours:
                self._driver.synchronize(stream)
                finished = True
        finally:
            mark = None if finished else Mark(self._driver, stream)
            for place in places:
                place.last = mark
        if mark is not None:
            keep((*arrays.values(), *results.values()), mark)
        for name in on_host:
            results[name] = self._moved(results[name], buffers[name], stream)
        return results | self._gathered(slot, buffers, results, stream)

    def _begin(
        self,
        slot: Slot,
        index: int,
        arrays: Mapping[str, Any],
        buffers: Mapping[str, Any],
        stream: Stream,
    ) -> tuple[dict[str, Any], bool]:
        """Begin a run; return what is known of its results, and if we hold its inputs."""
        run, engine = slot.run, slot.engine
        shared = self._habits.shared
        if shared is not None:
            slot.address = shared.address(engine.memory)
            run.use_memory(slot.address, engine.memory)
        if engine.profiles > 1:
            run.use_profile(index, stream)
        kept = self._brought(slot, arrays, stream)
        for name, array in kept.items():
            run.give(name, _address(array), array.shape)
        with self._driver.using(stream):
            run.settle()
        results = self._results(slot, buffers)
        for name, array in results.items():
            run.give(name, _address(array))
        static = len(results) == len(buffers)
        if self._habits.graphs and static and not any(map(_on_host, kept.values())):
            replay(self._driver, slot, index, kept, results, stream)
        else:
            with self._driver.using(stream):
                run.go(stream)
        return results, any(array is not arrays[name] for name, array in kept.items())

    def _brought(
        self, slot: Slot, arrays: Mapping[str, Any], stream: Stream
    ) -> dict[str, Any]:
        """Return inputs where TensorRT reads them; those that nothing reads are left out."""
        slot.shapes.clear()
        kept = {}
        for name, array in arrays.items():
            binding = slot.engine.bindings.get(name)
            if binding is not None:
                kept[name] = (
                    self._fetched(array, binding.dtype, stream)
                    if binding.on_host
                    else self._sent(array, stream)
                )
        return kept

    def _fetched(self, array: Any, dtype: Any, stream: Stream) -> Any:
        if not isinstance(array, np.ndarray):
            host = np.empty(array.shape, array.dtype)
            self._driver.download(host, array.pointer, stream)
            array = host
        return np.asarray(array, dtype, order="C")

    def _sent(self, array: Any, stream: Stream) -> Any:
        if not isinstance(array, np.ndarray):
            return array
        held = self._array(array.shape, array.dtype)
        self._driver.upload(held.pointer, np.ascontiguousarray(array), stream)
        return held

    def _array(self, shape: Shape, dtype: Any) -> DeviceArray:
        held = self._pool.hold(max(prod(shape) * dtype.itemsize, 1), "results")
        return DeviceArray(self._driver, held.address, tuple(shape), dtype, held)

    def _room(self, buffer: Any, shape: Shape, dtype: Any) -> Any:
        """Return a caller's memory, where it has the shape, or memory of our own.

        What comes out in memory of our own cannot be put into the caller's: the session
        says so.
        """
        fits = buffer is not None and tuple(buffer.shape) == shape
        return buffer if fits else self._array(shape, dtype)

    def _results(self, slot: Slot, buffers: Mapping[str, Any]) -> dict[str, Any]:
        """Bind outputs of known shapes; others are asked for while the run goes on."""
        found: dict[str, Any] = {}
        for name, buffer in buffers.items():
            binding, shape = slot.engine.bindings[name], slot.run.shape(name)
            if shape is None:
                slot.run.allocate(
                    name, slot.reallocate(self._pool), slot.shapes.__setitem__
                )
            elif binding.on_host:
                found[name] = np.empty(shape, binding.dtype)
            else:
                found[name] = self._room(buffer, shape, binding.dtype)
        return found

    def _gathered(
        self,
        slot: Slot,
        buffers: Mapping[str, Any],
        known: Mapping[str, Any],
        stream: Stream,
    ) -> dict[str, Any]:
        """Return the outputs whose shapes the run has told."""
        found = {}
        for name, buffer in buffers.items():
            if name in known:
                continue
            shape, held = slot.shapes.get(name), slot.room.pop(name, None)
            if shape is None or (held is None and 0 not in shape):
                raise ExecutionError(f"TensorRT told nothing of the output {name!r}")
            dtype = slot.engine.bindings[name].dtype
            made = self._array(shape, dtype)
            if held is not None:
                made = DeviceArray(self._driver, held.address, shape, dtype, held)
            found[name] = self._copied(made, buffer, stream)
        return found

    def _copied(self, source: Any, buffer: Any, stream: Stream) -> Any:
        """Put what came out into a caller's memory, where it has the shape."""
        if buffer is None or tuple(buffer.shape) != source.shape:
            return source
        self._driver.copy(buffer.pointer, source.pointer, source.nbytes, stream)
        self._driver.synchronize(stream)
        return buffer

    def _moved(self, array: Any, buffer: Any, stream: Stream) -> Any:
        """Put what TensorRT left on the host where results are."""
        target = self._room(buffer, array.shape, array.dtype)
        self._driver.upload(target.pointer, array, stream)
        self._driver.synchronize(stream)
        return target

    # what it holds

    def export(self) -> bytes:
        """Return the engine, for `runtime_ep_tensorrt.context.loaded`.

        Raises `ExecutionError` where none was built yet, or it is without weights.
        """
        if self._record is None:
            raise ExecutionError(
                "no engine is built before the shapes are known; give them with "
                "trt_profile_min_shapes, trt_profile_opt_shapes and trt_profile_max_shapes"
            )
        if "without" in self.facts.get("weights", ""):
            raise ExecutionError(
                "an engine without weights is not written into a model; leave "
                "trt_weight_stripped_engine_enable out"
            )
        return packed(self._record)

    def memory(self) -> Mapping[str, int]:
        """Return the bytes in which idle contexts work."""
        with self._lock:
            return {
                "arena": sum(slot.memory.size for slot in self._idle if slot.memory)
            }

    def trim(self) -> None:
        """Give back idle contexts, and what was recorded with them."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        while self._idle:
            self._release(self._idle.pop())

    def close(self) -> None:
        """Release everything."""
        with self._lock:
            self._drop()
            self._engine = None


def _on_host(array: Any) -> bool:
    return isinstance(array, np.ndarray)


def _address(array: Any) -> int:
    return int(array.ctypes.data if _on_host(array) else array.pointer)


def _check(engine: Engine, value: Value, mine: bool) -> None:
    """Raise `BuildFailed` where an engine's binding is not what the partition has."""
    from runtime.valuetypes import numpy_dtype

    binding = engine.bindings.get(value.name)
    if binding is None:
        if mine:
            return
        raise BuildFailed(f"the engine has no output {value.name!r}")
    wanted = numpy_dtype(value.dtype or 1)
    if binding.is_input is not mine or binding.dtype != wanted:
        raise BuildFailed(
            f"the engine has {value.name!r} as {binding.dtype}, not {wanted}"
        )
