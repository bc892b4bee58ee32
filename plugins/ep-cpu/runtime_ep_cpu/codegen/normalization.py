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
    epsilon = kernel.scalar(kernel.extra("epsilon", "float"))
    with kernel.rows() as row:
        count = kernel.scalar(row.stop - row.start)

        def element(index: Val, mask: Val | None) -> Val:
            return kernel.first(index, mask, 0 if stores else None)

        def deviation(index: Val, mask: Val | None) -> Val:
            return kernel.again(index, mask) - mean

        def deviation_while_fetching(index: Val, mask: Val | None) -> Val:
            kernel.fetch_following(index)
            return deviation(index, mask)

        if centred:
            average = kernel.sum(element) / count
            mean = kernel.splat(average)
            variance = kernel.sum_of_squares(deviation_while_fetching) / count
        else:
            variance = kernel.sum_of_squares(element) / count
        scale = 1.0 / f.intrinsic("llvm.sqrt", variance + epsilon)
        inverse = kernel.splat(scale)

        def finish(index: Val, mask: Val | None) -> None:
            x = deviation(index, mask) if centred else kernel.again(index, mask)
            others = [s.read(target, index, mask) for s in kernel.others()]
            values = evaluate(epilogue, [x * inverse, *others], kernel.math)
            for number, value in enumerate(values):
                kernel.write(int(stores) + number, index, value, mask)

        kernel.sweep(finish)
        if statistics:
            kernel.write_one(len(kernel.results) - 2, average)
            kernel.write_one(len(kernel.results) - 1, scale)


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
