"""Reductions along the last axis, and what every reduction does step by step.

The prologue's values are reduced; the epilogue makes results of the reduced value and
further operands. ``reduce_last`` gives one value per row::

    for row: results[row] = epilogue(reduce(prologue(operands[row, :])), …)

A long row may be cut into *pieces* whose results lie beside each other, to be reduced
once more by `FOLLOWING`. Module `columns` has the kernel for other axes.

NaN is the largest and the smallest, and its first place is the extreme's. Integers wrap
around. An axis of no elements is the planner's affair.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

from runtime_ep_cpu.codegen.builder import Function, Module, Val, kind, vector
from runtime_ep_cpu.codegen.expression import Expression, evaluate
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.rows import RowKernel, State
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.vmath import VectorMath

OPERATIONS: Final = (
    "sum", "mean", "max", "min", "prod", "l1", "l2", "sum_square", "log_sum",
    "log_sum_exp", "arg_max", "arg_min",
)  # fmt: skip

FOLLOWING: Final = {
    "sum": ("sum", "sum"),
    "mean": ("sum", "mean"),
    "max": ("max", "max"),
    "min": ("min", "min"),
    "prod": ("prod", "prod"),
    "l1": ("l1", "l1"),
    "l2": ("l2", "l2"),
    "sum_square": ("sum_square", "sum"),
    "log_sum": ("sum", "log_sum"),
    "log_sum_exp": ("log_sum_exp", "log_sum_exp"),
}
"""How a reduction in pieces is made of two: that of a piece, and that of the pieces'
results. Positions of extremes are not cut."""

LAST_EXTRA: Final = ("count", "piece")
"""Arguments of ``reduce_last`` besides those of `rows.fields`: by what a mean divides,
and how far results of one row's pieces are apart."""

_PIECE = 64 * 1024


def pieces(rows: int, inner: int) -> int:
    """Return into how many pieces rows are cut; 1 where there is enough to share."""
    if rows >= 8 or inner < 2 * _PIECE:
        return 1
    return min(64, inner // _PIECE)


class Writing(Protocol):
    """A kernel being written, with the vector type in which it computes."""

    f: Function
    math: VectorMath
    lanes: int
    type: str


class Reduction:
    """One operation over a vector type: what is carried, how it steps and ends."""

    def __init__(self, kernel: Writing, operation: str, last: bool) -> None:
        if operation not in OPERATIONS:
            raise ValueError(f"no reduction {operation!r}; there are {OPERATIONS}")
        self.f, self.math, self.lanes = kernel.f, kernel.math, kernel.lanes
        self.type, self.operation, self.last = kernel.type, operation, last
        self.is_position = operation.startswith("arg_")

    def zero(self) -> State:
        """Return what nothing reduces to."""
        f = self.f
        if self.is_position:
            return [self._bound(), f.value(-1, vector("i64", self.lanes))]
        if self.operation in ("max", "min"):
            return [self._bound()]
        return [f.value(1 if self.operation == "prod" else 0, self.type)]

    def _bound(self) -> Val:
        low = self.operation.endswith("max")
        element, _ = kind(self.type)
        if kind(self.type).is_float:
            return self.f.value(-math.inf if low else math.inf, self.type)
        bits = kind(element).bits
        value = -(1 << (bits - 1)) if low else (1 << (bits - 1)) - 1
        return self.f.value(value, self.type)

    def step(self, state: State, x: Val, position: Val) -> State:
        """Take a vector in; ``position`` is where its elements stand."""
        match self.operation:
            case "l1":
                x = self.math.abs(x)
            case "l2" | "sum_square" if kind(x.type).is_float:
                return [self.math.fma(x, x, state[0])]
            case "sum_square":
                x = x * x
            case "arg_max" | "arg_min":
                return self.merge(state, [x, position])
        return self.merge(state, [x])

    def merge(self, one: State, other: State) -> State:
        """Join two states."""
        match self.operation:
            case "max":
                return [self.math.maximum(one[0], other[0])]
            case "min":
                return [self.math.minimum(one[0], other[0])]
            case "prod":
                return [one[0] * other[0]]
            case "arg_max" | "arg_min":
                return self._further(one, other)
        return [one[0] + other[0]]

    def _further(self, one: State, other: State) -> State:
        """Return the more extreme of two, of equals the first or the last; a position
        of -1 is nobody's."""
        f = self.f
        (a, i), (b, j) = one, other
        better = b > a if self.operation == "arg_max" else b < a
        same = a.equals(b)
        if kind(self.type).is_float:
            better = better | (b.differs(b) & a.equals(a))
            same = same | (a.differs(a) & b.differs(b))
        earlier = j > i if self.last else j < i
        better = better | (same & earlier) | (i < 0)
        better = better & (j >= 0)
        return [f.select(better, b, a), f.select(better, j, i)]

    def finish(self, state: State, count: Val) -> Val:
        """Return the reduced value."""
        f, total = self.f, state[-1]
        match self.operation:
            case "mean":
                element = kind(self.type).element
                return total / f.splat(f.convert(count, element), self.lanes)
            case "l2":
                return f.intrinsic("llvm.sqrt", total)
            case "log_sum":
                return self.math.log(total)
        return total


@family("reduce_last")
def reduce_last(
    module: Module,
    target: Target,
    name: str,
    *,
    operation: str,
    prologue: Expression,
    epilogue: Expression,
    last: bool = False,
) -> None:
    """Write a reduction along the last axis; see the module's text.

    ``last`` chooses the last of equal extremes; positions are ``i64``. Operands of the
    epilogue have one value per row, hence the stride 0 along the last axis.
    """
    results = [element for _, element in epilogue.results]
    kernel = RowKernel(
        module, target, name, results, prologue, epilogue.operands[1:], LAST_EXTRA
    )
    f = kernel.f
    zero = f.value(0, "i64")
    with kernel.rows() as row:
        if operation == "log_sum_exp":
            value = _log_sum_exp(kernel)
        else:
            value = _along_row(kernel, Reduction(kernel, operation, last))
        others = [stream.read(target, zero) for stream in kernel.others()]
        where = row.block * kernel.extra("piece")
        for i, found in enumerate(evaluate(epilogue, [value, *others], kernel.math)):
            kernel.write_one(i, f.extract(found, 0), where)


def _along_row(kernel: RowKernel, reduction: Reduction) -> Val:
    f = kernel.f

    def step(state: State, index: Val, mask: Val | None) -> State:
        x = kernel.first(index, mask)
        return reduction.step(state, x, _positions(kernel, index, reduction))

    ways = 2 if reduction.is_position else 4
    state = kernel.fold(reduction.zero, step, reduction.merge, ways)
    count = kernel.extra("count")
    return reduction.finish(state, f.value(count, "i64"))


def _positions(kernel: RowKernel, index: Val, reduction: Reduction) -> Val:
    f, lanes = kernel.f, kernel.lanes
    if not reduction.is_position:
        return index
    listed = ", ".join(f"i64 {lane}" for lane in range(lanes))
    type = vector("i64", lanes)
    return f.splat(index, lanes) + Val(f, type, f"<{listed}>")


def _log_sum_exp(kernel: RowKernel) -> Val:
    """Relative to the largest element, where that is finite."""
    largest = Reduction(kernel, "max", False)

    def step(state: State, index: Val, mask: Val | None) -> State:
        return largest.step(state, kernel.first(index, mask), index)

    (top,) = kernel.fold(largest.zero, step, largest.merge)
    base = finite(kernel, top)
    total = kernel.sum(
        lambda index, mask: kernel.math.exp(kernel.again(index, mask) - base)
    )
    return kernel.math.log(kernel.splat(total)) + base


def finite(kernel: RowKernel, value: Val) -> Val:
    """Return a value where it is finite, else 0."""
    size = kernel.math.abs(value)
    return kernel.f.select(size < math.inf, value, kernel.number(0))
