"""Reductions down an axis that is not the last, with vectors over what lies beside it.

::

    for outer, columns by 4 · lanes, then by lanes, then masked:
        for a in range(count): state = step(state, prologue(operands[outer, a, columns]))
        results[outer, columns] = epilogue(finish(state), further operands)

Every column is reduced by itself, in spans whose results are joined, so that errors stay
small. The log of a sum of exponentials goes down twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime_ep_cpu.codegen import memory, nest
from runtime_ep_cpu.codegen.builder import Module, Val
from runtime_ep_cpu.codegen.expression import Expression, evaluate
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.reduction import Reduction, finite
from runtime_ep_cpu.codegen.rows import RowKernel, Rows, State, sweep
from runtime_ep_cpu.codegen.streams import room
from runtime_ep_cpu.codegen.target import Target

WAYS = 4
"""Vectors of columns that go down together."""

SPAN = 256
"""Elements whose result is found by itself before it joins the others."""


def extra(operands: int) -> tuple[str, ...]:
    """Return the arguments besides those of `rows.fields`: the axis' size, and its
    stride in each operand of the prologue."""
    return ("count", *(f"down_{i}" for i in range(operands)))


def plan(
    elements: int,
    shape: Sequence[int],
    axis: int,
    results: Sequence[Sequence[int]],
    prologue: Sequence[Sequence[int]],
    operands: Sequence[Sequence[int]] = (),
) -> Rows:
    """Lay out a reduction along an axis, in chunks of about so many elements read.

    ``axis`` is not negative and not the last; strides of results and of the epilogue's
    operands along it do not matter. Raises ``ValueError`` for too many axes, and where
    results, or an only operand, are not contiguous along the last.
    """
    beside = [*range(axis), *range(axis + 1, len(shape))]
    every = [*results, *prologue, *operands]
    space = nest.collapse(
        [shape[i] for i in beside], [[strides[i] for i in beside] for strides in every]
    )
    count = len(results)
    steps = [strides[-1] for strides in space.strides]
    given = steps[count : count + len(prologue)]
    alone = len(prologue) == 1 and given[0] != 1
    if space.inner > 1 and (
        any(step != 1 for step in steps[:count])
        or any(step not in (0, 1) for step in given)
        or alone
    ):
        raise ValueError(
            f"strides along the innermost axis are {steps}; results, and what is "
            "reduced, must be contiguous there: copy it first"
        )
    size = shape[axis]
    division = nest.divide(space.rows, space.inner, max(64, elements // max(size, 1)))
    others = range(count + len(prologue), len(every))
    each = room(space, others, space.inner)
    values = [each, size, *(strides[axis] for strides in prologue)]
    scratch = each * (len(prologue) + len(operands))
    return Rows([*values, *nest.numbers(space, division)], division.chunks, scratch)


@family("reduce_middle")
def reduce_middle(
    module: Module,
    target: Target,
    name: str,
    *,
    operation: str,
    prologue: Expression,
    epilogue: Expression,
    last: bool = False,
) -> None:
    """Write a reduction down an axis; parameters are those of ``reduce_last``."""
    given = len(prologue.operands)
    kernel = RowKernel(
        module,
        target,
        name,
        [element for _, element in epilogue.results],
        prologue,
        epilogue.operands[1:],
        extra(given),
    )
    write = _Down(kernel, operation, last)
    lanes = target.lanes
    with kernel.rows(opened=given) as row:

        def block(index: Val, mask: Val | None, ways: int) -> None:
            for i, value in enumerate(write.reduced(index, mask, ways)):
                here = index + lanes * i
                others = [s.read(target, here, mask) for s in kernel.streams]
                results = evaluate(epilogue, [value, *others], kernel.math)
                for number, result in enumerate(results):
                    kernel.write(number, here, result, mask)

        write.begin()
        f = kernel.f
        many = row.start + ((row.stop - row.start) & -(lanes * WAYS))
        with f.loop(row.start, many, lanes * WAYS) as loop:
            block(loop.index, None, WAYS)
        sweep(f, target, many, row.stop, lambda i, mask: block(i, mask, 1))


class _Down:
    """Writes what goes down the axis."""

    def __init__(self, kernel: RowKernel, operation: str, last: bool) -> None:
        self.kernel, self.f = kernel, kernel.f
        self.operation = operation
        inner = "max" if operation == "log_sum_exp" else operation
        self.reduction = Reduction(kernel, inner, last)
        self.count = kernel.extra("count")
        numbers = range(len(kernel.prologue.operands))
        self.strides = [kernel.extra(f"down_{i}") for i in numbers]

    def begin(self) -> None:
        """Find where the row at hand begins in each operand."""
        kernel = self.kernel
        first = len(kernel.results)
        self.bases = [
            kernel.pointer(i).at(kernel.row.offsets[first + i], memory.stored(element))
            for i, element in enumerate(kernel.prologue.operands)
        ]
        self.inner = kernel.row.strides[first:]

    def reduced(self, index: Val, mask: Val | None, ways: int) -> list[Val]:
        """Return the reduced values of so many vectors of columns."""
        reduction = self.reduction
        if self.operation != "log_sum_exp":
            states = self._down(index, mask, ways, reduction, lambda i, x: x)
            return [reduction.finish(state, self.count) for state in states]
        tops = self._down(index, mask, ways, reduction, lambda i, x: x)
        bases = [finite(self.kernel, top) for (top,) in tops]
        exp = self.kernel.math.exp
        sums = Reduction(self.kernel, "sum", False)
        totals = self._down(index, mask, ways, sums, lambda i, x: exp(x - bases[i]))
        pairs = zip(totals, bases, strict=True)
        return [self.kernel.math.log(total) + base for (total,), base in pairs]

    def _down(
        self,
        index: Val,
        mask: Val | None,
        ways: int,
        reduction: Reduction,
        change: Callable[[int, Val], Val],
    ) -> list[State]:
        f, lanes = self.f, self.kernel.lanes
        width = len(reduction.zero())

        def states(values: Sequence[Val]) -> list[State]:
            return [list(values[i * width : (i + 1) * width]) for i in range(ways)]

        zeros = [value for _ in range(ways) for value in reduction.zero()]
        with f.loop(0, self.count, SPAN, zeros) as spans:
            end = f.minimum(spans.index + SPAN, self.count)
            with f.loop(spans.index, end, 1, zeros, runs=True) as loop:
                following = []
                place = f.splat(loop.index, lanes) if width > 1 else loop.index
                for i, state in enumerate(states(loop.carried)):
                    x = change(i, self._value(loop.index, index + lanes * i, mask))
                    following += reduction.step(state, x, place)
                loop.next(*following)
            pairs = zip(states(spans.carried), states(loop.results), strict=True)
            joined = [reduction.merge(one, other) for one, other in pairs]
            spans.next(*(value for state in joined for value in state))
        return states(spans.results)

    def _value(self, down: Val, index: Val, mask: Val | None) -> Val:
        """Return the prologue's value for a vector of columns."""
        kernel = self.kernel
        values = [self._operand(i, down, index, mask) for i in range(len(self.bases))]
        return evaluate(kernel.prologue, values, kernel.math)[0]

    def _operand(self, number: int, down: Val, index: Val, mask: Val | None) -> Val:
        kernel, f = self.kernel, self.f
        element = kernel.prologue.operands[number]
        held = memory.stored(element)
        line = self.bases[number].at(down * self.strides[number], held)

        def along() -> list[Val]:
            place = line.at(index, held)
            return [memory.read(f, kernel.target, place, element, kernel.lanes, mask)]

        def same() -> list[Val]:
            one = memory.read_one(f, kernel.target, line, element)
            return [f.splat(one, kernel.lanes)]

        if len(self.bases) == 1:
            return along()[0]
        return f.choose(self.inner[number].equals(0), same, along)[0]
