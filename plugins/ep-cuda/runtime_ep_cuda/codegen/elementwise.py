"""Element-wise kernels: an expression over tensors of one shape and any strides."""

from __future__ import annotations

from collections.abc import Sequence

from runtime_ep_cuda.codegen.draft import Draft
from runtime_ep_cuda.codegen.elements import element
from runtime_ep_cuda.codegen.expression import Expression
from runtime_ep_cuda.codegen.indices import Axes, axes_of, blocks, collapsed
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.codegen.lanes import lanes
from runtime_ep_cuda.codegen.tiles import crossing, tiled
from runtime_ep_cuda.tensor import Tensor

THREADS = 256
RESIDENT = 2
"""Blocks at once on a multiprocessor, which leaves every thread 128 registers."""
MOST_REGISTERS = 48
"""Registers that a thread's vectors may take; more neighbours would spill."""
MOST_INSTRUCTIONS = 64
"""Kernels of longer expressions do not claim to keep everything in registers."""


def elementwise(
    expression: Expression, operands: Sequence[Tensor], results: Sequence[Tensor]
) -> list[Launch]:
    """Compute results from operands, which are broadcast to the results' shape.

    ::

        for i in parallel over all axes, the results' innermost last and in vectors:
            results[:][i] = expression(operands[:][i])

    A result may be the memory of an operand where both have the same strides. Where an
    operand's innermost axis is another one than the results', both go by tiles of
    shared memory.
    """
    if len(operands) != expression.operands:
        raise ValueError(
            f"{expression.operands} operands wanted, found {len(operands)}"
        )
    if results[0].size == 0:
        return []
    read = [tensor.broadcast(results[0].shape) for tensor in operands]
    tensors = (*read, *results)
    axes = collapsed(axes_of(tensors), leading=len(read))
    across = crossing(axes, len(read))
    if across is not None:
        return [tiled(expression, read, results, axes, across)]
    return [_flat(expression, read, results, axes)]


def _flat(
    expression: Expression,
    operands: Sequence[Tensor],
    results: Sequence[Tensor],
    axes: Axes,
) -> Launch:
    tensors = (*operands, *results)
    simple = not expression.instructions and len(operands) == 1
    width = vector_width(axes, tensors, len(operands), 16 if simple else 8)
    inner = axes.shape[-1]
    has_rest = inner % width != 0
    shape = (*axes.shape[:-1], -(-inner // width))
    count = Axes(shape, ()).size if shape else 1
    draft = Draft(axes.is_narrow())
    names = [f"x{i}" for i in range(len(operands))]
    names += [f"y{i}" for i in range(len(results))]
    for name, tensor in zip(names, tensors, strict=True):
        (draft.reads if name[0] == "x" else draft.writes)(name, tensor)
    draft.thread("i", count, THREADS)
    coordinates = draft.split("i", shape, "c")
    ways = [_way(steps[-1], width) for steps in axes.strides]
    for name, steps, way in zip(names, axes.strides, ways, strict=True):
        _place(draft, name, coordinates, steps, way, width)
    if has_rest:
        draft.index("inner", inner)
        draft.line(f"const int lanes = int(inner - {coordinates[-1]} * {width});")
    _compute(draft, expression, tensors, len(operands), ways, width, has_rest)
    codes = "_".join(element(tensor.dtype).code for tensor in tensors)
    rest = "_rest" if has_rest else ""
    name = f"elementwise_{codes}_{''.join(ways)}_r{len(shape)}_v{width}{rest}"
    spills = len(expression.instructions) > MOST_INSTRUCTIONS
    return draft.launch(
        name, blocks(count, THREADS), THREADS, spills=spills, resident=RESIDENT
    )


def vector_width(
    axes: Axes, tensors: Sequence[Tensor], operands: int, most: int
) -> int:
    """Return how many neighbours a thread can take at once.

    The innermost axis must be contiguous for the results, contiguous or broadcast for
    the operands, and every row of theirs aligned.
    """
    inner = [steps[-1] for steps in axes.strides]
    if any(step != 1 for step in inner[operands:]) or not {*inner} <= {0, 1}:
        return 1
    moved = [i for i, step in enumerate(inner) if step == 1]
    smallest = min(tensors[i].dtype.itemsize for i in moved)
    largest = max(tensors[i].dtype.itemsize for i in moved)
    width = min(most, max(1, 16 // smallest), 64 // largest)
    words = sum(tensors[i].dtype.itemsize for i in moved) / 4
    while width > 1 and (
        width >= 2 * axes.shape[-1]
        or words * width > MOST_REGISTERS
        or not all(_is_aligned(axes.strides[i], tensors[i], width) for i in moved)
    ):
        width //= 2
    return width


def _is_aligned(strides: Sequence[int], tensor: Tensor, width: int) -> bool:
    size = tensor.dtype.itemsize
    chunk = min(16, width * size)
    starts = (tensor.offset, *strides[:-1])
    return all(start * size % chunk == 0 for start in starts)


def _way(step: int, width: int) -> str:
    """Return how a tensor is walked along the innermost axis: c, b or s."""
    return "b" if step == 0 else "c" if step == 1 and width > 1 else "s"


def _place(
    draft: Draft,
    name: str,
    coordinates: Sequence[str],
    steps: Sequence[int],
    way: str,
    width: int,
) -> None:
    """Append where a thread's first element lies in a tensor; axes of no step vanish."""
    outer = [
        (coordinate, step)
        for coordinate, step in zip(coordinates[:-1], steps[:-1], strict=True)
    ]
    if way == "s":
        outer.append((coordinates[-1], steps[-1]))
    draft.placed(f"{name}o", [c for c, _ in outer], [s for _, s in outer])
    along = f" + {coordinates[-1]} * {width}" if way == "c" else ""
    draft.line(f"const auto {name}p = {name} + {name}o{along};")


def _compute(
    draft: Draft,
    expression: Expression,
    tensors: Sequence[Tensor],
    operands: int,
    ways: Sequence[str],
    width: int,
    has_rest: bool,
) -> None:
    """Append loads, the expression lane by lane, and stores."""
    values = []
    for i, (tensor, way) in enumerate(zip(tensors[:operands], ways, strict=False)):
        kind = element(tensor.dtype)
        if way == "c":
            draft.line(*_load(f"x{i}", kind.memory, width, has_rest))
            values.append(f"rt_wide(x{i}v.at[k])")
        else:
            draft.line(f"const {kind.computed} x{i}v = rt_wide(*x{i}p);")
            values.append(f"x{i}v")
    lanes(draft, expression, tensors, values, width)
    for i, tensor in enumerate(tensors[operands:]):
        memory = element(tensor.dtype).memory
        draft.line(*_store(f"y{i}", memory, width, has_rest))


def _load(name: str, memory: str, width: int, has_rest: bool) -> list[str]:
    whole = f"rt_read<{memory}, {width}>({name}p)"
    if not has_rest:
        return [f"const auto {name}v = {whole};"]
    some = f"rt_read_some<{memory}, {width}>({name}p, lanes)"
    return [f"const auto {name}v = lanes < {width} ? {some} : {whole};"]


def _store(name: str, memory: str, width: int, has_rest: bool) -> list[str]:
    whole = f"rt_write<{memory}, {width}>({name}p, {name}v);"
    if not has_rest:
        return [whole]
    some = f"rt_write_some<{memory}, {width}>({name}p, {name}v, lanes);"
    return [f"if (lanes < {width}) {some}", f"else {whole}"]
