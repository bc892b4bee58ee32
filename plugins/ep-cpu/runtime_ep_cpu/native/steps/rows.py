"""Groups over rows along the last axis: norms, softmax and their prologues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies, rows
from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of, express
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.elementwise import common_shape, result_layout
from runtime_ep_cpu.native.steps.view import axis_of, reshaped

_CHUNK = 8 * 1024
"""Elements of a chunk."""


class RowStep:
    """What norms and softmax share: a prologue that may be stored, and a row's shape."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("rows have an anchor")
        self._node: Node = group.anchor
        first: Value = self._node.inputs[0]  # type: ignore[assignment]
        self._stored = first if first in group.results else None
        given = () if group.before else (first,)
        self._prologue, self._operands = express(
            group.before, [first], given, goes_on=True
        )
        self._result = self._node.outputs[0]
        self._element = element_of(self._result) or "float"
        sizes = {SIZES[element_of(v) or "float"] for v in self._operands}
        self._copies = [spec for size in sizes for spec in copies.specs(size)]
        self.specs: Sequence[Spec] = ()

    def _choose(self, family: str, epilogue: Expression, **parameters: Any) -> None:
        self._spec = Spec.of(
            family,
            prologue=self._prologue,
            epilogue=epilogue,
            stores=self._stored is not None,
            **parameters,
        )
        self.specs = (self._spec, *self._copies)

    def _begin(self, planner: Planner) -> tuple[tuple[int, ...], list[Layout]]:
        """Return the prologue's shape and its operands over it."""
        operands = [planner.layout(value) for value in self._operands]
        shape = common_shape(*(operand.shape for operand in operands))
        return shape, [operand.broadcast(shape) for operand in operands]

    def _add(
        self,
        planner: Planner,
        shape: Sequence[int],
        results: Sequence[Layout],
        operands: Sequence[Layout],
        extra: Sequence[int] = (),
    ) -> None:
        try:
            made = rows.plan(
                _CHUNK,
                shape,
                [result.strides for result in results],
                [operand.strides for operand in operands],
                extra,
            )
        except ValueError as error:
            raise Unplannable(str(error)) from error
        arguments: list[Argument] = [*results, *operands, *made.numbers]
        planner.step(
            self._spec,
            arguments,
            made.chunks,
            operands,
            results,
            made.scratch,
            8.0 * results[0].size,
        )


class NormStep(RowStep):
    """LayerNormalization and RMSNormalization."""

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        node = self._node
        centred = node.op_type == "LayerNormalization"
        given = [node.input(1), node.input(2) if centred else None]
        self._further = [value for value in given if value is not None]
        elements = [element_of(value) or "float" for value in self._further]
        steps = []
        number = 0
        if given[0] is not None:
            steps.append(Instruction("multiply", (0, 1)))
            number = 1 + len(elements)
        if given[1] is not None:
            steps.append(Instruction("add", (number, len(elements))))
            number = len(elements) + len(steps)
        epilogue = Expression(
            ("float", *elements), tuple(steps), ((number, self._element),)
        )
        self._statistics = [
            value for value in node.outputs[1:] if value.name or value.uses
        ]
        if centred:
            self._choose("layer_norm", epilogue, statistics=bool(self._statistics))
        else:
            self._choose("rms_norm", epilogue)
        self._epsilon = bits_of(float(node.attribute("epsilon", 1e-5)))

    def plan(self, planner: Planner) -> None:
        """Plan rows over the normalised axes, taken together."""
        shape, operands = self._begin(planner)
        axis = axis_of(self._node.attribute("axis", -1), len(shape))
        lead, tail = shape[:axis], shape[axis:]
        further = [
            planner.layout(value).broadcast(tail).broadcast(shape)
            for value in self._further
        ]
        results = []
        if self._stored is not None:
            results.append(result_layout(planner, self._stored, shape))
        results.append(result_layout(planner, self._result, shape))
        if len(tail) != 1:
            count = 1
            for dim in tail:
                count *= dim
            whole = (*lead, count)
            operands, further = (
                [reshaped(planner, layout, whole) for layout in group]
                for group in (operands, further)
            )
            flat = [layout.reshaped(whole) for layout in results]
            if None in flat:
                raise Unplannable(f"{shape} has no rows of {count}")
            results = [layout for layout in flat if layout is not None]
            shape = whole
        results += self._found(planner, lead, len(tail))
        self._add(planner, shape, results, [*operands, *further], (self._epsilon,))

    def _found(self, planner: Planner, lead: Sequence[int], axes: int) -> list[Layout]:
        """Return the layouts of mean and inverse deviation, one number per row."""
        if not self._statistics:
            return []
        found = []
        for value in self._node.outputs[1:3]:
            made = planner.allocate(value, (*lead, *(1,) * axes), "float")
            found.append(made.with_dims((*lead, 1), (*made.strides[: len(lead)], 0)))
        return found


class SoftmaxStep(RowStep):
    """Softmax and LogSoftmax; another axis than the last is turned to the end."""

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        epilogue = Expression(("float",), (), ((0, self._element),))
        log = self._node.op_type == "LogSoftmax"
        self._choose("log_softmax" if log else "softmax", epilogue)

    def plan(self, planner: Planner) -> None:
        """Plan rows along the axis."""
        shape, operands = self._begin(planner)
        node = self._node
        old = node.version < 13
        axis = axis_of(node.attribute("axis", 1 if old else -1), len(shape))
        if old and axis != len(shape) - 1:
            raise Unplannable("Softmax before opset 13 takes several axes together")
        order = [*(i for i in range(len(shape)) if i != axis), axis]
        turned = tuple(shape[i] for i in order)
        values = [self._result, *([self._stored] if self._stored is not None else [])]
        back = sorted(range(len(order)), key=order.__getitem__)
        results = []
        for value in reversed(values):
            if axis == len(shape) - 1:
                results.append(result_layout(planner, value, shape))
                continue
            made = planner.allocate(None, turned, element_of(value) or "float")
            planner.give(value, made.transposed(back))
            results.append(made)
        self._add(planner, turned, results, [o.transposed(order) for o in operands])


def bits_of(number: float) -> int:
    """Return a float32's pattern as a number."""
    import struct

    return int(struct.unpack("<I", struct.pack("<f", number))[0])
