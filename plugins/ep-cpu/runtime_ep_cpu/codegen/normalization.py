"""Layer and root-mean-square normalisation of rows, with a prologue and an epilogue.

::

    for row:
        x[:] = prologue(operands)                     written too, if it is stored
        mean = Σ x / n                                 0 for the root mean square
        inverse = 1 / sqrt(Σ (x - mean)² / n + epsilon)
        results = epilogue((x - mean) · inverse, further operands)
"""

from __future__ import annotations

from typing import Final

from runtime_ep_cpu.codegen.builder import Module, Val
from runtime_ep_cpu.codegen.expression import Expression, evaluate
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.rows import RowKernel
from runtime_ep_cpu.codegen.target import Target

EXTRA: Final = ("epsilon",)
"""Arguments besides those of `rows.fields`; the results are, in this order: the row's
elements if stored, the epilogue's, then mean and inverse deviation if wanted."""


@family("layer_norm")
def layer_norm(
    module: Module,
    target: Target,
    name: str,
    *,
    prologue: Expression,
    epilogue: Expression,
    stores: bool = False,
    statistics: bool = False,
) -> None:
    """Write LayerNormalization; ``statistics`` adds the results mean and inverse
    deviation, one value per row, of the type that rows are computed in."""
    _normalised(module, target, name, prologue, epilogue, stores, statistics, True)


@family("rms_norm")
def rms_norm(
    module: Module,
    target: Target,
    name: str,
    *,
    prologue: Expression,
    epilogue: Expression,
    stores: bool = False,
) -> None:
    """Write RMSNormalization."""
    _normalised(module, target, name, prologue, epilogue, stores, False, False)


def _normalised(
    module: Module,
    target: Target,
    name: str,
    prologue: Expression,
    epilogue: Expression,
    stores: bool,
    statistics: bool,
    centred: bool,
) -> None:
    kernel = _kernel(module, target, name, prologue, epilogue, stores, statistics)
    f = kernel.f
    epsilon = kernel.splat(kernel.extra("epsilon", "float"))
    with kernel.rows() as row:
        stored = 0 if stores else None
        count = kernel.splat(row.stop - row.start)

        def square(index: Val, mask: Val | None) -> Val:
            x = kernel.first(index, mask, stored)
            return x * x

        def deviation(index: Val, mask: Val | None) -> Val:
            x = kernel.again(index, mask) - mean
            return x * x

        if centred:
            mean = kernel.sum(lambda i, mask: kernel.first(i, mask, stored)) / count
            variance = kernel.sum(deviation) / count
        else:
            mean = kernel.number(0)
            variance = kernel.sum(square) / count
        inverse = 1.0 / f.intrinsic("llvm.sqrt", variance + epsilon)
        first = int(stores)

        def finish(index: Val, mask: Val | None) -> None:
            x = kernel.again(index, mask)
            y = (x - mean if centred else x) * inverse
            others = [s.read(target, index, mask) for s in kernel.others()]
            for number, value in enumerate(
                evaluate(epilogue, [y, *others], kernel.math)
            ):
                kernel.write(first + number, index, value, mask)

        kernel.sweep(finish)
        if statistics:
            kernel.write_one(len(kernel.results) - 2, mean)
            kernel.write_one(len(kernel.results) - 1, inverse)


def _kernel(
    module: Module,
    target: Target,
    name: str,
    prologue: Expression,
    epilogue: Expression,
    stores: bool,
    statistics: bool,
) -> RowKernel:
    results = [prologue.results[0][1]] if stores else []
    results += [element for _, element in epilogue.results]
    computed = epilogue.operands[0]
    if statistics:
        results += [computed, computed]
    return RowKernel(
        module, target, name, results, prologue, epilogue.operands[1:], EXTRA
    )
