"""Element-wise kernels across: operands whose innermost axis is not the results'."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from runtime_ep_cuda.codegen.draft import Draft
from runtime_ep_cuda.codegen.elements import element
from runtime_ep_cuda.codegen.expression import Expression
from runtime_ep_cuda.codegen.indices import Axes, blocks
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.codegen.lanes import lanes
from runtime_ep_cuda.tensor import Tensor

THREADS = 256
RESIDENT = 2
SHORT = 16
"""Along shorter axes nothing is gained by tiles: caches hold what is read in vain."""

FEW = 8
"""Rows of shorter expressions are taken four at a time, their loads before all else."""

_SHARED = 40 << 10


def crossing(axes: Axes, operands: int) -> int | None:
    """Return the axis along which an operand is contiguous and the results are not.

    ``None`` where operands and results agree, or where one of both axes is short.
    """
    inner = len(axes.shape) - 1
    if any(steps[inner] != 1 for steps in axes.strides[operands:]):
        return None
    if axes.shape[inner] < SHORT:
        return None
    for steps in axes.strides[:operands]:
        if abs(steps[inner]) > 1 and 1 in steps:
            found = steps.index(1)
            if axes.shape[found] >= SHORT:
                return found
    return None


def tiled(
    expression: Expression,
    operands: Sequence[Tensor],
    results: Sequence[Tensor],
    axes: Axes,
    across: int,
) -> Launch:
    """Compute results by square tiles of the axes along which tensors are contiguous.

    ::

        for every tile of axes (j, i) and every outer index, in parallel over blocks:
            for i, j of the tile, j in vectors:
                shared[j][i] = operand[…, j, i]     # of operands contiguous along j
            for j, i of the tile, i in vectors:
                results[…, j, i] = expression(shared[j][i], other operands)
    """
    inner = len(axes.shape) - 1
    outer = [axis for axis in range(inner) if axis != across]
    axes = axes.ordered([*outer, across, inner])
    tensors = (*operands, *results)
    turned, width = _turned(axes, tensors, len(operands))
    side = 32 * width
    draft = Draft(axes.is_narrow())
    for i, tensor in enumerate(operands):
        draft.reads(f"x{i}", tensor)
    for i, tensor in enumerate(results):
        draft.writes(f"y{i}", tensor)
    count = _begin(draft, axes, side)
    for i in range(len(tensors)):
        _place(draft, _name(i, len(operands)), axes.strides[i])
    for i in turned:
        _turn(draft, i, element(tensors[i].dtype).memory, width, side)
    draft.line("__syncthreads();")
    _compute(draft, expression, tensors, len(operands), axes, turned, width, side)
    codes = "_".join(element(tensor.dtype).code for tensor in tensors)
    places = "".join("t" if i in turned else "d" for i in range(len(operands)))
    name = f"elementwise_tiled_{codes}_{places}_r{len(axes.shape)}_v{width}"
    return draft.launch(name, blocks(count, 1), THREADS, resident=RESIDENT)


def _name(i: int, operands: int) -> str:
    return f"x{i}" if i < operands else f"y{i - operands}"


def _turned(
    axes: Axes, tensors: Sequence[Tensor], operands: int
) -> tuple[list[int], int]:
    """Return the operands that go through shared memory, and in vectors of what width."""
    turned = [
        i for i in range(operands)
        if abs(axes.strides[i][-1]) > 1 and axes.strides[i][-2] == 1
    ]  # fmt: skip
    width = _width(axes, tensors, turned)
    if _bytes(tensors, turned, 32 * width) > _SHARED:
        width = 1
    while _bytes(tensors, turned, 32 * width) > _SHARED:
        turned.pop()
    return turned, width


def _bytes(tensors: Sequence[Tensor], turned: Sequence[int], side: int) -> int:
    return sum(tensors[i].dtype.itemsize for i in turned) * side * (side + 2)


def _width(axes: Axes, tensors: Sequence[Tensor], turned: Sequence[int]) -> int:
    """Return 2 where two narrow elements can be moved at once on both sides."""
    if max(tensors[i].dtype.itemsize for i in turned) > 2:
        return 1
    if axes.shape[-1] % 2 or axes.shape[-2] % 2:
        return 1
    for i, tensor in enumerate(tensors):
        along = -2 if i in turned else -1
        steps = [step for axis, step in enumerate(axes.strides[i])
                 if axis != len(axes.shape) + along]  # fmt: skip
        if axes.strides[i][along] not in (0, 1):
            return 1
        if axes.strides[i][along] and any(step % 2 for step in (tensor.offset, *steps)):
            return 1
    return 2


def _begin(draft: Draft, axes: Axes, side: int) -> int:
    """Append where the block's tile begins; return how many blocks there are."""
    tiles = [-(-dim // side) for dim in axes.shape[-2:]]
    shape = (*axes.shape[:-2], *tiles)
    names = draft.split("index(blockIdx.x)", shape, "c")
    draft.offset("rows", axes.shape[-2])
    draft.offset("columns", axes.shape[-1])
    draft.line(
        f"const offset j0 = {names[-2]} * {side}, i0 = {names[-1]} * {side};",
        "const int lane = threadIdx.x & 31, group = threadIdx.x >> 5;",
    )
    return prod(shape)


def _place(draft: Draft, name: str, steps: Sequence[int]) -> None:
    outer = [f"c{axis}" for axis in range(len(steps) - 2)]
    draft.placed(f"{name}o", outer, steps[:-2])
    draft.offset(f"{name}j", steps[-2])
    draft.offset(f"{name}i", steps[-1])


def _turn(draft: Draft, i: int, memory: str, width: int, side: int) -> None:
    """Append the copy of an operand's tile into shared memory, transposed."""
    pitch = side + (1 if width == 1 else 2)
    draft.line(
        f"__shared__ {memory} t{i}[{side}][{pitch}];",
        "{",
        f"const offset j = j0 + lane * {width};",
        "#pragma unroll",
        f"for (int r = group; r < {side}; r += {THREADS // 32}) {{",
        "if (j < rows && i0 + r < columns) {",
        f"const auto v = rt_read<{memory}, {width}>(x{i} + x{i}o + j + (i0 + r) * x{i}i);",
        *(f"t{i}[lane * {width} + {k}][r] = v.at[{k}];" for k in range(width)),
        "}", "}", "}",
    )  # fmt: skip


def _compute(
    draft: Draft,
    expression: Expression,
    tensors: Sequence[Tensor],
    operands: int,
    axes: Axes,
    turned: Sequence[int],
    width: int,
    side: int,
) -> None:
    """Append the walk along the results' innermost axis."""
    kinds = [element(tensor.dtype) for tensor in tensors]
    draft.line(
        f"const offset i = i0 + lane * {width};",
        f"#pragma unroll {4 if len(expression.instructions) <= FEW else 1}",
        f"for (int r = group; r < {side}; r += {THREADS // 32}) {{",
        "const offset j = j0 + r;",
        "if (j >= rows || i >= columns) continue;",
    )
    values = []
    for n in range(operands):
        place = f"x{n} + x{n}o + j * x{n}j + i * x{n}i"
        if n in turned:
            values.append(f"rt_wide(t{n}[r][lane * {width} + k])")
        elif axes.strides[n][-1] == 1:
            draft.line(
                f"const auto x{n}v = rt_read<{kinds[n].memory}, {width}>({place});"
            )
            values.append(f"rt_wide(x{n}v.at[k])")
        else:
            draft.line(f"const {kinds[n].computed} x{n}v = rt_wide(*({place}));")
            values.append(f"x{n}v")
    lanes(draft, expression, tensors, values, width)
    for n, kind in enumerate(kinds[operands:]):
        place = f"y{n} + y{n}o + j * y{n}j + i"
        draft.line(f"rt_write<{kind.memory}, {width}>({place}, y{n}v);")
    draft.line("}")
