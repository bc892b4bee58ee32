"""ArgMax and ArgMin: the first place of an extreme along an axis, or the last.

::

    for line:  y = the k for which before(operands[line, k]) is extreme

NaN is the extreme of both, as in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

from runtime_ep_cuda.codegen.elements import element
from runtime_ep_cuda.codegen.expression import SAME, Expression
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.codegen.reduction import Gathering, Task, gather_lines, type_of
from runtime_ep_cuda.tensor import Tensor

_ALONE = ("float", "double", "rt_u32", "rt_i64", "rt_u64")


def arg_extreme(
    before: Expression,
    operands: Sequence[Tensor],
    y: Tensor,
    shape: Sequence[int],
    axis: int,
    *,
    largest: bool,
    last: bool = False,
    after: Expression = SAME,
    further: Sequence[Tensor] = (),
    results: Sequence[Tensor] | None = None,
    scratch: Tensor | None = None,
) -> list[Launch]:
    """Write the place of the largest or smallest element along an axis of a shape.

    The place is an int64; all else is as `reduction.reduce` has it, and the scratch
    memory that `reduction.reduction_scratch` tells.
    """
    kind = type_of(before, operands)
    computed = element(kind).computed
    value = computed if computed in _ALONE else "int"
    flags = f"{str(largest).lower()}, {str(last).lower()}"
    what = Gathering(
        f"rt_place<{value}, {flags}>",
        "$, k + (columns ? 0 : v)",
        "rt_i64(a.place)",
        "int64",
    )
    outputs = [y] if results is None else list(results)
    name = "arg_max" if largest else "arg_min"
    task = Task(name, what, kind, before, operands, after, further, outputs)
    return gather_lines(task, shape, (axis,), scratch)
