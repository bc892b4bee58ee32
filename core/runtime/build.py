"""Takes a model through every stage, bodies of control flow included, to what runs."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from runtime import errors, weights
from runtime.abilities import Closeable, Context, MemoryReporting, Trimmable
from runtime.calling import Placed, runner
from runtime.cost import weigh
from runtime.cycles import unsearched
from runtime.explain import Event, Placement, Report, tell_once
from runtime.graph import Graph, Model, Node, Tensor, Value
from runtime.infer import infer, separate, twins
from runtime.model import Source, load
from runtime.partition import Assignment, cut, cut_all
from runtime.passes import simplify
from runtime.passes.lower import lowered
from runtime.placement import record, tell_little
from runtime.plan import Devices, Plan, StepFailed
from runtime.plugin import HOST, Partition, Unsupported
from runtime.prepared import Prepared
from runtime.providers import Elsewhere, Providers, Request, resolve
from runtime.settings import Settings
from runtime.trace import Trace


@unsearched()
def build(
    source: Source | Model,
    requests: Sequence[Request],
    settings: Settings,
    elsewhere: Mapping[str, Elsewhere] = MappingProxyType({}),
    dry: bool = False,
) -> Runnable:
    """Load a model, simplify it, divide it among providers, and compile every part.

    ``requests`` are the providers in fallback order; the caller appends the host's.
    ``dry`` stops before compiling: the result explains, but does not run. Raises one of
    `runtime.errors`.
    """
    report = Report(strict=settings.fallback == "error")
    trace = Trace()
    if isinstance(source, (str, os.PathLike)):
        folder = os.path.dirname(os.path.abspath(source))
        settings = replace(settings, external_data_directory=folder)
    providers = Providers.open(requests, settings, report, elsewhere)
    if not dry:
        providers.warm_up()
    began = time.perf_counter()
    with trace.span("model_loading"):
        model = loaded(source, settings)
    report.placement.seconds["load"] = time.perf_counter() - began
    with trace.span("session_initialization"):
        requested = tuple(request.name for request in requests)
        report.placement.requested = requested
        runnable = Runnable(model, providers, settings, report, trace)
        if not isinstance(source, Model):
            runnable.remember(source)
        runnable.prepare(dry)
    return runnable


def loaded(source: Source | Model, settings: Settings, apart: bool = False) -> Model:
    """Return a model with its settings applied and its types inferred.

    ``apart`` gives every symbolic dim of the inputs a name of its own.
    """
    model = source if isinstance(source, Model) else load(source, settings)
    _replace_initializers(model, settings)
    if settings.outputs:
        outputs = model.graph.outputs
        outputs[:] = [value for value in outputs if value.name in settings.outputs]
    if apart:
        separate(model.graph.inputs)
    infer(model, settings)
    model.graph.bounds.update(settings.bounds)
    return model


def _stamp(source: Source) -> tuple[int, ...]:
    """Return what tells whether a model's file was written since."""
    if isinstance(source, bytes):
        return ()
    stat = os.stat(source)
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def _replace_initializers(model: Model, settings: Settings) -> None:
    """Put the caller's arrays in the place of the model's initializers."""
    for name, array in settings.initializers.items():
        value = model.graph.initializers.get(name)
        if value is None:
            raise errors.OptionError(
                f"the model has no initializer {name!r} to replace"
                f"{errors.near(name, model.graph.initializers)}"
            )
        old = value.const
        made = Tensor.of(np.asarray(array), name)
        if old is not None and (
            made.shape != old.shape
            or (isinstance(old, Tensor) and made.dtype != old.dtype)
        ):
            raise errors.OptionError(
                f"the replacement of initializer {name!r} has another shape or element "
                f"type: {made} instead of {old}"
            )
        value.const = made


class Runnable:
    """A model made ready: partitions with their executables, and a plan per placement.

    Thread-safe. A partition whose provider fails at run time moves to the next one, once
    and loudly, and the run is repeated.
    """

    def __init__(
        self,
        model: Model,
        providers: Providers,
        settings: Settings,
        report: Report,
        trace: Trace,
    ) -> None:
        self.model = model
        self.graph = model.graph
        self.inputs = tuple(model.graph.inputs)
        self.outputs = tuple(model.graph.outputs)
        self.signature = tuple(
            (value.name, model.declared.get(value.name, value.type))
            for value in self.outputs
        )
        self.providers = providers
        self.settings = settings
        self.report = report
        self.trace = trace
        self.evaluate = _Evaluator(settings)
        self.source: Source | None = None
        self._stamp: tuple[int, ...] = ()
        self._twins: list[tuple[tuple[int, int], tuple[int, int]]] = []
        self._variants: dict[tuple[tuple[str, ...], bool], Runnable] = {}
        self._lock = threading.Lock()
        self._section: _Section | None = None
        self.is_recorded = False

    def remember(self, source: Source) -> None:
        """Note where the model came from, to build it again for feeds that need it."""
        self.source, self._stamp = source, _stamp(source)

    def prepare(self, dry: bool = False) -> None:
        """Simplify the graph, divide it and compile every partition."""
        began = time.perf_counter()
        for done in simplify(self.model, self.settings, self.evaluate):
            self.report.placement.passes.append((done.name, done.changes, done.seconds))
        self.inputs = tuple(self.graph.inputs)
        self._twins = twins(self.inputs)
        simplified = time.perf_counter()
        self._section = _Section(self.graph, (), self)
        self._section.divide()
        divided = time.perf_counter()
        if not dry:
            self._section.compile_all()
        self.model.settle()
        seconds = self.report.placement.seconds
        seconds["simplify"] = simplified - began
        seconds["partition"] = divided - simplified
        seconds["compile"] = time.perf_counter() - divided
        for section in self._section.sections():
            if section.placed:
                section.plan()
        if len(self.providers.names) > 1:
            self._record(self._section)
            tell_little(self.report, self.providers)

    def _record(self, section: _Section) -> None:
        """Write down who owns what, once, and anew when a run has moved something.

        Nothing moves where there is one provider, so that it can wait until it is asked for.
        """
        with self._lock:
            if not self.is_recorded:
                sections = section.sections()
                record(self.report, self.providers, sections, self.model.path)
                self.is_recorded = True

    @property
    def section(self) -> _Section:
        """The main graph's partitions."""
        if self._section is None:
            raise errors.EngineError("the model is not prepared")
        return self._section

    @property
    def placement(self) -> Placement:
        """The story of this model so far, events of runs included."""
        if self._section is not None:
            self._record(self._section)
        placement = self.report.placement
        placement.events = list(self.report.events)
        return placement

    def run(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any] | None = None,
        context: Context | None = None,
        devices: Devices | None = None,
    ) -> list[Any]:
        """Run once with values in the order of ``self.inputs``; all outputs, in order.

        ``devices`` tells where inputs lie and outputs are wanted; everything on the host
        by default.
        """
        if self._twins and (why := self._disagreement(inputs)):
            return self._separated(why).run(inputs, outputs, context, devices)
        return self.section.run(inputs, outputs, context or Context(), devices)

    def repeat(self, inputs: Sequence[Any]) -> list[Any] | None:
        """Run once as was run before with inputs of the same types and shapes.

        Everything is on the host, and no options are given. Returns ``None`` where no
        such run is prepared or it does not succeed: `run` answers then.
        """
        prepared = None if self._section is None else self._section.prepared
        return None if prepared is None else prepared.run(inputs)

    def _disagreement(self, inputs: Sequence[Any]) -> str:
        """Say which dims of one name have several sizes, which simplifying did not expect."""
        for (one, axis), (other, another) in self._twins:
            a, b = inputs[one], inputs[other]
            if a is None or b is None or a.shape[axis] == b.shape[another]:
                continue
            dim = (self.inputs[one].shape or {axis: "?"})[axis]
            return (
                f"{dim!r} is {a.shape[axis]} in the input {self.inputs[one].name!r} "
                f"and {b.shape[another]} in {self.inputs[other].name!r}"
            )
        return ""

    def _separated(self, why: str) -> Runnable:
        """Return this model built with every input dim on its own, made on first use."""
        return self._variant(self.settings.outputs, True, why)

    def narrowed(self, names: Collection[str]) -> Runnable:
        """Return this model built for some of its outputs, made on first use."""
        outputs = tuple(sorted(names))
        return self._variant(outputs, False, "only some outputs were asked for")

    def _variant(self, outputs: tuple[str, ...], apart: bool, why: str) -> Runnable:
        """Return this model built again from where it came, once for each kind."""
        with self._lock:
            made = self._variants.get((outputs, apart))
            if made is None:
                if self.source is None or self._stamp != _stamp(self.source):
                    raise errors.FeedError(
                        f"{why}, and the model's file has changed since; make a new "
                        "session"
                    )
                settings = replace(self.settings, outputs=outputs)
                model = loaded(self.source, settings, apart)
                report = Report(self.report.strict)
                report.events = self.report.events
                made = Runnable(model, self.providers, settings, report, self.trace)
                made.remember(self.source)
                made.prepare()
                self._variants[outputs, apart] = made
                if apart:
                    tell_once(
                        f"{why}, which the model says are one: it runs nevertheless"
                    )
            return made

    def plan(self, devices: Devices | None = None) -> Plan:
        """Return the plan for a placement, made on first use."""
        return self.section.plan(devices)

    def memory(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return, by device and provider, bytes by purpose as executables report them."""
        found: dict[str, dict[str, dict[str, int]]] = {}

        def add(part: Partition, executable: MemoryReporting) -> None:
            told = {str(k): int(v) for k, v in executable.memory().items()}
            if any(count < 0 for count in told.values()):
                raise ValueError(f"memory() counts {told}")
            device = found.setdefault(str(part.device), {})
            own = device.setdefault(part.provider, {})
            for purpose, count in told.items():
                own[purpose] = own.get(purpose, 0) + count

        self._each(self.section, MemoryReporting, add)
        return found

    def trim(self) -> None:
        """Let executables give back working memory."""
        self._each(self.section, Trimmable, lambda _, executable: executable.trim())

    def close(self) -> None:
        """Release what executables hold; no run may follow."""
        section, self._section = self._section, None
        if section is None:
            return
        self._each(section, Closeable, lambda _, executable: executable.close())
        for part in section.sections():
            part.forget()
        for graph in self.graph.all_graphs():
            for value in graph.initializers.values():
                value.const = None
        for variant in self._variants.values():
            variant.close()

    def _each(
        self, section: _Section, ability: Any, use: Callable[[Partition, Any], None]
    ) -> None:
        """Use an ability of every executable that has it; one that raises is reported."""
        for part in section.sections():
            for placed in part.placed:
                try:
                    if isinstance(placed.executable, ability):
                        use(placed.partition, placed.executable)
                except Exception as error:
                    reason = f"{ability.__name__}: {type(error).__name__}: {error}"
                    name = placed.partition.provider
                    self.report.tell(Event(name, "ability", reason))


class _Section:
    """One graph being divided and compiled: the main one, or a body of a host claim."""

    def __init__(self, graph: Graph, path: tuple[str, ...], owner: Runnable) -> None:
        self.graph = graph
        self.path = path
        self.owner = owner
        self.providers = owner.providers
        self.report = owner.report
        lower = partial(lowered, evaluate=owner.evaluate)
        self.assignment = Assignment(graph, owner.providers, owner.report, lower)
        self.inputs: tuple[Value, ...] = ()
        self.partitions: list[Partition] = []
        self.placed: list[Placed] = []
        self.bodies: dict[tuple[Node, str], _Section] = {}
        self._plans: dict[Any, Plan] = {}
        self._stuck: set[Placed] = set()
        self._lock = threading.RLock()

    def divide(self) -> None:
        """Offer, weigh and cut; then do the same for the bodies the core shall plan."""
        names = self.providers.names
        self.assignment.offer(names)
        self._settle(names)
        if self.owner.settings.cost_rule and len(names) > 1:
            weigh(self.assignment, self.providers, self.report)
            self._settle(names)
        self.partitions = cut_all(self.assignment)
        self.inputs = (*self.graph.inputs, *self.graph.captures)
        for node in self.graph:
            self._divide_bodies(node)

    def _divide_bodies(self, node: Node) -> None:
        if not self.assignment.owners[node].body_host:
            return
        for name, body in node.bodies:
            if (node, name) in self.bodies:
                continue
            path = (*self.path, f"{node.label}.{name}")
            section = self.bodies[node, name] = _Section(body, path, self.owner)
            section.divide()

    def _settle(self, names: Sequence[str]) -> None:
        """See that every node is claimed, function operators by their bodies if need be."""
        owners = self.assignment.owners
        told: errors.EngineError | None = None
        while unclaimed := [node for node in self.graph if node not in owners]:
            told = told or self._unclaimed(unclaimed)
            if not names or not self.assignment.expand_unclaimed():
                raise told
            self.assignment.offer(names)

    def _unclaimed(self, nodes: list[Node]) -> errors.EngineError:
        told = "\n  ".join(self.report.describe(node) for node in nodes[:10])
        more = f"\n  and {len(nodes) - 10} more" if len(nodes) > 10 else ""
        told += "".join(f"\n  {event}" for event in self.report.events)
        names = ", ".join(self.providers.names) or "none"
        if not self.owner.settings.host_fallback:
            return errors.HostFallbackForbidden(
                "the session contains graph nodes that no provider but the host's would "
                "run, and fallback to it has been explicitly disabled by the user; "
                f"providers: {names}; nodes:\n  {told}{more}"
            )
        return errors.NotImplementedByProviders(
            f"could not find an implementation for {len(nodes)} node"
            f"{'s' * (len(nodes) != 1)} in {names}:\n  {told}{more}"
        )

    def compile_all(self) -> None:
        """Compile every partition; one that fails goes to the next provider, alone."""
        for section in self.bodies.values():
            section.compile_all()
        self.placed = self._compile(self.partitions)
        self._drop_weights()

    def _compile(self, partitions: Sequence[Partition]) -> list[Placed]:
        queue, placed = deque(partitions), []
        while queue:
            part = self._with_bodies(queue.popleft())
            began = time.perf_counter()
            try:
                made = self.providers.call(
                    "compile",
                    part.provider,
                    partition=part,
                    settings=self.providers.settings(part.provider),
                )
                if made is None:
                    raise Unsupported("its compile returned nothing")
                for device in {part.device} - {HOST}:
                    self.providers.transfer(HOST, device)
                    self.providers.transfer(device, HOST)
                seconds = time.perf_counter() - began
                limit = self.owner.settings.hang_warning
                replaceable = bool(self.providers.after(part.provider))
                item = Placed.of(part, made, seconds, limit, replaceable)
            except Exception as error:
                queue.extendleft(reversed(self._moved(part, "compile", error)))
                continue
            placed.append(item)
        return placed

    def _with_bodies(self, part: Partition) -> Partition:
        bodies = {
            (node, name): self.bodies[node, name].body(node)
            for node in part.nodes
            for name, _ in node.bodies
            if (node, name) in self.bodies
        }
        return replace(part, bodies=bodies) if bodies else part

    def _moved(
        self, part: Partition, stage: str, error: BaseException
    ) -> list[Partition]:
        """Give what failed of a partition to later providers; cut it inside itself."""
        name = part.provider
        later = self.providers.after(name)
        if not later:
            raise self._failed(part, stage, error) from error
        kind = "" if isinstance(error, Unsupported) else f"{type(error).__name__}: "
        reason = f"{kind}{error}"
        failing = [n for n in getattr(error, "nodes", ()) if n in part.nodes]
        failing = failing or list(part.nodes)
        labels = tuple(node.label for node in failing)
        fault = not isinstance(error, Unsupported)
        self.report.fallback(Event(name, stage, reason, "", labels, fault), error)
        for node in failing:
            self.report.refuse(node, name, reason)
        failed = set(part.nodes)
        before = {node for node in self.graph if node not in failed}
        self.assignment.ban(failing, name)
        self.assignment.offer(later, failing)
        self._settle(later)
        nodes = [node for node in self.graph if node not in before]
        parts = cut(nodes, self.graph, self.assignment.owners)
        for node in nodes:
            known = set(self.bodies)
            self._divide_bodies(node)
            for key in self.bodies.keys() - known:
                self.bodies[key].compile_all()
        return parts

    def _failed(
        self, part: Partition, stage: str, error: BaseException
    ) -> errors.EngineError:
        if isinstance(error, errors.EngineError):
            return error
        if isinstance(error, Unsupported):
            return errors.NotImplementedByProviders(f"{part.provider}: {error}")
        return errors.ExecutionError(
            f"{part.provider} failed to {stage} the partition from "
            f"{part.nodes[0].label}: {type(error).__name__}: {error}"
        )

    def _drop_weights(self) -> None:
        """Let go of the pages of mapped files, of which executables have read most once.

        What is read again comes back, and no more of it than that.
        """
        held = [
            value.const.numpy()
            for placed in self.placed
            for value in placed.partition.constants
            if isinstance(value.const, Tensor) and value.const.is_held
        ]
        weights.drop_files(held)

    def forget(self) -> None:
        """Let go of executables, plans and what they hold."""
        self.placed, self.partitions = [], []
        self._plans.clear()
        self._stuck.clear()

    def sections(self) -> list[_Section]:
        """Return this section and every body below it."""
        below = [part for body in self.bodies.values() for part in body.sections()]
        return [self, *below]

    def plan(self, devices: Devices | None = None) -> Plan:
        """Return the plan for a placement, made on first use."""
        plan = self._plans.get(devices)
        if plan is None:
            with self._lock:
                plan = self._plans.get(devices) or self._make_plan(devices)
                self._plans[devices] = plan
        return plan

    def _make_plan(self, devices: Devices | None) -> Plan:
        if self.partitions and not self.placed:
            raise errors.EngineError(
                "the model was divided in a dry run and not compiled; make a session "
                "without dry_run to run it"
            )
        sources, targets = devices or (
            (HOST,) * len(self.inputs),
            (HOST,) * len(self.graph.outputs),
        )
        plan = Plan(
            self.graph, self.inputs, self.placed, self.providers, sources, targets
        )
        settings = self.owner.settings
        if not (devices or self.path or settings.profiling or settings.hang_warning):
            plan.prepare(self.inputs)
        return plan

    def run(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any] | None,
        context: Context,
        devices: Devices | None = None,
    ) -> list[Any]:
        """Run once; a failed partition is moved and the run repeated, per provider once."""
        try:
            return self.plan(devices).run(inputs, outputs, context)
        except StepFailed as failure:
            return self._again(failure, inputs, outputs, context, devices)

    @property
    def prepared(self) -> Prepared | None:
        """The runs of the whole section that are prepared, with all on the host."""
        plan = self._plans.get(None)
        return None if plan is None else plan.prepared

    def _again(
        self,
        failure: StepFailed,
        inputs: Sequence[Any],
        outputs: Sequence[Any] | None,
        context: Context,
        devices: Devices | None,
    ) -> list[Any]:
        """Move the failed partition for good, if the next provider does better with it."""
        part, cause = failure.placed.partition, failure.cause
        strict = self.owner.settings.fallback == "error"
        last = not self.providers.after(part.provider)
        if last or strict or failure.placed in self._stuck:
            raise self._failed(part, "run", cause) from cause
        with self._lock:
            before, told = self.placed, len(self.report.events)
            owners = {node: self.assignment.owners[node] for node in part.nodes}
            if failure.placed in before:
                self.placed = self._compile_moved(failure)
                self._plans.clear()
                self.owner.is_recorded = False
        try:
            return self.run(inputs, outputs, context, devices)
        except errors.EngineError:
            with self._lock:
                self._stuck.add(failure.placed)
                self.placed = before
                self._plans.clear()
                self.owner.is_recorded = False
                del self.report.events[told:]
                self.assignment.restore(owners, part.provider)
            raise

    def _compile_moved(self, failure: StepFailed) -> list[Placed]:
        part = failure.placed.partition
        moved = self._compile(self._moved(part, "run", failure.cause))
        at = self.placed.index(failure.placed)
        return [*self.placed[:at], *moved, *self.placed[at + 1 :]]

    def body(self, node: Node) -> Any:
        """Return this body as a function of its inputs and the node's captures."""
        captures = self.graph.captures
        chosen = [node.captures.index(value) for value in captures]

        def call(
            inputs: Sequence[Any], captured: Sequence[Any], context: Context
        ) -> list[Any]:
            given = [*inputs, *(captured[index] for index in chosen)]
            return self.plan().run(given, None, context)

        def run(
            inputs: Sequence[Any], captured: Sequence[Any], context: Context
        ) -> list[Any]:
            try:
                return call(inputs, captured, context)
            except StepFailed as failure:
                given = [*inputs, *(captured[index] for index in chosen)]
                return self._again(failure, given, None, context, None)

        return run


class _Evaluator:
    """Computes single nodes for constant folding, with the host provider's kernels."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._providers: Providers | None = None

    def __call__(self, node: Node, inputs: Sequence[Any]) -> Sequence[Any] | None:
        """Return a node's outputs, or ``None`` where the host cannot compute them."""
        providers = self._open()
        if not providers.names or node.graph is None or node.bodies:
            return None
        values = tuple(dict.fromkeys(v for v in node.inputs if v is not None))
        outputs = tuple(value for value in node.outputs if value.name or value.uses)
        name = providers.names[0]
        part = Partition(name, HOST, node.graph, (node,), values, outputs)
        by_value = dict(zip(node.inputs, inputs, strict=True))
        try:
            made = providers.call(
                "compile", name, partition=part, settings=providers.settings(name)
            )
            run = runner(made, part)
            given = [by_value[value] for value in values]
            results = iter(run(given, (None,) * len(outputs), Context()))
            return [
                next(results) if value in outputs else None for value in node.outputs
            ]
        except Exception:
            return None

    def _open(self) -> Providers:
        if self._providers is None:
            quiet = Report()
            host = resolve("cpu")
            requests = [Request(host.name)] if host is not None else []
            settings = replace(self._settings, runs_once=True)
            self._providers = Providers.open(requests, settings, quiet)
        return self._providers
