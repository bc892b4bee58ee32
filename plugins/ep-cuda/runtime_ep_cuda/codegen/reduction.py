"""Reductions over any axes: sums, means, extremes, products and norms.

::

    for line:  results = after(reduce(before(operands[line, :])), further operands)

Where there are few lines and they are long, each is cut into chunks: what is gathered of
a chunk goes to scratch memory, and a second kernel puts it together, always in the same
order. Floats are gathered as float, doubles as double; integers wrap around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from runtime_ep_cuda.codegen.elements import FLOATS, element
from runtime_ep_cuda.codegen.expression import SAME, Expression, evaluate
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.codegen.lines import (
    Axis,
    Lines,
    Team,
    arrange,
    choose,
    power_of_two,
)
from runtime_ep_cuda.codegen.loops import each, gather, gathered, repeated, tile
from runtime_ep_cuda.codegen.terms import Terms
from runtime_ep_cuda.codegen.walker import Walker
from runtime_ep_cuda.tensor import Tensor

OPERATIONS = (
    "sum", "mean", "max", "min", "prod", "l1", "l2", "sum_square", "log_sum",
    "log_sum_exp",
)  # fmt: skip
LARGEST_PART = 24
"""Bytes of what is gathered of a chunk, at most."""

_NAMES = {
    "float": "float32", "double": "float64", "int": "int32", "bool": "bool",
    "rt_i8": "int8", "rt_u8": "uint8", "rt_i16": "int16", "rt_u16": "uint16",
    "rt_u32": "uint32", "rt_i64": "int64", "rt_u64": "uint64",
}  # fmt: skip
"""C types of registers, and what NumPy calls them."""

_LONG = ("rt_i64", "rt_u64")


class Gathering(NamedTuple):
    """What is gathered of a line: an accumulator, how, and what becomes of it.

    ``adds`` is what is added for an element ``$`` at ``k``, ``result`` the text of what the
    accumulator ``a`` holds in the end, of NumPy's type ``type``.
    """

    accumulator: str
    adds: str
    result: str
    type: str


def type_of(expression: Expression, operands: Sequence[Tensor]) -> str:
    """Return NumPy's name of the type that an expression's first result is computed in."""
    m = Terms()
    terms = [m.term("x", element(operand.dtype).computed) for operand in operands]
    return _NAMES[evaluate(expression, terms, m)[0].type]


def gathering(operation: str, type: str) -> Gathering:
    """Return how an operation gathers elements of a type."""
    computed = element(type).computed
    if computed in FLOATS:
        return _of_floats(operation, computed, type)
    if operation in ("l2", "log_sum", "log_sum_exp"):
        wide = _of_floats(operation, "double", type)
        result = f"rt_cast<{computed}>({wide.result})"
        return wide._replace(adds=f"double({wide.adds})", result=result)
    return _of_integers(operation, computed, type)


def _of_floats(operation: str, real: str, type: str) -> Gathering:
    made = {
        "sum": ("rt_sum", "$", "a.value"),
        "mean": ("rt_sum", "$", f"a.value / {real}(length)"),
        "max": ("rt_largest", "$", "a.value"),
        "min": ("rt_smallest", "$", "a.value"),
        "prod": ("rt_product", "$", "a.value"),
        "l1": ("rt_sum", "rt_abs($)", "a.value"),
        "l2": ("rt_sum", f"{real}($) * {real}($)", "rt_sqrt(a.value)"),
        "sum_square": ("rt_sum", "$ * $", "a.value"),
        "log_sum": ("rt_sum", "$", "rt_log(a.value)"),
        "log_sum_exp": ("rt_powers", "$", "(rt_log(a.total) + a.top)"),
    }
    accumulator, adds, result = made[operation]
    return Gathering(f"{accumulator}<{real}>", adds, result, type)


def _of_integers(operation: str, computed: str, type: str) -> Gathering:
    wrapping = "rt_u64" if computed in _LONG or operation == "mean" else "rt_u32"
    if operation in ("max", "min"):
        ordered = computed if computed in (*_LONG, "rt_u32") else "int"
        name, empty = (
            ("largest", "lowest") if operation == "max" else ("smallest", "highest")
        )
        result = f"(length ? {computed}(a.value) : rt_{empty}<{computed}>())"
        return Gathering(f"rt_{name}<{ordered}>", f"{ordered}($)", result, type)
    x = f"{wrapping}($)"
    name = "product" if operation == "prod" else "sum"
    adds = {"l1": f"{wrapping}(rt_abs($))", "sum_square": f"{x} * {x}"}.get(
        operation, x
    )
    result = f"{computed}(a.value)"
    if operation == "mean":
        whole = "rt_u64" if type.startswith("u") else "rt_i64"
        result = f"{computed}(rt_quotient({whole}(a.value), {whole}(length)))"
    return Gathering(f"rt_{name}<{wrapping}>", adds, result, type)


def reduce(
    operation: str,
    before: Expression,
    operands: Sequence[Tensor],
    y: Tensor,
    shape: Sequence[int],
    axes: Sequence[int],
    *,
    after: Expression = SAME,
    further: Sequence[Tensor] = (),
    results: Sequence[Tensor] | None = None,
    scratch: Tensor | None = None,
) -> list[Launch]:
    """Reduce ``before(operands)``, broadcast to a shape, over some axes.

    ``operation`` is one of `OPERATIONS`. y has the kept axes, and the others with size 1
    or not at all; ``further`` operands are broadcast to its shape. ``after`` makes the
    results, y if no others are given, of the reduction's and the further operands.
    ``scratch`` is memory of `reduction_scratch` bytes; without it lines are not cut.
    """
    kind = type_of(before, operands)
    outputs = [y] if results is None else list(results)
    what = gathering(operation, kind)
    task = Task(
        f"reduce_{operation}", what, kind, before, operands, after, further, outputs
    )
    return gather_lines(task, shape, axes, scratch)


def reduction_scratch(
    operands: Sequence[Tensor], y: Tensor, shape: Sequence[int], axes: Sequence[int]
) -> int:
    """Return the bytes of scratch memory with which a reduction is fast; often 0."""
    tensors = _spread(operands, [y], shape, axes)
    lines = arrange(shape, _places(shape, axes), tensors)
    chunks, _ = cut(lines, choose(lines, tensors))
    return chunks * lines.rows * LARGEST_PART if chunks > 1 else 0


def _places(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis % len(shape) for axis in axes) if shape else ()


def _spread(
    operands: Sequence[Tensor],
    reduced: Sequence[Tensor],
    shape: Sequence[int],
    axes: Sequence[int],
) -> list[Tensor]:
    """Broadcast operands, and what is of a reduction's shape, to the shape before it."""
    places = _places(shape, axes)
    found = [operand.broadcast(shape) for operand in operands]
    for tensor in reduced:
        if tensor.rank < len(shape):
            dims, steps = iter(tensor.shape), iter(tensor.strides)
            rank = range(len(shape))
            tensor = replace(
                tensor,
                shape=tuple(1 if axis in places else next(dims) for axis in rank),
                strides=tuple(0 if axis in places else next(steps) for axis in rank),
            )
        found.append(tensor.broadcast(shape))
    return found


def cut(lines: Lines, team: Team) -> tuple[int, int]:
    """Return into how many chunks lines are cut, and the elements of one."""
    blocks = team.blocks(lines.rows)
    tiles = -(-lines.length // team.tile)
    wanted = min(tiles // 4, -(-512 // blocks)) if blocks < 256 else 1
    if wanted < 2:
        return 1, lines.length
    chunk = -(-tiles // wanted) * team.tile
    return -(-lines.length // chunk), chunk


class Task(NamedTuple):
    """What is gathered of what, and what is made of it."""

    family: str
    what: Gathering
    type: str
    before: Expression
    operands: Sequence[Tensor]
    after: Expression
    further: Sequence[Tensor]
    results: Sequence[Tensor]


def gather_lines(
    task: Task, shape: Sequence[int], axes: Sequence[int], scratch: Tensor | None
) -> list[Launch]:
    """Return the launches that gather something of every line.

    ::

        for line, chunk:  parts[line, chunk] = gather(before(operands[line, chunk]))
        for line:         results = after(gather(parts[line, :]), further operands)

    or both in one where lines are not cut.
    """
    if task.results[0].size == 0:
        return []
    smaller = [tensor.broadcast(task.results[0].shape) for tensor in task.further]
    tensors = _spread(task.operands, [*smaller, *task.results], shape, axes)
    lines = arrange(shape, _places(shape, axes), tensors)
    team = choose(lines, tensors)
    chunks, chunk = cut(lines, team)
    if scratch is None or chunks == 1:
        return [_whole(task, lines, team, tensors)]
    first, rest = range(len(task.operands)), range(len(task.operands), len(tensors))
    walker = Walker(lines.of(first), [tensors[n] for n in first], (), team, chunk)
    walker.reads("before", task.before, first, task.type)
    walker.pointer("parts", scratch, False, task.what.accumulator)
    body = _gathering(task, "begin") + PARTS
    parts = walker.launch(f"{task.family}_parts", body, chunks=chunks)
    some = [tensors[n] for n in rest]
    return [parts, _joined(task, lines.of(rest), some, scratch, chunks)]


def _gathering(task: Task, begin: str) -> str:
    """Return the text that gathers all of a line from a place on."""
    add = f"all[v % W].add({task.what.adds.replace('$', 'x[e][v]')});"
    return (
        f"typedef {element(task.type).computed} real;\n"
        + gathered(task.what.accumulator, "all")
        + repeated(tile("start") + each(add, "start"), begin)
        + gather("all")
    )


def _whole(task: Task, lines: Lines, team: Team, tensors: Sequence[Tensor]) -> Launch:
    """Return the launch that does all of a line at once."""
    first, rest = len(task.operands), range(len(task.operands), len(tensors))
    further, results = rest[: len(task.further)], rest[len(task.further) :]
    walker = Walker(lines, tensors, results, team)
    walker.reads("before", task.before, range(first), task.type)
    body = _gathering(task, "0") + _ending(walker, task, task.what, further, results)
    return walker.launch(task.family, body)


PARTS = """
if (active && lane == 0) {
#pragma unroll
  for (int w = 0; w < W; ++w) parts[rt_i64(row + w) * gridDim.y + blockIdx.y] = all[w];
}
"""

JOIN = """
for (int k = lane; k < n; k += T) all[0].merge(parts[rt_i64(row) * n + k]);
"""


def _joined(
    task: Task, lines: Lines, tensors: Sequence[Tensor], scratch: Tensor, chunks: int
) -> Launch:
    """Return the launch that puts together what was gathered of chunks."""
    threads = min(32, power_of_two(chunks))
    team = Team(False, 1, threads, max(1, 128 // threads), 1, False)
    parts = Lines(lines.kept, (Axis(chunks, (0,) * len(tensors)),))
    numbers = range(len(tensors))
    further, results = numbers[: len(task.further)], numbers[len(task.further) :]
    walker = Walker(parts, tensors, results, team)
    walker.pointer("parts", scratch, True, task.what.accumulator)
    whole = walker.scalar("i32", "whole", lines.length)
    what = task.what._replace(result=task.what.result.replace("length", whole))
    body = gathered(what.accumulator, "all") + JOIN + gather("all")
    body += _ending(walker, task, what, further, results)
    return walker.launch(f"{task.family}_joined", body)


def _ending(
    walker: Walker,
    task: Task,
    what: Gathering,
    further: Sequence[int],
    results: Sequence[int],
) -> str:
    """Make the function that ends a line, and return the call of it."""
    walker.ends("put", task.after, further, what.type, results)
    return (
        "if (active && lane == 0) {\n#pragma unroll\n  for (int w = 0; w < W; ++w) {\n"
        f"    const auto a = all[w];\n    put(w, {what.result});\n  }}\n}}\n"
    )
