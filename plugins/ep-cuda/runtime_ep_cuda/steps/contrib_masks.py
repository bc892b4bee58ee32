"""Masks of com.microsoft's attention: lengths, ranges or marks of keys as numbers to add."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import Expression, Instruction
from runtime_ep_cuda.dtypes import HALF, INT32, Dtype
from runtime_ep_cuda.planner import Planner, broadcast
from runtime_ep_cuda.tensor import Tensor

_MASKED = -10000.0
"""What is added to the scores of hidden keys, unless a node says otherwise."""

Scores = tuple[int, int, int, int]
"""The shape of scores: batch, heads, queries, keys."""


def scores_bias(
    planner: Planner,
    node: Node,
    mask: Value | None,
    bias: Value | None,
    scores: Scores,
    past: int,
    dtype: Dtype,
) -> Tensor | None:
    """Return what is added to scores, of their shape, for a mask of keys and a bias."""
    added = None if bias is None else fitting(planner.tensor(bias), scores)
    if mask is None:
        return added
    filler = node.attribute("mask_filter_value", _MASKED)
    least = np.float16 if dtype == HALF else np.float32
    filler = max(filler, float(np.finfo(least).min))

    def make() -> Tensor:
        return _filled(planner, mask, added, scores, past, dtype, filler)

    if added is None:
        word = f"bias of keys {scores[2:]} {past} {dtype} {filler}"
        return planner.derived(word, mask, make).broadcast(scores)
    return make().broadcast(scores)


def fitting(bias: Tensor, scores: Scores) -> Tensor:
    """Return a bias with the scores' shape; its first two axes may be 1."""
    if bias.rank != 4 or bias.shape[2:] != scores[2:]:
        raise Unplannable(
            f"a bias of {list(bias.shape)} does not fit scores of {list(scores)}"
        )
    broadcast([bias.shape, scores])
    return bias.broadcast(scores)


def _filled(
    planner: Planner,
    value: Value,
    added: Tensor | None,
    scores: Scores,
    past: int,
    dtype: Dtype,
    filler: float,
) -> Tensor:
    """Return 0 where keys are kept and ``filler`` where not, and what is added to both."""
    mask = planner.typed(planner.tensor(value), INT32)
    operands, steps = _kept(planner, mask, scores, past)
    if added is not None:
        operands.append(added)
    count = len(operands)
    first = count + len(steps)
    placed = [step(count) for step in steps]
    for number in (0.0, filler):
        pairs = (("type", "float32"), ("value", number))
        placed.append(Instruction("constant", (), pairs))
    placed.append(Instruction("where", (first - 1, first, first + 1)))
    if added is not None:
        placed.append(Instruction("add", (first + 2, count - 1)))
    last = count + len(placed) - 1
    made = planner.new(dtype, broadcast([t.shape for t in operands]))
    expression = Expression(count, tuple(placed), (last,))
    planner.launch(elementwise(expression, operands, [made]))
    return made


Step = Callable[[int], Instruction]
"""An instruction, once it is known how many operands there are."""


def _kept(
    planner: Planner, mask: Tensor, scores: Scores, past: int
) -> tuple[list[Tensor], list[Step]]:
    """Return operands, and steps of which the last tells whether a key is kept."""
    batch, keys = scores[0], scores[3]
    if mask.shape in ((batch,), (3 * batch + 2,)):
        ends = _column(planner, mask, 0, batch)
        places = planner.constant(np.arange(keys, dtype=np.int32))
        return [places, ends], [lambda n: Instruction("less", (0, 1))]
    if mask.shape == (2 * batch,):
        ends, starts = (_column(planner, mask, at, batch) for at in (0, batch))
        places = planner.constant(np.arange(keys, dtype=np.int32))
        return [places, ends, starts], [
            lambda n: Instruction("less", (0, 1)),
            lambda n: Instruction("greater_or_equal", (0, 2)),
            lambda n: Instruction("and", (n, n + 1)),
        ]
    return [_marks(mask, scores, past)], [
        lambda n: Instruction("constant", (), (("type", "int32"), ("value", 0))),
        lambda n: Instruction("greater", (0, n)),
    ]


def _column(planner: Planner, mask: Tensor, start: int, batch: int) -> Tensor:
    part = mask.sliced(0, start, batch)
    return planner.reshape(part, (batch, 1, 1, 1))


def _marks(mask: Tensor, scores: Scores, past: int) -> Tensor:
    """Return marks of keys with four axes: of each image, or of each query."""
    batch, _, rows, keys = scores
    if mask.shape == (batch, keys):
        return _with_axes(mask, (1, 2))
    if mask.shape == (batch, rows, keys):
        return _with_axes(mask, (1,))
    square = mask.rank == 4 and mask.shape[0] in (1, batch)
    if square and mask.shape[2] >= max(keys, past + rows) and mask.shape[3] >= keys:
        part = mask.sliced(1, 0, 1).sliced(2, past, rows)
        return part.sliced(3, 0, keys)
    raise Unplannable(
        f"a mask of {list(mask.shape)} does not fit {batch} sequences of {rows} "
        f"queries and {keys} keys"
    )


def _with_axes(tensor: Tensor, places: Sequence[int]) -> Tensor:
    """Return a tensor with new axes of one element at places of the result."""
    index = tuple(
        None if place in places else slice(None)
        for place in range(tensor.rank + len(places))
    )
    return tensor.like(tensor.ghost()[index], 0)
