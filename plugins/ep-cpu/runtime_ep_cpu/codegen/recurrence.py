"""Recurrent layers: the walk over time of one direction, over projected inputs.

What the inputs give to the gates has been computed for all steps by one product; here
each step multiplies the state by the recurrent weights, and finishes the cells while the
sums are at hand. A *lane* is some rows of the batch; lanes know nothing of each other::

    lane, member = chunk
    phase 0: the first states
    for step in time:                      # a phase, or two where a cell has two stages
        for panel in the part's panels:    # all gates of some hidden units
            for tile of the lane's rows:
                sums = bias + state[tile] · weights[panel]
                state' = cell(sums + projected inputs)
    last phase: the last states

The parts of a phase are shared by the members of a lane (`team`); they are as many as
suit those who are there, which changes no result. States lie twice, as
every part reads the whole state before; who writes which turns with each step.

Where sequences have lengths, a row that has ended, or not begun backwards, keeps its
state, and its result is zero. The last state of an empty sequence is zero.
"""

from __future__ import annotations

from collections.abc import Callable

from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.memory import read, stored, write
from runtime_ep_cpu.codegen.recurrence_cells import Cell
from runtime_ep_cpu.codegen.recurrence_steps import Layer, Phase, Step, fields
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.team import STATE_WORDS, members, own, team

_SHARES = 2
"""Parts of a phase for each thread, where there are several."""


@family("recurrence")
def recurrence(
    module: Module,
    target: Target,
    name: str,
    *,
    cell: Cell,
    units: tuple[int, ...],
    element: str = "float",
    peepholes: bool = False,
    masked: bool = False,
) -> None:
    """Write the walk; ``units`` are the registers of units in a panel of each stage.

    ``element`` is the type of states and results, which are computed in float32.
    ``masked`` is for sequences that have lengths.
    """
    layer = Layer(module, target, name, cell, units, element, peepholes, masked)
    _Recurrence(layer).whole()


class _Recurrence:
    """A kernel being written."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def whole(self) -> None:
        """Write everything."""
        self._begin()
        self._end()
        for number in range(len(self.layer.stages)):
            Step(self.layer, number).write()
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        f = Function(self.layer.module, self.layer.name, parameters)
        arguments, chunk, scratch = f.parameters
        field = fields(f, arguments)
        lane, member = chunk // field["members"], chunk % field["members"]
        top = lane * field["block"]
        height = f.minimum(field["rows"] - top, field["block"])
        phases = field["steps"] * len(self.layer.stages) + 2

        state = field["team"].at(lane * STATE_WORDS, "i64")
        one = f.value(1, "i64")

        def run(phase: Val, part: Val, parts: Val) -> None:
            given = (arguments, top, height, scratch)
            self._phase(f, phase, phases, (part, parts), given)

        def parts(phase: Val) -> Val:
            last = phase.equals(phases - 1)
            return f.select(last, one, f.maximum(f.load(own(state, phase), "i64"), one))

        def following(phase: Val) -> Val:
            """Divide the next phase among those who are there."""
            there = members(f, state)
            several = f.minimum(there * _SHARES, field["parts"])
            after = phase + 1
            f.store(f.select(there > 1, several, one), own(state, after))
            return after

        def alone() -> list[Val]:
            nothing = f.value(0, "i64")
            with f.loop(0, phases, runs=True) as loop:
                stop = f.emit(
                    f"load atomic i64, ptr {field['cancelled'].name} monotonic, "
                    "align 8",
                    "i64",
                )
                with f.when(stop.equals(0)):
                    run(loop.index, nothing, one)
            return []

        def together() -> list[Val]:
            team(
                f,
                self.layer.target,
                state,
                (member * 2) >= field["members"],
                phases,
                field["cancelled"],
                parts,
                lambda phase, part: run(phase, part, parts(phase)),
                following,
            )
            return []

        f.choose(field["members"].equals(1), alone, together)
        f.ret()

    def _phase(
        self,
        f: Function,
        phase: Val,
        phases: Val,
        part: tuple[Val, Val],
        given: tuple[Val, Val, Val, Val],
    ) -> None:
        """Write the call of what a phase is, or of a ``part``: its number, and of how many."""
        arguments, top, height, scratch = given

        def call(word: str, *more: Val) -> Callable[[], list[Val]]:
            def write() -> list[Val]:
                name = f"{self.layer.name}_{word}"
                f.call(name, "void", arguments, *more, top, height, scratch)
                return []

            return write

        def inner() -> list[Val]:
            number = phase - 1
            if len(self.layer.stages) == 1:
                return call("stage0", number, *part)()
            step, odd = number // 2, (number & 1).differs(0)
            return f.choose(
                odd, call("stage1", step, *part), call("stage0", step, *part)
            )

        def after() -> list[Val]:
            return f.choose(phase.equals(phases - 1), call("end"), inner)

        f.choose(phase.equals(0), call("begin"), after)

    def _begin(self) -> None:
        """Write phase 0: first states, and whether lengths are some."""
        s = Phase(self.layer, "begin", ("top", "height"))
        f, field = s.f, s.field
        top, last = s.given["top"], s.given["top"] + s.given["height"]
        zero = f.value(0.0, vector("float", s.lanes))
        with f.loop(top, last, runs=True) as rows:
            row = rows.index
            if self.layer.masked:
                length = s.length(row)
                wrong = (length < 0) | (length > field["steps"])
                with f.when(wrong):
                    f.store(f.value(1, "i64"), field["failed"])
            with f.loop(0, field["vectors"], runs=True) as loop:
                unit = loop.index * s.lanes
                places = {"h0": s.state("h", row, unit)}
                if self.layer.cell.kind == "LSTM":
                    places["c0"] = s.state("c", row, unit)
                for word, place in places.items():
                    given = self._given(s, word, row, unit)
                    (first,) = f.choose(field[word].differs(0), given, lambda: [zero])
                    f.store(first, place)
        f.ret()

    def _given(
        self, s: Phase, word: str, row: Val, unit: Val
    ) -> Callable[[], list[Val]]:
        def write() -> list[Val]:
            index = row * s.field[f"{word}_row"] + unit
            place = s.field[word].at(index, stored(self.layer.element))
            mask = s.mask(unit)
            return [
                read(s.f, self.layer.target, place, self.layer.element, s.lanes, mask)
            ]

        return write

    def _end(self) -> None:
        """Write the last phase: the last states go where they are wanted."""
        s = Phase(self.layer, "end", ("top", "height"))
        f, field = s.f, s.field
        top, last = s.given["top"], s.given["top"] + s.given["height"]
        zero = f.value(0.0, vector("float", s.lanes))
        words = ["last_h"] + (["last_c"] if self.layer.cell.kind == "LSTM" else [])
        with f.loop(top, last, runs=True) as rows:
            row = rows.index
            some = s.length(row) > 0 if self.layer.masked else None
            with f.loop(0, field["vectors"], runs=True) as loop:
                unit = loop.index * s.lanes
                for word in words:
                    place = (
                        s.turned(field["steps"], row, unit)
                        if word == "last_h"
                        else s.state("c", row, unit)
                    )
                    state = s.load(place)
                    if some is not None:
                        state = f.select(some, state, zero)
                    with f.when(field[word].differs(0)):
                        index = row * field[f"{word}_row"] + unit
                        into = field[word].at(index, stored(self.layer.element))
                        mask = s.mask(unit)
                        write(
                            f, self.layer.target, state, into, self.layer.element, mask
                        )
        f.ret()
