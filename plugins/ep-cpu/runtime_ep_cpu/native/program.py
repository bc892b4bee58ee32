"""A partition as native code: stages of native and of NumPy's kernels, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from runtime.abilities import Context
from runtime.cache import CompileCache
from runtime.graph import Node, Value
from runtime.kernels import KernelTable, TableExecutable, filled
from runtime.plugin import Partition
from runtime.settings import Settings

from runtime_ep_cpu import pool
from runtime_ep_cpu.codegen.library import Spec, library
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native import ahead
from runtime_ep_cpu.native.classify import Classes, Role
from runtime_ep_cpu.native.packing import Panels
from runtime_ep_cpu.native.plan import apart
from runtime_ep_cpu.native.stage import Engine, Extent, Stage
from runtime_ep_cpu.threads import use_threads


@dataclass(frozen=True, slots=True)
class _Part:
    """A stage in a program: what runs it, which values go in and out.

    ``stage`` is the stage where it is native.
    """

    run: Any
    stage: Stage | None
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


class Program:
    """Runs a partition by native code where there is some, else by NumPy's kernels.

    Where native code cannot take a run, NumPy's kernels take all of it, and it is they
    that say what is wrong with an input.
    """

    concurrent = True

    def __init__(
        self,
        partition: Partition,
        settings: Settings,
        table: KernelTable,
        target: Target,
        threads: int,
    ) -> None:
        self._partition = partition
        self._settings = settings
        self._table = table
        store = CompileCache.of(settings)
        self._engine = Engine(
            library(target),
            store,
            pool.shared(threads, target, store),
            threads,
            Panels(),
        )
        self._required = settings.options.get("native") == "required"
        self._plain: Callable[..., list[Any]] | None = None
        self._lock = threading.Lock()
        self.moved = 0
        self.stages: list[Stage] = []
        self._parts = self._divide()
        self._whole, self._order = self._alone()
        self._prepare()
        self.facts = self._facts(target, threads)
        packed = {r.value.name for stage in self.stages for r in stage.requests}
        self.weights = {
            value.name: "repacked" if value.name in packed else "kept"
            for value in partition.constants
        }

    def _divide(self) -> list[_Part]:
        """Cut the partition into stages and make each ready."""
        parts = []
        for native, extent in stages(self._partition):
            if native:
                stage = Stage(extent, self._engine, self._table, self._settings)
                self.stages.append(stage)
                part = _Part(stage.run, stage, extent.inputs, extent.outputs)
            else:
                part = _Part(self._host(extent), None, extent.inputs, extent.outputs)
            parts.append(part)
        return parts

    def _alone(self) -> tuple[_Part | None, tuple[int, ...]]:
        """Return the stage that runs everything, if one does, and its inputs' places."""
        place = {value: i for i, value in enumerate(self._partition.inputs)}
        for part in self._parts:
            if (
                self.stages
                and part.outputs == self._partition.outputs
                and all(value in place for value in part.inputs)
            ):
                return part, tuple(place[value] for value in part.inputs)
        return None, ()

    def _host(self, extent: Extent) -> Any:
        partition = self._partition
        own = replace(
            partition,
            nodes=extent.nodes,
            inputs=extent.inputs,
            outputs=extent.outputs,
            constants=tuple(_constants(extent.nodes)),
        )
        return self._threaded(TableExecutable(self._table, own, self._settings))

    def _threaded(self, inner: TableExecutable) -> Callable[..., list[Any]]:
        """Return a run whose linear algebra uses the session's number of threads."""
        threads = self._engine.threads

        def run(
            inputs: Sequence[Any], outputs: Sequence[Any], context: Context
        ) -> list[Any]:
            use_threads(threads)
            return inner.run(inputs, outputs, context)

        return run

    def _prepare(self) -> None:
        """Pack constant matrices; load every kernel that a plan may need.

        Where the model leaves sizes open, and native code is not required, kernels that
        are not kept are compiled behind the session, once it has packed its weights: the
        first plan waits for them.
        """
        engine = self._engine
        library, store, threads = engine.library, engine.store, engine.threads
        specs = {spec for stage in self.stages for spec in stage.specs}
        requests = [r for stage in self.stages for r in stage.requests]
        packing = [spec for request in requests for spec in request.specs]
        library.load(packing, store, threads)
        missing: set[Spec] = set()
        if self._required or all(stage.is_known for stage in self.stages):
            library.load(specs, store, threads)
        else:
            missing = library.recall(specs, store)
        engine.panels.pack(requests, library, engine.pool, threads)
        if missing:
            for stage in self.stages:
                stage.awaited = missing
            ahead.later(partial(library.load, missing, store, threads))

    def _facts(self, target: Target, threads: int) -> dict[str, str]:
        native = {n for s in self.stages for n in (*s.extent.nodes, *s.extent.known)}
        nodes = self._partition.nodes
        left = sorted({node.op_type for node in nodes if node not in native})
        facts = {
            "target": target.name,
            "threads": str(threads),
            "native": f"{len(native)} of {len(nodes)} nodes",
            "groups": str(sum(len(stage.groups) for stage in self.stages)),
        }
        return facts | ({"numpy": " ".join(left)} if left else {})

    def run(
        self, inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> list[Any]:
        """Run once; native stretches release the interpreter's lock."""
        if self._whole is not None:
            given = [inputs[i] for i in self._order]
            made = self._whole.run(given, outputs, context)
            if made is None:
                return self._numpy()(inputs, outputs, context)
            return (
                filled(made, outputs) if any(b is not None for b in outputs) else made
            )
        values = dict(zip(self._partition.inputs, inputs, strict=True))
        wanted = self._fillable(inputs, outputs)
        for part in self._parts:
            given = [values[value] for value in part.inputs]
            filling = wanted if part is self._parts[-1] else {}
            buffers = [filling.get(value) for value in part.outputs]
            made = part.run(given, buffers, context)
            if made is None:
                return self._numpy()(inputs, outputs, context)
            values.update(zip(part.outputs, made, strict=True))
        results = [
            values[v] if v in values else v.constant() for v in self._partition.outputs
        ]
        return filled(results, outputs)

    def prepared(
        self, inputs: Sequence[Any]
    ) -> Callable[[Sequence[Any]], list[Any] | None] | None:
        """Return what runs such inputs by one native call, if one stage is everything."""
        if self._whole is None:
            return self._prepared_start(inputs)
        stage = self._whole.stage
        if stage is None:
            return None
        order = self._order
        run = stage.prepared([inputs[i] for i in order])
        if run is None or order == tuple(range(len(inputs))):
            return run

        def ordered(given: Sequence[Any]) -> list[Any] | None:
            return run([given[i] for i in order])

        vouches = len(order) == len(inputs) and getattr(run, "vouches", False)
        ordered.vouches = vouches  # type: ignore[attr-defined]
        return ordered

    def _prepared_start(
        self, inputs: Sequence[Any]
    ) -> Callable[[Sequence[Any]], list[Any] | None] | None:
        """Return what runs such inputs by a native call and NumPy's kernels behind it."""
        if not self._parts:
            return None
        first, *rest = self._parts
        own = self._partition.inputs
        if (
            first.stage is None
            or any(part.stage is not None for part in rest)
            or any(value not in own for value in first.inputs)
            or any(value.is_constant for value in self._partition.outputs)
        ):
            return None
        given = dict(zip(own, inputs, strict=True))
        start = first.stage.prepared([given[value] for value in first.inputs])
        if start is None:
            return None
        idle = Context()

        def run(arrays: Sequence[Any]) -> list[Any] | None:
            values = dict(zip(own, arrays, strict=True))
            made = start([values[value] for value in first.inputs])
            if made is None:
                return None
            values.update(zip(first.outputs, made, strict=True))
            del made
            for part in rest:
                found = part.run(
                    [values[value] for value in part.inputs],
                    (None,) * len(part.outputs),
                    idle,
                )
                values.update(zip(part.outputs, found, strict=True))
                del found
            return [values.pop(value) for value in self._partition.outputs]

        return run

    def _fillable(
        self, inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> dict[Value, Any]:
        """Return the buffers the last part may fill: those apart from all inputs.

        The parts before it may read what such a buffer overlaps, and so may NumPy's
        kernels, where they take the run over.
        """
        if all(buffer is None for buffer in outputs):
            return {}
        pairs = zip(self._partition.outputs, outputs, strict=True)
        return {v: b for v, b in pairs if b is not None and apart((b,), inputs)}

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The partition's nodes."""
        return self._partition.nodes

    def _numpy(self) -> Callable[..., list[Any]]:
        with self._lock:
            self.moved += 1
            if self._plain is None:
                self._plain = self._threaded(
                    TableExecutable(self._table, self._partition, self._settings)
                )
            return self._plain

    def cancel(self) -> None:
        """Make runs in progress stop soon."""
        for stage in self.stages:
            stage.cancel()

    def trim(self) -> None:
        """Let go of working memory."""
        for stage in self.stages:
            stage.trim()

    def memory(self) -> dict[str, int]:
        """Return bytes of packed weights and of working memory."""
        return {
            "packed": self._engine.panels.bytes,
            "arena": sum(stage.memory for stage in self.stages),
        }


def stages(partition: Partition) -> list[tuple[bool, Extent]]:
    """Divide a partition's nodes into stages, native or the host's, in order."""
    return _Division(partition).result()


class _Division:
    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._classes = Classes(partition.nodes)
        self._inside = set(partition.nodes)
        self._depth: dict[Node, int] = {}
        self._behind: dict[Node, tuple[set[Node], set[Node]]] = {}

    def _role(self, node: Node) -> Role:
        return self._classes.roles[node]

    def result(self) -> list[tuple[bool, Extent]]:
        """Number every node's stage, then collect."""
        for node in self._partition.nodes:
            if self._role(node) is not Role.KNOWN:
                self._depth[node] = self._place(node)
        found: list[tuple[bool, Extent]] = []
        for depth in range(1 + max(self._depth.values(), default=-1)):
            for native in (True, False):
                nodes = [
                    node
                    for node, place in self._depth.items()
                    if place == depth and (self._role(node) is Role.NATIVE) is native
                ]
                if nodes:
                    found.append((native, self._extent(nodes, native)))
        if known := self._known_behind(self._partition.outputs):
            found.append((False, self._extent(known, False)))
        wanted = set(self._partition.outputs)
        wanted.update(value for _, extent in found for value in extent.inputs)
        return [(native, _with_outputs(extent, wanted)) for native, extent in found]

    def _place(self, node: Node) -> int:
        soft, hard = self._dependencies(node.reads)
        role = self._role(node)
        place = 0
        for other in soft:
            place = max(place, self._depth[other] + (self._role(other) is not role))
        for other in hard:
            place = max(place, self._depth[other] + 1)
        return place

    def _dependencies(self, values: Sequence[Value]) -> tuple[set[Node], set[Node]]:
        """Return what must have run before values can be read.

        The second set has those nodes that must have run in an earlier stage, as it is
        their results' contents that decide shapes, or a run that decides theirs.
        """
        soft: set[Node] = set()
        hard: set[Node] = set()
        for value in values:
            producer = value.producer
            if producer is None or producer not in self._inside:
                continue
            if self._role(producer) is not Role.KNOWN:
                soft.add(producer)
                if value in self._classes.contents or value in self._classes.counted:
                    hard.add(producer)
                continue
            if producer not in self._behind:
                self._behind[producer] = self._dependencies(producer.reads)
            before, strictly = self._behind[producer]
            soft |= before
            hard |= strictly
        return soft, hard

    def _extent(self, nodes: list[Node], native: bool) -> Extent:
        """Return what a stage holds and reads; its outputs are found later."""
        known = self._known_behind([value for node in nodes for value in node.reads])
        if not native:
            order = {node: i for i, node in enumerate(self._partition.nodes)}
            nodes, known = sorted({*nodes, *known}, key=order.__getitem__), []
        own = {*nodes, *known}
        inputs = dict.fromkeys(
            value
            for node in (*known, *nodes)
            for value in node.reads
            if not value.is_constant and value.producer not in own
        )
        contents = frozenset(inputs) & frozenset(self._classes.contents)
        return Extent(tuple(nodes), tuple(known), tuple(inputs), (), contents)

    def _known_behind(self, values: Sequence[Value]) -> list[Node]:
        """Return the known nodes that values depend on, in order."""
        found: set[Node] = set()
        left = list(values)
        while left:
            producer = left.pop().producer
            if producer is None or producer in found or producer not in self._inside:
                continue
            if self._role(producer) is Role.KNOWN:
                found.add(producer)
                left += producer.reads
        return [node for node in self._partition.nodes if node in found]


def _with_outputs(extent: Extent, wanted: set[Value]) -> Extent:
    made = [value for node in extent.nodes for value in node.outputs]
    return replace(extent, outputs=tuple(value for value in made if value in wanted))


def _constants(nodes: Sequence[Node]) -> dict[Value, None]:
    return dict.fromkeys(
        value for node in nodes for value in node.reads if value.is_constant
    )
