"""GroupQueryAttention: rotary positions and caches that grow or are written in place.

A plan is for one of two cases. In a first prompt every image begins at key 0. Later an
image's rows begin where ``seqlens_k`` tells, which only the device knows: positions,
places in the caches and the keys that count are read there. So a plan depends on the
number of all keys no further than by the room in the caches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cuda.actions import Array, Unplannable
from runtime_ep_cuda.codegen import movement
from runtime_ep_cuda.codegen import rotary as turning
from runtime_ep_cuda.codegen.caching import append
from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import Expression, Instruction
from runtime_ep_cuda.dtypes import INT32, INT64, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.attention import Heads, Rules, attend, heads_of, result_of
from runtime_ep_cuda.steps.contrib_attention import (
    check_heads,
    floats_alike,
    scale_of,
)
from runtime_ep_cuda.steps.contrib_masks import fitting
from runtime_ep_cuda.steps.rows import used
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.tensor import Tensor

MS = "com.microsoft"


@dataclass(frozen=True, slots=True)
class Room:
    """What is asked of the number of all keys, given the new ones and the caches'.

    The answer is whether this is a first prompt, and how many keys the caches hold then.
    ``exact`` asks for the number itself, as who adds a bias to each score must.
    """

    rows: int
    past: int
    exact: bool

    def __call__(self, total: Array) -> tuple[bool, int, int]:
        """Return whether it is a prompt, the caches' rows, and those that may count."""
        count = int(total.reshape(-1)[0])
        room = max(count, self.past)
        first = count == self.rows
        return first, room, count if self.exact or first else room


_NOT_HERE = {
    "a quantized cache": 12, "norms of queries and keys": 14, "query_seqlens": 16,
}  # fmt: skip


def _refuses(node: Node) -> str:
    for what, place in _NOT_HERE.items():
        if node.input(place) is not None:
            return f"{what} of GroupQueryAttention is not supported"
    kinds = {node.attribute(f"{name}_quant_type", "NONE") for name in "kv"}
    if node.attribute("sliding_window_cache", 0) or kinds != {"NONE"}:
        return "quantized and sliding caches are not supported"
    if used(node, 3) is not None:
        return "scores are not written"
    if not floats_alike(node, (0, 1, 2, 3, 4, 7, 8, 10, 11)):
        return "attention over these element types is not supported"
    if not {dtype_of(node.input(place)) for place in (5, 6)} <= {INT32, INT64}:
        return "counts that are no integers are not supported"
    if node.attribute("do_rotary", 0) and None in (node.input(7), node.input(8)):
        return "do_rotary needs cos_cache and sin_cache"
    return _refuses_parts(node)


def _refuses_parts(node: Node) -> str:
    for one, other, told in ((1, 2, "keys and values"), (3, 4, "past keys and values")):
        if (node.input(one) is None) != (node.input(other) is None):
            return f"{told} must be given together"
    return ""


@plans("GroupQueryAttention", domain=MS, refuse=_refuses, known=(6,))
def group_query_attention(planner: Planner, group: Group) -> None:
    """GroupQueryAttention of com.microsoft."""
    node = anchor_of(group)
    q, k, v = _unpacked(planner, node)
    check_heads(q, k, v)
    before = node.input(3)
    past = 0 if before is None else planner.shape(before)[2]
    bias = node.input(10)
    asked = Room(q.shape[2], past, bias is not None)
    first, room, keys = planner.gist(_given(node, 6), asked)
    if keys < asked.rows:
        raise Unplannable(f"{asked.rows} new keys are more than {keys} in all")
    y = result_of(planner, node.outputs[0], q.shape, True)
    places = _positions(planner, node, q, first)
    if node.attribute("do_rotary", 0):
        q = _turned(planner, node, q, places)
        k = _turned(planner, node, k, places)
    k = _cached(planner, node, 0, k, first, room).sliced(2, 0, keys)
    v = _cached(planner, node, 1, v, first, room).sliced(2, 0, keys)
    causal = bool(node.attribute("causal", 1))
    valid = None if first and causal else _counts(planner, node, keys)
    scores = (*q.shape[:3], keys)
    added = None if bias is None else fitting(planner.tensor(bias), scores)
    if first and valid is not None:
        added, valid = _hidden(planner, valid, scores, added), None
    window = node.attribute("local_window_size", -1)
    rules = Rules(
        scale_of(node, q),
        added,
        causal,
        float(node.attribute("softcap") or 0.0),
        window - 1 if 0 < window < keys else -1,
        sink=_sink(planner, node, y),
    )
    attend(planner, Heads(q, k, v, 0, valid), y, rules)


def _sink(planner: Planner, node: Node, y: Tensor) -> Tensor | None:
    """Return what stands beside each head's scores: a number, or 0 if it is smooth."""
    value, heads = node.input(11), y.shape[1]
    if value is None:
        smooth = node.attribute("smooth_softmax", -1) > 0
        return planner.constant(np.zeros(heads, y.dtype)) if smooth else None
    found = planner.typed(planner.tensor(value), y.dtype)
    return planner.reshape(found, (heads,))


def _unpacked(planner: Planner, node: Node) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values by heads; packed ones lie side by side."""
    heads, fewer = node.attribute("num_heads"), node.attribute("kv_num_heads")
    if node.input(1) is not None:
        q = heads_of(planner, node.inputs[0], heads)
        k, v = (heads_of(planner, node.input(place), fewer) for place in (1, 2))
        return q, k, v
    both = heads_of(planner, node.inputs[0], heads + 2 * fewer)
    return (
        both.sliced(1, 0, heads),
        both.sliced(1, heads, fewer),
        both.sliced(1, heads + fewer, fewer),
    )


def _given(node: Node, place: int) -> Value:
    value = node.inputs[place]
    if value is None:
        raise Unplannable("an input is missing")
    return value


def _seqlens(planner: Planner, node: Node) -> tuple[Value, Tensor]:
    """Return how many keys each image has, less one: (batch,)."""
    value = _given(node, 5)
    found = planner.tensor(value)
    return value, planner.reshape(found, (found.size,))


def _counts(planner: Planner, node: Node, keys: int) -> Tensor:
    """Return how many keys of each image count, none and ``keys`` at the least and most."""
    value, seqlens = _seqlens(planner, node)

    def make() -> Tensor:
        made = planner.new(INT64, seqlens.shape)
        steps = (
            *_numbers(1, 0, keys),
            _WHOLE,
            Instruction("add", (4, 1)),
            Instruction("maximum", (5, 2)),
            Instruction("minimum", (6, 3)),
        )
        planner.launch(elementwise(Expression(1, steps, (7,)), [seqlens], [made]))
        return made

    return planner.derived(f"counts up to {keys}", value, make)


_WHOLE = Instruction("convert", (0,), (("type", "int64"),))


def _numbers(*numbers: int) -> tuple[Instruction, ...]:
    return tuple(
        Instruction("constant", (), (("type", "int64"), ("value", number)))
        for number in numbers
    )


def _positions(planner: Planner, node: Node, q: Tensor, first: bool) -> Tensor:
    """Return the positions of new rows: (batch, rows), or (1,) for the first of all."""
    batch, _, rows, _ = q.shape
    given = node.input(9)
    if given is not None and planner.shape(given) == (batch, rows):
        return planner.tensor(given)
    if first:
        return planner.constant(np.zeros(1, np.int64))
    value, seqlens = _seqlens(planner, node)
    if seqlens.shape != (batch,):
        raise Unplannable(f"seqlens_k needs {batch} entries, found {seqlens.size}")
    column = planner.reshape(seqlens, (batch, 1))
    if rows == 1:
        return column

    def make() -> Tensor:
        made = planner.new(INT64, (batch, rows))
        steps = planner.constant(np.arange(1 - rows, 1, dtype=np.int64))
        total = Expression(2, (_WHOLE, Instruction("add", (2, 1))), (3,))
        planner.launch(elementwise(total, [column, steps], [made]))
        return made

    return planner.derived(f"positions of {rows}", value, make)


def _turned(planner: Planner, node: Node, x: Tensor, places: Tensor) -> Tensor:
    """Return heads turned by their positions, rows outside heads."""
    cos, sin = (planner.typed(planner.tensor(node.input(n)), x.dtype) for n in (7, 8))
    turned = 2 * cos.shape[-1]
    if cos.rank != 2 or cos.shape != sin.shape or turned > x.shape[3]:
        raise Unplannable(f"caches of {list(cos.shape)} do not turn {list(x.shape)}")
    y = planner.new(x.dtype, x.shape, (0, 2, 1, 3))
    interleaved = bool(node.attribute("rotary_interleaved", 0))
    planner.launch(
        turning.rotary(x, cos, sin, y, places, interleaved=interleaved, turned=turned)
    )
    return y


def _cached(
    planner: Planner, node: Node, place: int, new: Tensor, first: bool, room: int
) -> Tensor:
    """Return keys or values with each image's new rows behind its past ones."""
    shown, before = used(node, 1 + place), node.input(3 + place)
    rows = new.shape[2]
    if shown is None and first:
        return new
    shape = (*new.shape[:2], room, new.shape[3])
    made = (
        planner.new(new.dtype, shape) if shown is None else planner.result(shown, shape)
    )
    new = planner.typed(new, made.dtype)
    if first and room == rows:
        planner.launch(movement.copy(new, made))
        return made
    past = None if before is None else planner.typed(planner.tensor(before), made.dtype)
    if past is not None and (*past.shape[:2], past.shape[3]) != (*shape[:2], shape[3]):
        raise Unplannable(f"{list(past.shape)} does not go on as {list(new.shape)}")
    counts = None if first else _seqlens(planner, node)[1]
    more = 0 if first else 1 - rows
    planner.launch(append(past, new, made, counts, more))
    return made


def _hidden(
    planner: Planner, counts: Tensor, scores: tuple[int, ...], added: Tensor | None
) -> Tensor:
    """Return a bias that hides the keys behind each image's own."""
    batch, keys = scores[0], scores[3]
    places = planner.constant(np.arange(keys, dtype=np.int64))
    ends = planner.reshape(counts, (batch, 1, 1, 1))
    operands = [places, ends] if added is None else [places, ends, added]
    n = len(operands)
    infinite = (("type", "float32"), ("value", float("-inf")))
    other: tuple[Instruction, ...] = (
        Instruction("constant", (), (("type", "float32"), ("value", 0.0))),
    )
    steps = (
        Instruction("less", (0, 1)),
        Instruction("constant", (), infinite),
        *(other if added is None else ()),
        Instruction("where", (n, n + 2 if added is None else 2, n + 1)),
    )
    last = n + len(steps) - 1
    shape = (batch, *((1, 1) if added is None else scores[1:3]), keys)
    made = planner.new(np.float32, shape)
    planner.launch(elementwise(Expression(n, steps, (last,)), operands, [made]))
    return made.broadcast(scores)
