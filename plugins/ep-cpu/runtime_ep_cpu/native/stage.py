"""A stretch of native nodes: groups with their steps, and a plan for each set of shapes."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from runtime.abilities import Context
from runtime.explain import Event, warn_once
from runtime.graph import Node, Value
from runtime.kernels import KernelTable
from runtime.settings import Settings
from runtime.valuetypes import numpy_dtype

from runtime_ep_cpu.codegen.library import Library, Spec, Store
from runtime_ep_cpu.info import info
from runtime_ep_cpu.native import texts
from runtime_ep_cpu.native.chains import chained
from runtime_ep_cpu.native.forms import Forms
from runtime_ep_cpu.native.fuse import groups
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import borders, places, sources
from runtime_ep_cpu.native.known import evaluated, is_bound, shape_of
from runtime_ep_cpu.native.layout import (
    SIZES,
    Buffer,
    Home,
    Layout,
    Unplannable,
    contiguous_strides,
    in_order,
    native_type,
    of_array,
)
from runtime_ep_cpu.native.loops import made_step
from runtime_ep_cpu.native.packing import Panels, Request
from runtime_ep_cpu.native.plan import Output, Plan
from runtime_ep_cpu.native.planner import Planner, Step, check_fits
from runtime_ep_cpu.pool import Pool

logger = logging.getLogger("runtime.cpu")

REMEMBERED = 64
"""Plans kept per stage, the latest used."""
ROOMY = 8
"""Plans of a stage that keep working memory, the latest that asked for some."""

_SAME_MEMORY = frozenset(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"))
_READ_ROWS = frozenset(
    ("product", "norm", "softmax", "elementwise", "attention", "view", "convolution",
     "pool", "resize", "pad", "blocks", "affine", "response", "concat",
     "group_norm", "transposed")
)  # fmt: skip
_MAKE_ROWS = frozenset(
    ("product", "norm", "elementwise", "convolution", "pool", "resize", "group_norm",
     "transposed")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Engine:
    """What stages share: the kernels, where their code is kept, the threads."""

    library: Library
    store: Store | None
    pool: Pool
    threads: int
    panels: Panels


@dataclass(frozen=True, slots=True)
class Extent:
    """The nodes of a stage and what goes in and out.

    ``known`` are nodes evaluated when a plan is made, in order; ``contents`` those
    inputs whose contents plans depend on.
    """

    nodes: tuple[Node, ...]
    known: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    contents: frozenset[Value]


class Stage:
    """Native code for some nodes. Thread-safe."""

    def __init__(
        self, extent: Extent, engine: Engine, table: KernelTable, settings: Settings
    ) -> None:
        self.extent = extent
        self._engine = engine
        self._required = settings.options.get("native") == "required"
        outputs = set(extent.outputs)
        self.groups = groups(extent.nodes, outputs.__contains__)
        target = engine.library.target
        forms = Forms.of(settings.options)
        bind = partial(table.bind, settings=settings)
        self._steps = [made_step(g, target, forms, bind) for g in self.groups]
        self._known = {
            value: (node, table.bind(node, settings) if is_bound(node) else None)
            for node in extent.known
            for value in node.outputs
        }
        self.pitched = frozenset(self._pitched())
        self.places = places(self.groups)
        apart = outputs | self.places.keys()
        self._planned = chained(self.groups, self._steps, apart)
        self.margins = borders(self._steps, self.places, sources(self.groups))
        self.panels = engine.panels
        self._roots = [self._root(value, outputs) for value in extent.outputs]
        self._rows: dict[int, Layout] = {}
        self._constants: dict[Value, Layout] = {}
        self._plans: OrderedDict[Any, Plan | None] = OrderedDict()
        self._roomy: deque[weakref.ref[Plan]] = deque()
        self._latest: tuple[Any, Plan | None] = (None, None)
        self._lock = threading.Lock()
        self._is_ready = False
        self.awaited: set[Spec] = set()
        """Kernels that the program has left to be compiled."""

    @property
    def steps(self) -> Sequence[Step]:
        """The groups' steps, in order."""
        return self._steps

    @property
    def specs(self) -> set[Spec]:
        """The kernels that plans may need."""
        steps = (*self._steps, *(step for _, step in self._planned))
        return {spec for step in steps for spec in step.specs}

    @property
    def is_known(self) -> bool:
        """Whether the model tells the sizes of all inputs, and so which plan it needs."""
        shapes = [value.shape for value in self.extent.inputs]
        return not self.extent.contents and all(
            shape is not None and all(isinstance(dim, int) for dim in shape)
            for shape in shapes
        )

    def _make_ready(self) -> None:
        """Wait for kernels that are being compiled, or compile them; once.

        All that the program waits for are compiled together, whoever is first: they are an
        entry of the cache, where the next session looks for them.
        """
        if not self._is_ready:
            engine = self._engine
            wanted = self.specs | self.awaited
            engine.library.load(wanted, engine.store, engine.threads)
            self._is_ready = True
            self.awaited = set()

    @property
    def requests(self) -> list[Request]:
        """Constant matrices that are to be packed."""
        found: list[Request | None] = []
        for step in self._steps:
            packed = getattr(step, "packed", None)
            found += packed if isinstance(packed, list) else [packed]
        return [request for request in found if request is not None]

    def run(
        self, inputs: Sequence[Any], buffers: Sequence[Any], context: Context
    ) -> list[Any] | None:
        """Run once; ``None`` where NumPy's kernels shall, to answer or to say why not."""
        given = [in_order(array) for array in inputs]
        plan = self._plan(given)
        return None if plan is None else plan.run(given, buffers, context)

    def prepared(
        self, inputs: Sequence[Any]
    ) -> Callable[[Sequence[Any]], list[Any] | None] | None:
        """Return what runs C-contiguous inputs of these shapes, if nothing else decides."""
        plan = None if self.extent.contents else self._plan(inputs)
        if plan is None:
            return None
        key = self._key(inputs)
        execute = plan.run_swiftly if plan.is_swift else plan.run_plainly

        def run(given: Sequence[Any]) -> list[Any] | None:
            if self._latest[1] is not plan:
                self._remember(key, plan)
            return execute(given)

        run.vouches = plan.is_swift  # type: ignore[attr-defined]
        return run

    def _key(self, inputs: Sequence[np.ndarray[Any, Any]]) -> Any:
        shapes = tuple([array.shape for array in inputs])
        if not self.extent.contents:
            return shapes
        contents = [
            array.tobytes() if value in self.extent.contents else b""
            for value, array in zip(self.extent.inputs, inputs, strict=True)
        ]
        return shapes, tuple(contents)

    def _plan(self, inputs: Sequence[np.ndarray[Any, Any]]) -> Plan | None:
        key = self._key(inputs)
        latest, plan = self._latest
        if key == latest:
            return plan
        with self._lock:
            if key in self._plans:
                self._plans.move_to_end(key)
                self._latest = key, self._plans[key]
                return self._plans[key]
        try:
            plan = self.plan(inputs)
        except Unplannable as error:
            self.refused = str(error)
            logger.debug("NumPy's kernels run inputs of %s: %s", key, error)
            plan = None
        except Exception as error:
            if self._required:
                raise
            self.refused = f"{type(error).__name__}: {error}"
            reason = f"no plan for inputs of {key} ({self.refused})"
            warn_once(Event(info.name, "run", reason, "NumPy's kernels answer"))
            plan = None
        self._remember(key, plan)
        return plan

    def _remember(self, key: Any, plan: Plan | None) -> None:
        """Take a plan for the latest used; drop what was not used for long."""
        dropped = []  # collected when the lock is open
        with self._lock:
            self._latest = key, plan
            self._plans[key] = plan
            self._plans.move_to_end(key)
            while len(self._plans) > REMEMBERED:
                dropped.append(self._plans.popitem(last=False))

    refused = ""
    """Why the last plan could not be made."""

    def plan(self, inputs: Sequence[np.ndarray[Any, Any]]) -> Plan:
        """Make the plan for inputs of these shapes; raises `Unplannable`."""
        self._make_ready()
        planner = Planner(self._engine.library, _Knowledge(self, inputs))
        planner.inputs = len(inputs)
        for index, (value, array) in enumerate(
            zip(self.extent.inputs, inputs, strict=True)
        ):
            element = native_type(array.dtype)
            if element is None:
                if value in self.extent.contents:
                    continue
                raise Unplannable(f"{value.name!r} is {array.dtype} {array.shape}")
            buffer = Buffer(Home.INPUT, array.nbytes, index=index)
            strides = contiguous_strides(array.shape)
            planner.give(value, Layout(buffer, element, array.shape, strides))
        targets = [Buffer(Home.OUTPUT, index=i) for i in range(len(self._roots))]
        for root, buffer in zip(self._roots, targets, strict=True):
            planner.wanted.setdefault(root, buffer)
        for group, step in self._planned:
            planner.group = group
            step.plan(planner)
        outputs = [
            self._deliver(planner, value, buffer)
            for value, buffer in zip(self.extent.outputs, targets, strict=True)
        ]
        engine = self._engine
        grown = weakref.WeakMethod(self._grown)
        return Plan(planner, inputs, outputs, engine.pool, engine.threads, grown)

    def _grown(self, plan: Plan) -> None:
        """Take working memory from another plan where too many have some."""
        with self._lock:
            others = [ref for ref in self._roomy if ref() not in (None, plan)]
            self._roomy = deque((*others, weakref.ref(plan)))
            old = self._roomy.popleft()() if len(self._roomy) > ROOMY else None
        if old is not None:
            old.trim()

    def _deliver(self, planner: Planner, value: Value, buffer: Buffer) -> Output:
        """See that an output lies in its own memory, in C order."""
        layout = planner.layout(value)
        check_fits(layout.size * SIZES[layout.element])
        whole = contiguous_strides(layout.shape)
        target = Layout(buffer, layout.element, layout.shape, whole)
        if layout.buffer is not buffer or not layout.is_contiguous or layout.offset:
            planner.group = None
            planner.copy(layout, target)
        words = texts.table(value)
        dtype = numpy_dtype((value.dtype or 1) if words is None else texts.INT64)
        return Output(layout.shape, dtype, planner.counts.get(value), words)

    def _root(self, value: Value, outputs: set[Value]) -> Value:
        """Return the value whose memory an output can be, through mere reshapes."""
        inside = set(self.extent.nodes)
        while (
            value.producer in inside
            and value.producer.op_type in _SAME_MEMORY
            and value.producer.inputs[0] not in outputs
            and value.producer.inputs[0] is not None
            and value.producer.inputs[0].producer in inside
        ):
            value = value.producer.inputs[0]
        return value

    def _pitched(self) -> list[Value]:
        """Return results that may have gaps between rows: no reader needs them whole."""
        readers: dict[Value, list[Group]] = {}
        for group in self.groups:
            for node in group.nodes:
                for value in node.reads:
                    readers.setdefault(value, []).append(group)
        outputs = set(self.extent.outputs)
        return [
            value
            for group in self.groups
            if group.kind in _MAKE_ROWS
            for value in group.results
            if value not in outputs
            and all(reader.kind in _READ_ROWS for reader in readers.get(value, ()))
        ]

    def contents(
        self,
        value: Value,
        planner: Planner,
        found: dict[Value, np.ndarray[Any, Any]],
    ) -> np.ndarray[Any, Any] | None:
        """Evaluate what is known of a value, once per plan."""
        if value in found:
            return found[value]
        constant = value.constant()
        if constant is not None or value not in self._known:
            return constant
        node, function = self._known[value]
        if function is None:
            (source,) = node.reads
            shape = planner.layout(source).shape
            results: Any = shape_of(node, shape)
        else:
            arguments = [
                None if v is None else self._needed(v, planner, found)
                for v in node.inputs
            ]
            results = evaluated(node, function, arguments)
        results = results if isinstance(results, tuple) else (results,)
        for output, result in zip(node.outputs, results, strict=False):
            found[output] = np.asarray(result)
        return found.get(value)

    def _needed(
        self,
        value: Value,
        planner: Planner,
        found: dict[Value, np.ndarray[Any, Any]],
    ) -> np.ndarray[Any, Any]:
        array = self.contents(value, planner, found)
        if array is None:
            raise Unplannable(f"the contents of {value.name!r} are not known")
        return array

    def constant(self, value: Value, array: np.ndarray[Any, Any]) -> Layout:
        """Return where a constant lies, looked up once for all plans."""
        found = self._constants.get(value)
        if found is None:
            found = self._constants[value] = of_array(array)
        return found

    def row(self, row: np.ndarray[Any, Any] | None, count: int) -> Layout:
        """Return a row followed by zeros, kept for all plans."""
        key = count if row is None else id(row)
        if key not in self._rows:
            made = np.zeros(count, np.float32)
            if row is not None:
                made[: len(row)] = row
            self._rows[key] = of_array(made)
        return self._rows[key]

    def _each(self, use: Callable[[Plan], None]) -> None:
        with self._lock:
            plans = [plan for plan in self._plans.values() if plan is not None]
        for plan in plans:
            use(plan)

    def cancel(self) -> None:
        """Make runs in progress stop soon."""
        self._each(Plan.cancel)

    def trim(self) -> None:
        """Let go of the working memory of idle frames."""
        self._each(Plan.trim)

    @property
    def memory(self) -> int:
        """Bytes of working memory."""
        with self._lock:
            return sum(plan.memory for plan in self._plans.values() if plan)


class _Knowledge:
    """What a stage knows while it plans for given inputs."""

    def __init__(self, stage: Stage, inputs: Sequence[np.ndarray[Any, Any]]) -> None:
        self._stage = stage
        extent = stage.extent
        pairs = zip(extent.inputs, inputs, strict=True)
        self._found = {v: array.copy() for v, array in pairs if v in extent.contents}
        self.panels = stage.panels
        self.pitched = stage.pitched
        self.margins = stage.margins
        self.places = stage.places

    def contents(self, value: Value, planner: Planner) -> np.ndarray[Any, Any] | None:
        """Return a value that follows from shapes, if it does."""
        return self._stage.contents(value, planner, self._found)

    def constant(self, value: Value, array: np.ndarray[Any, Any]) -> Layout:
        """Return where a constant lies."""
        return self._stage.constant(value, array)

    def bias(self, row: np.ndarray[Any, Any] | None, count: int) -> Layout:
        """Return a row followed by zeros."""
        return self._stage.row(row, count)
