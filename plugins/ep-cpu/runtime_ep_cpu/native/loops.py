"""Loop and Scan whose bodies are native: planned once, repeated by one step.

A body is planned like a stage, into the plan of the stage that the loop is in. What a
round is given and makes lies in memory of the plan: states twice, so that a round reads
one half and writes the other; slices at a place that moves from round to round. The
body's steps do not know of it; `codegen.repeat` moves their arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies, repeat
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.walk import FRAME
from runtime_ep_cpu.native.arena import ALIGNMENT
from runtime_ep_cpu.native.classify import Role, body_classes
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.forms import Forms
from runtime_ep_cpu.native.fuse import groups
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.known import evaluated, is_bound, shape_of
from runtime_ep_cpu.native.layout import (
    SIZES,
    Buffer,
    Home,
    Layout,
    Unplannable,
    contiguous_strides,
    of_array,
)
from runtime_ep_cpu.native.packing import Packing
from runtime_ep_cpu.native.planner import (
    Argument,
    Panels,
    Planner,
    Step,
    check_fits,
)
from runtime_ep_cpu.native.repeated import Repeated, Slices, State, repeated
from runtime_ep_cpu.native.rounds import Calls, Inside, Place
from runtime_ep_cpu.native.steps import step_of

Binder = Callable[[Node], Callable[..., Any]]
"""Gives the kernel that evaluates a node."""

MEMBERS = 8
"""Threads that share a loop, at most."""
SHARED = 100_000.0
"""Multiplications of a round, or as much other work, from which on they do."""
_UNTOLD = 16
"""Rounds that a loop is taken to have where nobody can tell."""


def made_step(group: Group, target: Target, forms: Forms, bind: Binder) -> Step:
    """Return the step that plans a group, which may be a loop."""
    if group.kind == "loop":
        return LoopStep(group, target, forms, bind)
    return step_of(group, target, forms)


class LoopStep:
    """A Loop or a Scan."""

    def __init__(
        self, group: Group, target: Target, forms: Forms, bind: Binder
    ) -> None:
        said = None if group.anchor is None else repeated(group.anchor)
        classes = None if said is None else body_classes(said)
        if said is None or classes is None:
            raise ValueError("a loop has an anchor whose body is native")
        self._said: Repeated = said
        self._read = set(group.results)
        nodes = list(said.body)
        native = [n for n in nodes if classes.roles[n] is Role.NATIVE]
        outputs = set(said.body.outputs)
        self._groups = groups(native, outputs.__contains__)
        self._steps = [made_step(g, target, forms, bind) for g in self._groups]
        self._known = {
            value: (node, bind(node) if is_bound(node) else None)
            for node in nodes
            if classes.roles[node] is Role.KNOWN
            for value in node.outputs
        }
        own = [*said.body.inputs, *outputs, *(s.first for s in said.states)]
        own += [s.whole for s in (*said.given, *said.made) if s.whole is not None]
        sizes = {SIZES[_element(value)] for value in own} | {1, 8}
        self.specs: Sequence[Spec] = (
            repeat.BEGIN,
            repeat.REPEAT,
            *(spec for size in sorted(sizes) for spec in copies.specs(size)),
            *(spec for step in self._steps for spec in step.specs),
        )
        self.packed: list[Packing] = []
        for step in self._steps:
            packed = getattr(step, "packed", None)
            found = packed if isinstance(packed, list) else [packed]
            self.packed += [request for request in found if request is not None]
        self._constants: dict[Value, Layout] = {}

    def plan(self, planner: Planner) -> None:
        """Plan the body for the shapes at hand, and its repetition."""
        said = self._said
        trips = self._trips(planner)
        state = planner.allocate(None, (repeat.STATE,), "i64")
        knowledge = _Knowledge(self, planner)
        inside = Inside(Planner(planner.library, knowledge), planner)
        inner = inside.planner
        for value in said.node.captures:
            if not value.is_constant:
                inner.give(value, planner.layout(value))
        if said.number is not None:
            number = state.with_dims((), (), repeat.ROUND)
            inner.give(said.number, number)
        halves = [self._given_state(inside, each) for each in said.states]
        for each in said.given:
            self._given_slices(inside, each, trips)
        targets = [self._target(inside, s.made) for s in said.states]
        made = [self._target(inside, s.slice, not s.axis) for s in said.made]
        condition = None
        obeyed = said.obeyed and not self._holds(inside)
        if obeyed and said.condition is not None:
            condition = self._target(inside, said.condition)
        for group, step in zip(self._groups, self._steps, strict=True):
            inner.group = group
            step.plan(inner)
        inner.group = None
        if inner.counts:
            raise Unplannable("the shapes of a round are known when it is over")
        for carried, half, target in zip(said.states, halves, targets, strict=True):
            self._made_state(inside, carried, half, target)
        for each, target in zip(said.made, made, strict=True):
            self._made_slices(inside, each, target, trips)
        if condition is not None and said.condition is not None:
            word = state.with_dims((), (), repeat.GOING)
            byte = Layout(word.buffer, "i1", (), (), word.bytes)
            inside.places[condition].layout = byte
            self._deliver(inside, said.condition, condition, byte)
        self._add(inside, state, trips, obeyed)

    def _trips(self, planner: Planner) -> int | None:
        """Return how many rounds there are, at most, where that is known."""
        said = self._said
        if said.given:
            whole = said.given[0].whole
            if whole is None:
                raise Unplannable("a slice is of nothing")
            shape = planner.layout(whole).shape
            return shape[_axis(said.given[0].axis, len(shape))]
        if said.trips is None:
            return None
        if said.made or said.trips.is_constant:
            (count,) = planner.numbers(said.trips) or [0]
            return max(0, count)
        return None

    def _holds(self, inside: Inside) -> bool:
        """Whether the body's condition is known; raises `Unplannable` if it is false."""
        said = self._said
        if said.condition is None:
            return True
        if not (said.condition.is_constant or said.condition in self._known):
            return said.condition is said.going
        if not bool(np.asarray(inside.planner.contents(said.condition)).reshape(-1)[0]):
            raise Unplannable("the loop has but one round")
        return True

    def _given_state(self, inside: Inside, state: State) -> Layout:
        """Lay out a state's two halves, the first of them filled; return both."""
        outer = inside.outer
        first = outer.layout(state.first)
        if not first.size:
            raise Unplannable(f"{state.first.name!r} has no elements")
        if first.element != _element(state.given):
            raise Unplannable(f"{state.first.name!r} is of another type in the body")
        size = SIZES[first.element]
        pitch = -(-first.size * size // ALIGNMENT) * ALIGNMENT // size
        whole = contiguous_strides(first.shape)
        both = outer.allocate(None, (2, *first.shape), first.element, (pitch, *whole))
        outer.copy(first, both.at(0, 0))
        inside.writes.append(both)
        buffer = Buffer(Home.INPUT, first.size * size)
        inside.places[buffer] = Place(both, 0, pitch * size)
        inside.planner.give(
            state.given, Layout(buffer, first.element, first.shape, whole)
        )
        return both

    def _given_slices(self, inside: Inside, slices: Slices, trips: int | None) -> None:
        """Say where the slice lies that a round is given."""
        if slices.whole is None or not trips:
            raise Unplannable("there is nothing to scan")
        whole = inside.outer.layout(slices.whole)
        axis = _axis(slices.axis, len(whole.shape))
        if whole.shape[axis] != trips:
            raise Unplannable(f"{slices.whole.name!r} has not {trips} slices")
        if whole.element != _element(slices.slice):
            raise Unplannable(f"{slices.whole.name!r} is of another type in the body")
        first = whole.at(axis, trips - 1 if slices.backwards else 0)
        move = whole.strides[axis] * SIZES[whole.element]
        buffer = Buffer(Home.INPUT, 0)
        inside.places[buffer] = Place(first, -move if slices.backwards else move)
        inside.reads.append(whole)
        layout = Layout(buffer, whole.element, first.shape, first.strides)
        inside.planner.give(slices.slice, layout)

    def _target(self, inside: Inside, value: Value, whole: bool = True) -> Buffer:
        """Return a buffer a value goes to; a round may make it there if it lies ``whole``."""
        buffer = Buffer(Home.OUTPUT)
        inside.places[buffer] = Place()
        if whole:
            inside.planner.wanted.setdefault(value, buffer)
        return buffer

    def _made_state(
        self, inside: Inside, state: State, both: Layout, buffer: Buffer
    ) -> None:
        """See that a state's other half is written, and the last one goes out."""
        flip = both.strides[0] * SIZES[both.element]
        inside.places[buffer] = Place(both.at(0, 1), 0, -flip)
        half = both.at(0, 0)
        found = inside.planner.layout(state.made)
        if (found.shape, found.element) != (half.shape, half.element):
            raise Unplannable(f"{state.made.name!r} changes from round to round")
        self._deliver(inside, state.made, buffer, half)
        if state.last in self._read and state.last is not None:
            outer, inner = inside.outer, inside.planner
            last = outer.allocate(state.last, half.shape, half.element)
            inside.writes.append(last)
            with inner.apart() as steps:
                inner.copy(inner.layout(state.given), last)
            inside.ends += steps

    def _made_slices(
        self, inside: Inside, slices: Slices, buffer: Buffer, trips: int | None
    ) -> None:
        """Lay out what the slices that rounds make become together."""
        found = inside.planner.layout(slices.slice)
        if trips is None or trips < 1:
            raise Unplannable("it is not known how many slices a loop makes")
        axis = _axis(slices.axis, len(found.shape) + 1)
        shape = (*found.shape[:axis], trips, *found.shape[axis:])
        check_fits(trips * found.size * SIZES[found.element])
        wanted = slices.whole if slices.whole in self._read else None
        whole = inside.outer.allocate(wanted, shape, found.element)
        inside.writes.append(whole)
        first = whole.at(axis, trips - 1 if slices.backwards else 0)
        move = whole.strides[axis] * SIZES[found.element]
        move = -move if slices.backwards else move
        inside.places[buffer] = Place(first, move)
        self._deliver(inside, slices.slice, buffer, first)

    def _deliver(
        self, inside: Inside, value: Value, buffer: Buffer, place: Layout
    ) -> None:
        """See that a value lies where a round is to leave it."""
        found = inside.planner.layout(value)
        lies = found.buffer is buffer and found.is_contiguous and not found.offset
        if not lies:
            target = Layout(buffer, place.element, place.shape, place.strides)
            inside.planner.copy(found, target)

    def _add(
        self, inside: Inside, state: Layout, trips: int | None, obeyed: bool
    ) -> None:
        """Add what makes the loop ready, and the loop."""
        said, outer, inner = self._said, inside.outer, inside.planner
        ordered = sorted(inner.steps, key=lambda step: step.level)
        rounds = [list(calls) for _, calls in groupby(ordered, lambda s: s.level)]
        if not rounds:
            raise Unplannable("the body does nothing")
        levels = [*rounds, *([inside.ends] if inside.ends else [])]
        calls = Calls(inside, levels)
        live = outer.allocate(None, (max(1, len(calls.words)),), "i64")
        limit = (1 << 62) if trips is None else trips
        given = None if trips is not None else said.trips
        first = outer.layout(given) if given is not None else None
        start = outer.layout(said.start) if said.start is not None else None
        reads = [*inside.reads, *calls.reads]
        conditions = [layout for layout in (first, start) if layout is not None]
        outer.step(
            repeat.BEGIN,
            [state, live, len(calls.words), limit, first, start, *calls.words],
            1,
            conditions,
            [state, live],
        )
        work = sum(step.work for step in ordered)
        most = max(sum(step.chunks for step in level) for level in levels)
        members = min(MEMBERS, most) if work >= SHARED else 1
        frame = outer.failed()
        cancelled = frame.with_dims((1,), (1,), FRAME["cancelled"])
        tables = map(outer.table, (calls.levels, calls.calls, calls.moves))
        level_table, call_table, move_table = tables
        arguments: list[Argument] = [
            state, live, level_table, len(rounds), call_table, move_table,
            len(calls.moves) // len(repeat.MOVE_FIELDS), int(obeyed), members,
            len(levels) - len(rounds), cancelled,
        ]  # fmt: skip
        outer.step(
            repeat.REPEAT,
            arguments,
            members,
            [state, live, *reads],
            [state, *calls.memory, *inside.writes],
            max((step.scratch for step in (*ordered, *inside.ends)), default=0),
            work * (_UNTOLD if trips is None else trips),
        )


class _Knowledge:
    """What is known in a body: what follows from shapes, and what is known around it."""

    def __init__(self, step: LoopStep, outer: Planner) -> None:
        self._step = step
        self._outer = outer
        self._found: dict[Value, np.ndarray[Any, Any]] = {}
        going = step._said.going
        if going is not None:
            self._found[going] = np.array(True)
        self.pitched: frozenset[Value] = frozenset()
        self.margins: Mapping[Value, Any] = {}
        self.places: Mapping[Value, Any] = {}
        self._captured = set(step._said.node.captures)

    @property
    def panels(self) -> Panels:
        """Where the panels of constant matrices lie."""
        return self._outer.all_panels

    def contents(self, value: Value, planner: Planner) -> np.ndarray[Any, Any] | None:
        """Return a value that follows from shapes, if it does."""
        if value in self._found or value.is_constant:
            return self._found.get(value, value.constant())
        if value in self._captured:
            return self._outer.contents(value)
        if value not in self._step._known:
            return None
        node, function = self._step._known[value]
        if function is None:
            (source,) = node.reads
            results: Any = shape_of(node, planner.layout(source).shape)
        else:
            given = [None if v is None else planner.contents(v) for v in node.inputs]
            results = evaluated(node, function, given)
        results = results if isinstance(results, tuple) else (results,)
        for output, result in zip(node.outputs, results, strict=False):
            self._found[output] = np.asarray(result)
        return self._found.get(value)

    def constant(self, value: Value, array: np.ndarray[Any, Any]) -> Layout:
        """Return where a constant lies."""
        found = self._step._constants.get(value)
        if found is None:
            found = self._step._constants[value] = of_array(array)
        return found

    def bias(self, row: np.ndarray[Any, Any] | None, count: int) -> Layout:
        """Return a row followed by zeros."""
        return self._outer.bias(row, count)


def _element(value: Value) -> str:
    return element_of(value) or "float"


def _axis(axis: int, rank: int) -> int:
    """Return an axis counted from the first one."""
    if not -rank <= axis < rank:
        raise Unplannable(f"there is no axis {axis} of {rank}")
    return axis % rank
