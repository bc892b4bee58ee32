"""Softmax and its logarithm along rows, with a prologue and an epilogue.

::

    for row:
        x[:] = prologue(operands); largest = max x         NaN is left to the sum
        e[:] = exp(x - largest); total = Σ e
        softmax      results = epilogue(e / total, further operands)
        log_softmax  results = epilogue(x - largest - log(total), further operands)

A row with a NaN, with +∞, or of nothing but -∞ is NaN throughout, as NumPy says.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from runtime_ep_cpu.codegen.builder import Module, Val
from runtime_ep_cpu.codegen.exponential import LOG2E, POWER_OF_TWO
from runtime_ep_cpu.codegen.expression import Expression, evaluate
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.rows import RowKernel, State
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.vmath import VectorMath


@family("softmax")
def softmax(
    module: Module,
    target: Target,
    name: str,
    *,
    prologue: Expression,
    epilogue: Expression,
    stores: bool = False,
) -> None:
    """Write Softmax; the results are the row's elements if stored, then the epilogue's."""
    kernel = _kernel(module, target, name, prologue, epilogue, stores)
    with kernel.rows():
        largest = _largest(kernel, stores)

        def power(index: Val, mask: Val | None) -> Val:
            kernel.fetch_following(index)
            e = exp_below(kernel.math, kernel.again(index, mask) - largest)
            kernel.keep(index, e, mask)
            return e

        inverse = kernel.splat(1.0 / kernel.sum(power, _ways(target)))
        _finish(
            kernel,
            epilogue,
            stores,
            lambda index, mask: kernel.kept(index, mask) * inverse,
        )


@family("log_softmax")
def log_softmax(
    module: Module,
    target: Target,
    name: str,
    *,
    prologue: Expression,
    epilogue: Expression,
    stores: bool = False,
) -> None:
    """Write LogSoftmax; the results are the row's elements if stored, then the
    epilogue's."""
    kernel = _kernel(module, target, name, prologue, epilogue, stores)
    with kernel.rows():
        largest = _largest(kernel, stores)
        total = kernel.sum(
            lambda index, mask: exp_below(
                kernel.math, kernel.again(index, mask) - largest
            ),
            _ways(target),
        )
        logarithm = kernel.math.log(kernel.splat(total))
        _finish(
            kernel,
            epilogue,
            stores,
            lambda index, mask: (kernel.again(index, mask) - largest) - logarithm,
        )


def _ways(target: Target) -> int:
    """Return how many powers are computed at a time: each takes registers."""
    return {"avx512": 4, "neon": 2}.get(target.name, 1)


def exp_below(math: VectorMath, x: Val) -> Val:
    """Return eˣ for x that is at most 0, or NaN; a distance from a row's largest.

    AVX-512 takes the fraction of x log₂ e in one instruction and scales by its floor in
    another, which no x is too low for. The product's rounding costs an error relative to
    the result of 2⁻²⁴ |x|, as much as the distance's own rounding does.
    """
    if math.target.name != "avx512" or x.type != "<16 x float>":
        return math.exp(x)
    f, every = x.function, Val(x.function, "i16", "-1")
    power = x * LOG2E
    zero, mode = f.value(0.0, x.type), f.value(4, "i32")
    floor = Val(f, "i32", "9")
    name = "llvm.x86.avx512.mask.reduce.ps.512"
    fraction = f.call(name, x.type, power, floor, zero, every, mode)
    significand = math.polynomial(fraction, POWER_OF_TWO)
    name = "llvm.x86.avx512.mask.scalef.ps.512"
    return f.call(name, x.type, significand, power, zero, every, mode)


def _kernel(
    module: Module,
    target: Target,
    name: str,
    prologue: Expression,
    epilogue: Expression,
    stores: bool,
) -> RowKernel:
    results = [prologue.results[0][1]] if stores else []
    results += [element for _, element in epilogue.results]
    return RowKernel(module, target, name, results, prologue, epilogue.operands[1:])


def _largest(kernel: RowKernel, stores: bool) -> Val:
    """Return the row's largest element in every lane, as if there were no NaN."""
    f = kernel.f

    def larger(one: Val, other: Val) -> Val:
        return f.select(one > other, one, other)

    def step(state: State, index: Val, mask: Val | None) -> State:
        return [larger(kernel.first(index, mask, 0 if stores else None), state[0])]

    (largest,) = kernel.fold(
        lambda: [kernel.number(-math.inf)],
        step,
        lambda a, b: [larger(a[0], b[0])],
    )
    return largest


def _finish(
    kernel: RowKernel,
    epilogue: Expression,
    stores: bool,
    element: Callable[[Val, Val | None], Val],
) -> None:
    first = int(stores)

    def finish(index: Val, mask: Val | None) -> None:
        values = [element(index, mask)]
        values += [s.read(kernel.target, index, mask) for s in kernel.others()]
        for number, value in enumerate(evaluate(epilogue, values, kernel.math)):
            kernel.write(first + number, index, value, mask)

    kernel.sweep(finish)
