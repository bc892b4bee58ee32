"""The steps of a recurrent layer: products of the state, and the cells behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen import recurrence_cells as cells
from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.memory import mask_of, read, stored, write
from runtime_ep_cpu.codegen.recurrence_cells import STAGES, Cell
from runtime_ep_cpu.codegen.recurrence_shapes import SUMS, most_rows
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.tile_assembly import Panels, write_row
from runtime_ep_cpu.codegen.vmath import VectorMath

FIELDS: Final = (
    "steps", "backwards", "rows", "block", "members", "parts", "hidden", "vectors",
    "x", "x_step", "x_row", "y", "y_step", "y_row",
    "h0", "h0_row", "c0", "c0_row", "last_h", "last_h_row", "last_c", "last_c_row",
    "peepholes", "lengths", "h", "c", "reset", "pitch",
    "team", "cancelled", "failed",
)  # fmt: skip
"""Arguments; strides are in elements, and hidden units lie side by side everywhere.

``rows`` is the batch, ``block`` the rows of a lane, ``members`` how many chunks a lane
has, ``parts`` into how many a phase is divided at most, ``vectors`` how many registers
the hidden units take. ``x`` are the projected inputs: for each register of units a
register of each gate. ``y`` is where each step's state goes; it may be null, as may be
first and last states. ``lengths`` are i32, one for
each row; one that is none of a sequence sets the word at ``failed``. ``h`` is room for
the state twice, ``c`` for an LSTM's cell or a GRU's update gate, ``reset`` for what
GRU's second stage multiplies; their rows are ``pitch`` apart. ``team`` points to
`STATE_WORDS` of each lane. Then come `STAGE_FIELDS` of each stage.
"""

STAGE_FIELDS: Final = ("tiles", "weights", "bias", "panels")
"""Of a stage: the addresses of its tiles of 1, 2, … rows, its packed weights and biases,
and the number of their panels."""

_POINTERS: Final = (
    "x", "y", "h0", "c0", "last_h", "last_c", "peepholes", "lengths", "h", "c", "reset",
    "team", "cancelled", "failed", "tiles", "weights", "bias",
)  # fmt: skip


class Layer(NamedTuple):
    """What a kernel is for: see `recurrence.recurrence`, and where it is written."""

    module: Module
    target: Target
    name: str
    cell: Cell
    units: tuple[int, ...]
    element: str
    peepholes: bool
    masked: bool

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        """The first gate and the number of gates of each stage of a step."""
        found: tuple[tuple[int, int], ...] = STAGES[self.cell.kind]
        return found


def fields(f: Function, arguments: Val) -> dict[str, Val]:
    """Read the arguments of a layer."""
    return {
        word: f.field(arguments, i, "ptr" if word in _POINTERS else "i64")
        for i, word in enumerate(FIELDS)
    }


class Phase:
    """The function of one phase, or of a stage of a step, being written.

    ``parameters`` are the words for its numbers, in order.
    """

    def __init__(self, layer: Layer, word: str, parameters: Sequence[str]) -> None:
        self.layer = layer
        self.target = layer.target
        self.lanes = layer.target.lanes
        listed = [("ptr", "arguments"), *(("i64", word) for word in parameters)]
        name = f"{layer.name}_{word}"
        f = self.f = Function(
            layer.module,
            name,
            [*listed, ("ptr", "scratch")],
            internal=True,
            noinline=True,
        )
        self.given = dict(zip(parameters, f.parameters[1:], strict=False))
        self.scratch = f.parameters[-1]
        self.field = fields(f, f.parameters[0])
        self.math = VectorMath(f, layer.target)

    def mask(self, unit: Val) -> Val:
        """Return which of the units from one on there are."""
        left = self.field["hidden"] - unit
        return mask_of(self.f, self.target, left, self.lanes)

    def state(self, word: str, row: Val, unit: Val) -> Val:
        """Return where a row's units lie in ``c`` or ``reset``."""
        return self.field[word].at(row * self.field["pitch"] + unit, "float")

    def turned(self, step: Val, row: Val, unit: Val) -> Val:
        """Return where a row's state lies before a step."""
        turn = (step & 1) * self.field["rows"]
        return self.state("h", turn + row, unit)

    def load(self, place: Val) -> Val:
        """Read a register of float32."""
        return self.f.load(place, vector("float", self.lanes))

    def length(self, row: Val) -> Val:
        """Return a sequence's length."""
        f = self.f
        return f.convert(f.load(self.field["lengths"].at(row, "i32"), "i32"), "i64")


class Step(Phase):
    """One stage of a step: products of some panels, and the cells behind them."""

    def __init__(self, layer: Layer, number: int) -> None:
        words = ("step", "part", "parts", "top", "height")
        super().__init__(layer, f"stage{number}", words)
        self.cell = layer.cell
        self.number = number
        self.gates = layer.stages[number][1]
        self.all_gates = sum(count for _, count in layer.stages)
        self.units = layer.units[number]
        self.width = self.gates * self.units * self.lanes
        self.most = most_rows(self.target, self.gates * self.units)
        slot = len(FIELDS) + number * len(STAGE_FIELDS)
        arguments = self.f.parameters[0]
        self.field |= {
            word: self.f.field(
                arguments, slot + i, "ptr" if word in _POINTERS else "i64"
            )
            for i, word in enumerate(STAGE_FIELDS)
        }

    def write(self) -> None:
        """Write all panels of a part, tile by tile of the lane's rows."""
        f, field = self.f, self.field
        step, height = self.given["step"], self.given["height"]
        backwards = field["backwards"].differs(0)
        self.time = f.select(backwards, field["steps"] - 1 - step, step)
        parts = self.given["parts"]
        each = (field["panels"] + (parts - 1)) // parts
        first = self.given["part"] * each
        last = f.minimum(first + each, field["panels"])
        count = (height + (self.most - 1)) // self.most
        least, extra = height // count, height % count
        odd = (step & 1).differs(0)
        way = f.select(odd, f.value(-1, "i64"), f.value(1, "i64"))
        begin = f.select(odd, last - 1, first)
        room = f.maximum(f.value(SUMS, "i64") // (height * self.width), 1)
        group = f.select(count.equals(1), room, f.value(1, "i64"))
        panels = last - first
        with f.loop(0, panels, group) as groups:
            number = f.minimum(panels - groups.index, group)
            start = begin + groups.index * way
            with f.loop(0, count, carried=[self.given["top"]], runs=True) as loop:
                (row,) = loop.carried
                rows = least + f.convert(loop.index < extra, "i64", unsigned=True)
                self._group((start, way, number), row, rows)
                loop.next(row + rows)
        f.ret()

    def _group(self, panels: tuple[Val, Val, Val], row: Val, rows: Val) -> None:
        """Write the products of some rows and panels, and then all of their cells.

        ``panels`` are the first, the way to the next, and their number.
        """
        f = self.f
        start, way, number = panels
        if self.layer.masked:
            with f.loop(0, rows, carried=[f.value(0, "i64")], runs=True) as loop:
                length = self.length(row + loop.index)
                loop.next(f.maximum(loop.carried[0], length))
            with f.when(loop.results[0] > self.time):
                self._products(panels, row, rows)
        else:
            self._products(panels, row, rows)
        with f.loop(0, number, runs=True) as loop:
            self._cells(start + loop.index * way, loop.index, row, rows)

    def _products(self, panels: tuple[Val, Val, Val], row: Val, rows: Val) -> None:
        """Multiply some rows by some panels; ask for the inputs of their cells."""
        f = self.f
        start, way, number = panels
        with f.loop(0, number, runs=True) as loop:
            ahead = self._input(
                row, (start + loop.index * way) * (self.units * self.lanes)
            )
            for line in range(0, self.width, 16):
                f.prefetch(ahead.at(line, "float"))

        def tiles() -> list[Val]:
            with f.loop(0, number, runs=True) as loop:
                panel = start + loop.index * way
                sums = self._sums(loop.index, rows)
                self._multiply(panel, panel + way, row, rows, sums)
            return []

        def alone() -> list[Val]:
            self._multiply_row(panels, row)
            return []

        if self.target.is_x86 and self.target.fma:
            f.choose(rows.equals(1), alone, tiles)
        else:
            tiles()

    def _multiply_row(self, panels: tuple[Val, Val, Val], row: Val) -> None:
        """Multiply one row of the state by some panels."""
        field = self.field
        start, way, number = panels
        each = field["hidden"] * self.width
        write_row(
            self.f,
            self.target,
            self.gates * self.units,
            Panels(
                self._state(row), field["weights"].at(start * each, "float"),
                way * each * 4, field["hidden"],
                field["bias"].at(start * self.width, "float"), way * (self.width * 4),
                self.scratch, number,
            ),
        )  # fmt: skip

    def _state(self, row: Val) -> Val:
        """Return where a row of the state lies that is multiplied."""
        nothing = self.f.value(0, "i64")
        if self.number == 0:
            return self.turned(self.given["step"], row, nothing)
        return self.state("reset", row, nothing)

    def _sums(self, index: Val, rows: Val) -> Val:
        """Return where the sums of one of a group's panels lie."""
        return self.scratch.at(index * rows * self.width, "float")

    def _cells(self, panel: Val, index: Val, row: Val, rows: Val) -> None:
        f, field = self.f, self.field
        with f.loop(0, rows, runs=True) as loop:
            sums = self._sums(index, rows).at(loop.index * self.width, "float")
            for number in range(self.units):
                place = panel * self.units + number
                here = sums.at(number * self.gates * self.lanes, "float")
                if self.units == 1:
                    self._unit(row + loop.index, place, here)
                else:
                    with f.when(place < field["vectors"]):
                        self._unit(row + loop.index, place, here)

    def _multiply(
        self, panel: Val, following: Val, row: Val, rows: Val, sums: Val
    ) -> None:
        """Call the tile that multiplies rows of the state by a panel.

        It asks for the weights of the ``following`` one meanwhile.
        """
        f, field = self.f, self.field
        state = self._state(row)
        weights, ahead = (
            field["weights"].at(number * field["hidden"] * self.width, "float")
            for number in (panel, following)
        )
        tile = f.field(field["tiles"].at(rows - 1, "i64"), 0, "ptr")
        f.call_pointer(
            tile,
            "void",
            state,
            field["pitch"] * 4,
            weights,
            sums,
            f.value(self.width, "i64"),
            field["hidden"],
            f.value(1, "i64"),
            field["bias"].at(panel * self.width, "float"),
            f.value(self.width, "i64"),
            ahead,
        )

    def _unit(self, row: Val, place: Val, sums: Val) -> None:
        """Write what a register of units does in one row."""
        if not self.layer.masked:
            self._alive(row, place, sums)
            return
        f = self.f

        def alive() -> list[Val]:
            self._alive(row, place, sums)
            return []

        def over() -> list[Val]:
            if self.number == len(self.layer.stages) - 1:
                unit = place * self.lanes
                self._result(row, unit, self.load(self._before(row, unit)), True)
            return []

        f.choose(self.length(row) > self.time, alive, over)

    def _before(self, row: Val, unit: Val) -> Val:
        return self.turned(self.given["step"], row, unit)

    def _result(self, row: Val, unit: Val, state: Val, over: bool = False) -> None:
        """Write the state behind the step, and the result, zero where all is ``over``."""
        f, field = self.f, self.field
        f.store(state, self.turned(self.given["step"] + 1, row, unit))
        element = self.layer.element
        index = self.time * field["y_step"] + row * field["y_row"] + unit
        value = f.value(0.0, state.type) if over else state
        with f.when(field["y"].differs(0)):
            into = field["y"].at(index, stored(element))
            write(f, self.target, value, into, element, self.mask(unit))

    def _alive(self, row: Val, place: Val, sums: Val) -> None:
        f, cell, m = self.f, self.cell, self.math
        unit = place * self.lanes
        x = self._input(row, unit)
        given = self.layer.stages[self.number][0]

        def read(base: Val, gate: int, *earlier: Val) -> Val:
            place = base.at(gate * self.lanes, "float")
            return self.load(m.after(place, *earlier))

        def argument(gate: int, *earlier: Val) -> Val:
            return read(sums, gate, *earlier) + read(x, given + gate)

        if cell.kind == "RNN":
            self._result(row, unit, cells.rnn(cell, m, argument(0)))
        elif cell.kind == "LSTM":
            c = self.state("c", row, unit)
            factors = self._peepholes(unit)
            h, new = cells.lstm(cell, m, argument, self.load(c), factors)
            f.store(new, c)
            self._result(row, unit, h)
        elif cell.kind == "GRU_LINEAR":
            r = cell.gate(m, 0, argument(1))
            z = cell.gate(m, 0, argument(0, r))
            hidden = read(x, given + 2) + r * read(sums, 2, z)
            h = self.load(self._before(row, unit))
            self._result(row, unit, cells.gru(cell, m, z, hidden, h))
        elif self.number == 0:
            z = cell.gate(m, 0, argument(0))
            f.store(z, self.state("c", row, unit))
            r = cell.gate(m, 0, argument(1, z))
            h = self.load(self._before(row, unit))
            f.store(r * h, self.state("reset", row, unit))
        else:
            z = self.load(self.state("c", row, unit))
            h = self.load(self._before(row, unit))
            self._result(row, unit, cells.gru(cell, m, z, argument(0), h))

    def _input(self, row: Val, unit: Val) -> Val:
        """Return where the projected inputs of some units lie."""
        field = self.field
        start = self.time * field["x_step"] + row * field["x_row"]
        return field["x"].at(start + unit * self.all_gates, "float")

    def _peepholes(self, unit: Val) -> list[Val]:
        if not self.layer.peepholes:
            return []
        field, mask, element = self.field, self.mask(unit), self.layer.element
        places = (
            field["peepholes"].at(field["hidden"] * i + unit, stored(element))
            for i in range(3)
        )
        return [
            read(self.f, self.target, place, element, self.lanes, mask)
            for place in places
        ]
