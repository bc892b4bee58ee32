"""LSTM, GRU and RNN: one product for the inputs of all steps, then a walk over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies
from runtime_ep_cpu.codegen import recurrence_shapes as shapes
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.recurrence_cells import STAGES, Cell, Function
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.team import STATE_WORDS
from runtime_ep_cpu.codegen.walk import FRAME
from runtime_ep_cpu.native.express import FLOATS, element_of
from runtime_ep_cpu.native.gates import Gates
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.epilogue import Epilogue
from runtime_ep_cpu.native.steps.matrix import Matrix
from runtime_ep_cpu.native.steps.view import reshaped
from runtime_ep_cpu.ops import _recurrence as kernels
from runtime_ep_cpu.ops._cells import directions

OPERATORS = ("LSTM", "GRU", "RNN")

_CELLS = {
    "RNN": kernels.RNN,
    "LSTM": kernels.LSTM,
    "GRU": kernels.GRU,
    "GRU_LINEAR": kernels.GRU,
}


def is_supported(node: Node) -> bool:
    """Whether weights have known shapes, and activations and direction are known ones."""
    floats = [v for i, v in enumerate(node.inputs) if i != 4 and v is not None]
    made = [v for v in node.outputs if v.name or v.uses]
    elements = {element_of(v) for v in (*floats, *made)}
    lengths = node.input(4)
    if len(elements) != 1 or not elements <= FLOATS or len(node.inputs) < 3:
        return False
    if lengths is not None and element_of(lengths) != "i32":
        return False
    weights = [node.inputs[i] for i in (1, 2)]
    if any(
        w is None or w.shape is None or not all(isinstance(d, int) for d in w.shape)
        for w in weights
    ):
        return False
    try:
        return _Attributes(node).fits
    except ValueError:
        return False


class _Attributes:
    """What a node's attributes and its weights' shapes say."""

    def __init__(self, node: Node) -> None:
        """Read them; raises ``ValueError`` for what no kernel knows."""
        linear = node.op_type == "GRU" and node.attribute("linear_before_reset", 0)
        self.kind = "GRU_LINEAR" if linear else node.op_type
        self.backwards = directions(_direction(node))
        self.batch_first = bool(node.attribute("layout", 0))
        numbers = kernels.Options(
            node.attribute("activation_alpha"),
            node.attribute("activation_beta"),
            node.attribute("activations"),
            node.attribute("clip"),
            _direction(node),
            node.attribute("hidden_size"),
        )
        clip = float(numbers.clip or 0.0)
        coupled = bool(node.attribute("input_forget", 0))
        chosen = kernels.functions_of(_CELLS[self.kind], numbers, len(self.backwards))
        self.cells = [
            Cell(self.kind, tuple(Function(*f) for f in functions), clip, coupled)
            for functions in chosen
        ]
        self.stages = STAGES[self.kind]
        self.gates = sum(count for _, count in self.stages)
        w, r = (tuple(node.inputs[i].shape or ()) for i in (1, 2))  # type: ignore[union-attr]
        self.fits = len(w) == len(r) == 3
        if self.fits:
            count, self.inputs = len(self.backwards), w[2]
            self.hidden: int = r[2]
            rows = self.gates * self.hidden
            self.fits = (
                w == (count, rows, self.inputs)
                and r == (count, rows, self.hidden)
                and numbers.hidden_size in (None, self.hidden)
                and self.hidden > 0 < self.inputs
            )


def _direction(node: Node) -> str:
    found: str = node.attribute("direction", "forward")
    return found


class RecurrenceStep:
    """One recurrent node: products of its inputs, and a walk, for each direction."""

    def __init__(self, group: Group, target: Target, strassen: str) -> None:
        if group.anchor is None:
            raise ValueError("a recurrence has an anchor")
        self._node = node = group.anchor
        self._said = said = _Attributes(node)
        self._target = target
        self._element = element_of(node.inputs[0]) or "float"
        self._wanted = set(group.results)
        self._vectors = -(-said.hidden // target.lanes)
        columns = self._vectors * target.lanes * said.gates
        epilogue = Epilogue(node.outputs[0], None, None, (), ())
        elements = (self._element, self._element)
        is_constant = node.inputs[1] is not None and node.inputs[1].is_constant
        depth = said.inputs if strassen == "auto" and is_constant else None
        self._matrix = Matrix(target, columns, elements, epilogue, (), True, depth)
        self._inputs = self._gates(1, said.inputs, 0, said.gates, self._matrix.vectors)
        units = [shapes.units_of(g, self._vectors) for _, g in said.stages]
        widths = [g * u for (_, g), u in zip(said.stages, units, strict=True)]
        self._states = [
            self._gates(2, said.hidden, first, count, width)
            for (first, count), width in zip(said.stages, widths, strict=True)
        ]
        self._biases: list[Gates] = []
        if node.input(3) is not None:
            self._biases = [
                self._gates(3, 1, 0, said.gates, self._matrix.vectors),
                *(
                    self._gates(3, 1, said.gates + first, count, width)
                    for (first, count), width in zip(said.stages, widths, strict=True)
                ),
            ]
        self._tiles = [shapes.tiles(target, width) for width in widths]
        self._specs = [
            Spec.of(
                "recurrence",
                cell=cell,
                units=tuple(units),
                element=self._element,
                peepholes=node.input(7) is not None,
                masked=node.input(4) is not None,
            )
            for cell in said.cells
        ]
        packings = [self._inputs, *self._states, *self._biases]
        sizes = {4, 8, SIZES[self._element]}
        self.specs: Sequence[Spec] = (
            *self._matrix.specs,
            *self._specs,
            *chain(*self._tiles),
            *(spec for packing in packings for spec in packing.specs),
            *(spec for size in sorted(sizes) for spec in copies.specs(size)),
        )
        self.packed = [packing for packing in packings if packing.value.is_constant]

    def _gates(self, place: int, k: int, first: int, count: int, vectors: int) -> Gates:
        value = self._node.inputs[place]
        if value is None:
            raise ValueError(f"{self._node.label} has no weights")
        every = k > 1 and count == self._said.gates and place < 3
        weighed = place == 1 and self._matrix.has_forms
        return Gates(
            value,
            element_of(value) or "float",
            self._said.hidden,
            k,
            first,
            count,
            every,
            vectors,
            self._target.lanes,
            weighed,
        )

    def plan(self, planner: Planner) -> None:
        """Plan all directions for the shapes at hand."""
        x = planner.layout(self._node.inputs[0])  # type: ignore[arg-type]
        said = self._said
        if len(x.shape) != 3 or x.shape[2] != said.inputs or not x.size:
            raise Unplannable(f"{x.shape} is no sequence of {said.inputs} numbers")
        first, second, _ = x.shape
        steps, batch = (second, first) if said.batch_first else (first, second)
        rows = reshaped(planner, x, (first * second, said.inputs))
        rows = self._matrix.readable(planner, rows)
        packings = (self._inputs, *self._states, *self._biases)
        panels = {packing: packing.packed(planner) for packing in packings}
        count = len(said.backwards)
        shape = (steps, count, batch, said.hidden)
        outputs = [
            self._result(planner, i, shape if i == 0 else shape[1:])
            for i in range(len(self._node.outputs))
        ]
        for direction in range(count):
            own = {p: p.direction(whole, direction) for p, whole in panels.items()}
            projected = self._project(planner, rows, own)
            time = projected.strides[0] * (1 if said.batch_first else batch)
            row = projected.strides[0] * (steps if said.batch_first else 1)
            inputs = (projected, time, row)
            self._walk(planner, direction, (steps, batch), inputs, own, outputs)

    def _result(
        self, planner: Planner, place: int, shape: tuple[int, ...]
    ) -> Layout | None:
        """Return where an output goes as if time or direction came first, if wanted."""
        value = self._node.outputs[place]
        if value not in self._wanted:
            return None
        if not self._said.batch_first:
            return planner.allocate(value, shape, self._element)
        if place == 0:
            steps, count, batch, hidden = shape
            made = planner.allocate(value, (batch, steps, count, hidden), self._element)
            return made.transposed((1, 2, 0, 3))
        count, batch, hidden = shape
        made = planner.allocate(value, (batch, count, hidden), self._element)
        return made.transposed((1, 0, 2))

    def _project(
        self, planner: Planner, rows: Layout, panels: Mapping[Gates, Layout]
    ) -> Layout:
        """Add the product of the inputs of all steps, with their biases."""
        columns = self._inputs.columns
        pitch = columns + (16 if columns % 1024 == 0 else 0)
        made = planner.allocate(None, (rows.shape[0], columns), "float", (pitch, 1))
        bias = panels[self._biases[0]] if self._biases else None
        weights = panels[self._inputs]
        source = self._node.inputs[0]
        even = self._inputs.weighed and planner.is_even(self._inputs)
        self._matrix.multiply(
            planner, rows, weights, [0], made, (), bias, source=source, even=even
        )
        return made

    def _walk(
        self,
        planner: Planner,
        direction: int,
        sizes: tuple[int, int],
        inputs: tuple[Layout, int, int],
        panels: Mapping[Gates, Layout],
        outputs: Sequence[Layout | None],
    ) -> None:
        """Add one direction's walk over time."""
        said, hidden = self._said, self._said.hidden
        steps, batch = sizes
        most = min(shapes.most_rows(self._target, s.vectors) for s in self._states)
        gates = max(packing.gates for packing in self._states)
        fewest = min(packing.panels for packing in self._states)
        cut = shapes.blocking(batch, hidden, gates, fewest, most)
        pitch = self._vectors * self._target.lanes
        room = [
            planner.allocate(None, (count * batch * pitch,), "float")
            for count in (2, 1, 1)
        ]
        projected, *strides = inputs
        y, last_h, last_c = (
            outputs[i].at(1 if i == 0 else 0, direction)  # type: ignore[union-attr]
            if i < len(outputs) and outputs[i] is not None
            else None
            for i in range(3)
        )
        first_h, first_c = (self._first(planner, i, direction, batch) for i in (5, 6))
        peepholes = self._whole(planner, 7, (len(said.backwards), 3 * hidden))
        if peepholes is not None:
            peepholes = peepholes.at(0, direction)
        lengths = self._whole(planner, 4, (batch,))
        team = self._team(planner, cut.lanes) if cut.parts > 1 else None
        frame = planner.failed()
        cancelled = frame.with_dims((1,), (1,), FRAME["cancelled"])
        arguments: list[Argument] = [
            steps, int(said.backwards[direction]), batch, cut.block, cut.parts, cut.parts,
            hidden, self._vectors, projected, *strides,
            y, *((0, 0) if y is None else (y.strides[0], y.strides[1])),
        ]  # fmt: skip
        for state in (first_h, first_c, last_h, last_c):
            arguments += [state, 0 if state is None else state.strides[0]]
        arguments += [peepholes, lengths, *room, pitch, team, cancelled, frame]
        reads = [projected, team, peepholes, lengths, first_h, first_c]
        for number, packing in enumerate(self._states):
            weights = panels[packing]
            if self._biases:
                bias = panels[self._biases[number + 1]]
            else:
                width = packing.vectors * packing.lanes
                bias = planner.bias(None, packing.panels * width)
            tiles = planner.tile_table(self._tiles[number])
            arguments += [tiles, weights, bias, packing.panels]
            reads += [weights, bias]
        width = max(packing.vectors for packing in self._states)
        planner.step(
            self._specs[direction],
            arguments,
            cut.lanes * cut.parts,
            [layout for layout in reads if layout is not None],
            [*room, *(v for v in (y, last_h, last_c) if v is not None)],
            4 * max(most * width * self._target.lanes, shapes.SUMS),
            float(steps) * batch * said.gates * hidden * hidden,
        )

    def _team(self, planner: Planner, lanes: int) -> Layout:
        """Return what teams share, zeros before every run."""
        made = planner.allocate(None, (lanes * STATE_WORDS,), "i64")
        planner.copy(planner.zeros(lanes * STATE_WORDS), made)
        return made

    def _first(
        self, planner: Planner, place: int, direction: int, batch: int
    ) -> Layout | None:
        """Return the first state of one direction, a row for each of the batch."""
        shape = (len(self._said.backwards), batch, self._said.hidden)
        if self._said.batch_first:
            whole = self._whole(planner, place, (shape[1], shape[0], shape[2]))
            return None if whole is None else whole.at(1, direction)
        whole = self._whole(planner, place, shape)
        return None if whole is None else whole.at(0, direction)

    def _whole(
        self, planner: Planner, place: int, shape: tuple[int, ...]
    ) -> Layout | None:
        """Return an optional input, its last axis side by side."""
        value: Value | None = self._node.input(place)
        if value is None:
            return None
        layout = planner.layout(value)
        if layout.shape != shape:
            raise Unplannable(f"{value.name!r} of {layout.shape} is not {shape}")
        if shape[-1] > 1 and layout.strides[-1] != 1:
            return planner.contiguous(layout)
        return layout
