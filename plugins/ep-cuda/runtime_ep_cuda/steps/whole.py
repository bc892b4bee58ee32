"""Products and convolutions of int8: sums of whole numbers, exact, then scaled.

A library multiplies, scales, adds, activates and quantizes at once. Where it does not,
its sums are int32, and one kernel of ours does all the rest. Results differ from those
of dequantized floats by one quantum at most: where rounding meets half of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from runtime.graph import Value

from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import ABSENT, Expression, Instruction
from runtime_ep_cuda.dtypes import FLOAT, INT32
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.operations import Call, Convolution, Pointwise, Product, Spec
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.quantized import quantize
from runtime_ep_cuda.steps import epilogue
from runtime_ep_cuda.steps.elementwise import finish, value_after
from runtime_ep_cuda.steps.epilogue import Follower
from runtime_ep_cuda.steps.quantize import Steps
from runtime_ep_cuda.steps.rows import written
from runtime_ep_cuda.steps.whole_chain import Chain, Ending, chain
from runtime_ep_cuda.steps.whole_sources import INT8, UINT8, turned
from runtime_ep_cuda.tensor import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Sums of products that stand for numbers: times a factor, plus an offset.

    ``factor`` and ``offset`` are for a unit: tensors that broadcast under the result, or
    for the factor a number. ``seen`` is how a library sees the result of a shape and
    order. ``ending`` is there where the operator itself quantizes.
    """

    operation: Convolution | Product
    inputs: tuple[Tensor, Tensor]
    shape: tuple[int, ...]
    order: tuple[int, ...] | None
    seen: Callable[[Tensor], Tensor | None]
    factor: Callable[[float], Tensor | float]
    offset: Callable[[float], Tensor | None]
    ending: Ending | None = None


def done(planner: Planner, group: Group, work: Work) -> bool:
    """Plan it with all that follows; tell whether a library multiplies so."""
    return _at_once(planner, group, work) or _in_two(planner, group, work)


def _at_once(planner: Planner, group: Group, work: Work) -> bool:
    """Have a library do all up to the next quantization."""

    def fit(operand: Tensor) -> Tensor | None:
        if operand.dtype != INT8 or operand.shape != work.shape:
            return None
        return work.seen(planner.dense(operand, work.order))

    first = value_after(group, 0)
    found = chain(planner, group.after, first, fit, work.ending)
    if found is None:
        return False
    made = _room(planner, work, found)
    seen = work.seen(made)
    if seen is None:
        return False
    scaled = [*_scaled(work, found.unit), *found.followers]
    operation = epilogue.with_followers(
        replace(work.operation, y=Spec.of(seen)), scaled
    )
    operands = [each.operand for each in scaled if each.operand is not None]
    call = Call(operation, (*work.inputs, *operands), seen)
    if not planner.can(operation) or not planner.call(call):
        return False
    if planner.storage(found.value) == UINT8:
        _show(planner, found.value, made)
    finish(planner, group, found.taken)
    return True


def _room(planner: Planner, work: Work, found: Chain) -> Tensor:
    """Return where a library writes: the result, or int8 where that is of uint8."""
    if planner.storage(found.value) == UINT8:
        return planner.new(INT8, work.shape, work.order)
    return planner.result(found.value, work.shape, work.order)


def _show(planner: Planner, value: Value, made: Tensor) -> None:
    """Say how uint8 is made of int8, with which others may go on instead."""
    planner.derived("as int8", value, lambda: made)

    def make(planner: Planner) -> None:
        given = planner.derived("as int8", value, lambda: made)
        order = planner.order_for(value, given.order)
        turned(planner, given, planner.result(value, given.shape, order))

    planner.define_later(value, (made.shape, make))


def _scaled(work: Work, unit: float) -> list[Follower]:
    factor, offset = work.factor(unit), work.offset(unit)
    made = (
        Follower((Pointwise("mul", -1, factor),))
        if isinstance(factor, float)
        else Follower((Pointwise("mul"),), factor)
    )
    return [made] if offset is None else [made, Follower((Pointwise("add"),), offset)]


def _in_two(planner: Planner, group: Group, work: Work) -> bool:
    """Have a library sum, and one kernel do the rest."""
    sums = summed(planner, work)
    if sums is None:
        return False
    operands, steps, number = _floats(work, sums)
    if work.ending is None:
        follow(planner, group, work, operands, steps, number)
        return True
    number = _ended(steps, number, work.ending)
    _compute(planner, work, operands, steps.result(number), value_after(group, 0))
    finish(planner, group)
    return True


def summed(planner: Planner, work: Work) -> Tensor | None:
    """Return the sums as int32, or ``None`` where no library makes them."""
    sums = planner.new(INT32, work.shape, work.order)
    seen = work.seen(sums)
    if seen is None:
        return None
    operation = replace(work.operation, y=Spec.of(seen))
    if not planner.can(operation):
        return None
    called = planner.call(Call(operation, work.inputs, seen))
    return sums if called else None


def follow(
    planner: Planner,
    group: Group,
    work: Work,
    operands: Sequence[Tensor],
    steps: Steps,
    number: int,
) -> None:
    """Compute steps over sums, and what follows the anchor, in one kernel."""
    after, further, count = written(planner, group, work.shape)
    whole = _joined(steps, number, after)
    _compute(planner, work, [*operands, *further], whole, value_after(group, count))
    finish(planner, group, count)


def _compute(
    planner: Planner,
    work: Work,
    operands: Sequence[Tensor],
    expression: Expression,
    value: Value,
) -> None:
    order = planner.order_for(value, work.order)
    y = planner.result(value, work.shape, order)
    wide = [operand.broadcast(work.shape) for operand in operands]
    planner.launch(elementwise(expression, wide, [y]))


def _floats(work: Work, sums: Tensor) -> tuple[list[Tensor], Steps, int]:
    """Return operands and steps that make floats of sums, and the result's number."""
    factor, offset = work.factor(1.0), work.offset(1.0)
    operands = [sums]
    operands += [] if isinstance(factor, float) else [under(factor, work)]
    operands += [] if offset is None else [under(offset, work)]
    steps = Steps(len(operands))
    number = steps("convert", (0,), type="float32")
    by = steps.number(factor) if isinstance(factor, float) else 1
    number = steps("multiply", (number, by))
    if offset is not None:
        number = steps("add", (number, len(operands) - 1))
    return operands, steps, number


def under(vector: Tensor, work: Work) -> Tensor:
    """Return a vector under the library's result as it lies under the step's own."""
    if isinstance(work.operation, Convolution):
        return vector
    return vector.like(vector.ghost().reshape(-1), 0)


def _ended(steps: Steps, number: int, ending: Ending) -> int:
    scale = steps.number(ending.scale)
    zero = steps.number(ending.zero)
    return quantize(steps, number, scale, zero, FLOAT, ending.dtype)


def _joined(steps: Steps, number: int, after: Expression) -> Expression:
    """Return steps, and an expression of their result and further operands behind them."""
    own, more = steps.operands, after.operands - 1
    base = own + more

    def moved(place: int) -> int:
        return place if place < own else place + more

    def renumbered(place: int) -> int:
        if place == ABSENT:
            return ABSENT
        if place == 0:
            return moved(number)
        if place < after.operands:
            return own + place - 1
        return base + len(steps.instructions) + place - after.operands

    made = [
        Instruction(each.operation, tuple(map(moved, each.inputs)), each.attributes)
        for each in steps.instructions
    ]
    made += [
        Instruction(
            each.operation, tuple(map(renumbered, each.inputs)), each.attributes
        )
        for each in after.instructions
    ]
    return Expression(base, tuple(made), tuple(map(renumbered, after.results)))
