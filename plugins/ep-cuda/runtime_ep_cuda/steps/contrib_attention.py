"""MultiHeadAttention and Attention of com.microsoft: packed operands, masks, caches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from runtime.graph import Node, Value

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import movement
from runtime_ep_cuda.codegen.caching import append
from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import Expression, Instruction
from runtime_ep_cuda.dtypes import FLOATS, INT32, INT64, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.operations import Pointwise, Product, Spec
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps import epilogue
from runtime_ep_cuda.steps.attention import (
    Heads,
    Rules,
    attend,
    heads_of,
    joined,
    result_of,
)
from runtime_ep_cuda.steps.contrib_masks import scores_bias
from runtime_ep_cuda.steps.epilogue import Follower
from runtime_ep_cuda.steps.rows import used
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.tensor import Tensor

MS = "com.microsoft"

_SUM = Expression(2, (Instruction("add", (0, 1)),), (2,))


def scale_of(node: Node, q: Tensor) -> float:
    """Return the given scale, or one over the root of the head's size."""
    return float(node.attribute("scale") or 0.0) or max(1, q.shape[3]) ** -0.5


def check_heads(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Refuse queries, keys and values (batch, heads, rows, size) that differ."""
    fits = q.shape[0] == k.shape[0] == v.shape[0] and k.shape[1:3] == v.shape[1:3]
    if not fits or q.shape[3] != k.shape[3] or not k.shape[1]:
        fits = False
    if not fits or q.shape[1] % k.shape[1]:
        told = f"{list(q.shape)}, {list(k.shape)} and {list(v.shape)}"
        raise Unplannable(f"{told} do not fit each other")


def floats_alike(node: Node, places: Sequence[int]) -> bool:
    """Whether inputs, as far as they are given, are floats of one type."""
    given = [node.input(place) for place in places]
    types = {dtype_of(value) for value in given if value is not None}
    return len(types) == 1 and types <= FLOATS


def _refuses_heads(node: Node) -> str:
    if node.input(9) is not None:
        return "cache_indirection is not supported"
    if used(node, 3) is not None:
        return "scores are not written"
    if not floats_alike(node, (0, 1, 2, 3, 5, 6, 7)):
        return "attention over these element types is not supported"
    if (node.input(6) is None) != (node.input(7) is None):
        return "past_key and past_value must be given together"
    return _refuses_mask(node.input(4))


def _refuses_mask(mask: Value | None) -> str:
    if mask is None or dtype_of(mask) in (INT32, INT64):
        return ""
    return "a mask that is no integers is not supported"


@plans("MultiHeadAttention", domain=MS, refuse=_refuses_heads, known=(8,))
def multi_head_attention(planner: Planner, group: Group) -> None:
    """MultiHeadAttention: projected queries, keys and values, apart or packed."""
    node = anchor_of(group)
    q, k, v = _with_bias(planner, node, _unpacked(planner, node))
    length = planner.numbers(node.input(8))
    past_key, past_value = node.input(6), node.input(7)
    k, count = _after_past(planner, used(node, 1), past_key, k, length)
    v, _ = _after_past(planner, used(node, 2), past_value, v, length)
    start = max(count, k.shape[2] - q.shape[2])
    _attended(planner, node, (q, k, v), (node.input(4), node.input(5)), count, start)


def _attended(
    planner: Planner,
    node: Node,
    parts: tuple[Tensor, Tensor, Tensor],
    masks: tuple[Value | None, Value | None],
    past: int,
    start: int,
) -> None:
    """Attend with masks of both kinds; the first query stands at key ``start``."""
    q, k, v = parts
    check_heads(q, k, v)
    shape = (*q.shape[:3], v.shape[3])
    y = result_of(planner, node.outputs[0], shape, True)
    batch, heads, rows, _ = q.shape
    scores = (batch, heads, rows, k.shape[2])
    rules = Rules(
        scale_of(node, q),
        scores_bias(planner, node, *masks, scores, past, y.dtype),
        bool(node.attribute("unidirectional", 0)),
    )
    attend(planner, Heads(q, k, v, start), y, rules)


def _unpacked(planner: Planner, node: Node) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values by heads, views wherever they can be."""
    count = node.attribute("num_heads")
    first, second = planner.tensor(node.inputs[0]), node.input(1)
    if first.rank == 5:
        q, k, v = (_packed(first, place, 3) for place in range(3))
        return q, k, v
    q = heads_of(planner, node.inputs[0], count)
    if second is None:
        raise Unplannable("there are no keys")
    both = planner.tensor(second)
    if both.rank == 5:
        k, v = (_packed(both, place, 2) for place in range(2))
    else:
        k = heads_of(planner, second, count)
        v = heads_of(planner, node.input(2), count)
    return q, k, v


def _packed(tensor: Tensor, place: int, parts: int) -> Tensor:
    """Return a part of (batch, rows, heads, parts, size) by heads."""
    if tensor.shape[3] != parts:
        raise Unplannable(f"{list(tensor.shape)} does not hold {parts} parts")
    part = tensor.sliced(3, place, 1).transposed((0, 2, 1, 4, 3))
    index = (slice(None), slice(None), slice(None), slice(None), 0)
    return part.like(part.ghost()[index], 0)


def _with_bias(
    planner: Planner, node: Node, parts: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Add the bias, in three parts; keys of four axes have theirs already."""
    value = node.input(3)
    if value is None:
        return parts
    bias = planner.tensor(value)
    sizes = [part.shape[1] * part.shape[3] for part in parts]
    if bias.shape != (sum(sizes),):
        raise Unplannable(f"a bias of {list(bias.shape)} is not [{sum(sizes)}]")
    second = node.input(1)
    packed = len(planner.shape(node.inputs[0])) == 5  # type: ignore[arg-type]
    cached = not packed and second is not None and len(planner.shape(second)) == 4
    starts = accumulate(sizes, initial=0)
    q, k, v = (
        part
        if cached and number
        else _moved(planner, part, bias.sliced(0, start, size))
        for number, (part, size, start) in enumerate(
            zip(parts, sizes, starts, strict=False)
        )
    )
    return q, k, v


def _moved(planner: Planner, part: Tensor, bias: Tensor) -> Tensor:
    """Return heads with a bias added."""
    own = planner.reshape(bias, (part.shape[1], 1, part.shape[3]))
    made = planner.new(part.dtype, part.shape, (0, 2, 1, 3))
    planner.launch(elementwise(_SUM, [part, own.broadcast(part.shape)], [made]))
    return made


def _after_past(
    planner: Planner,
    shown: Value | None,
    before: Value | None,
    new: Tensor,
    length: Sequence[int] | None,
) -> tuple[Tensor, int]:
    """Return all keys or values, and how many of them are past."""
    if before is None:
        if shown is not None:
            planner.define(shown, new)
        return new, 0
    past = planner.tensor(before)
    if length is None:
        return joined(planner, shown, [past, new], new), past.shape[2]
    count, rows = length[0], new.shape[2]
    if not 0 <= count <= count + rows <= past.shape[2]:
        raise Unplannable(f"a cache of {past.shape[2]} cannot hold {count + rows} keys")
    made = (
        planner.new(new.dtype, past.shape)
        if shown is None
        else planner.result(shown, past.shape)
    )
    past, new = (planner.typed(tensor, made.dtype) for tensor in (past, new))
    planner.launch(append(past, new, made, more=count, keep=True))
    return made.sliced(2, 0, count + rows), count


def _refuses_projection(node: Node) -> str:
    if node.attribute("do_rotary", 0):
        return "do_rotary of Attention is not supported"
    if not floats_alike(node, (0, 1, 2, 4, 5)):
        return "attention over these element types is not supported"
    weights = node.input(1)
    if weights is None or weights.shape is None or len(weights.shape) != 2:
        return "weights that are no matrix are not supported"
    return _refuses_mask(node.input(3))


@plans("Attention", domain=MS, refuse=_refuses_projection, known=(6,))
def attention(planner: Planner, group: Group) -> None:
    """Attention: one product for queries, keys and values, then attention over them."""
    node = anchor_of(group)
    made = _projected(planner, node)
    total, count = made.shape[2], node.attribute("num_heads")
    sizes = tuple(node.attribute("qkv_hidden_sizes") or (total // 3,) * 3)
    if len(sizes) != 3 or sum(sizes) != total or any(n % count for n in sizes):
        raise Unplannable(f"{list(sizes)} is not {total} in heads of {count}")
    q, k, v = (
        _by_heads(planner, made.sliced(2, start, size), count)
        for size, start in zip(sizes, accumulate(sizes, initial=0), strict=False)
    )
    k, v, past = _with_cache(planner, node, k, v)
    _attended(planner, node, (q, k, v), (node.input(3), node.input(5)), past, past)


def _by_heads(planner: Planner, part: Tensor, count: int) -> Tensor:
    batch, rows, width = part.shape
    apart = planner.reshape(part, (batch, rows, count, width // count))
    return apart.transposed((0, 2, 1, 3))


def _projected(planner: Planner, node: Node) -> Tensor:
    """Return the input times the weights, with the bias: (batch, rows, columns)."""
    dtype = planner.storage(node.outputs[0])
    x, w = (planner.typed(planner.tensor(v), dtype) for v in node.inputs[:2])
    if x.rank != 3 or x.shape[2] != w.shape[0]:
        raise Unplannable(f"{list(x.shape)} by {list(w.shape)} is no product")
    rows, columns = x.shape[0] * x.shape[1], w.shape[1]
    y = planner.new(dtype, (1, rows, columns))
    if not y.size:
        raise Unplannable("attention without elements")
    value, before = node.input(2), []
    if value is not None:
        bias = planner.typed(planner.tensor(value), dtype)
        before = [Follower((Pointwise("add"),), bias.broadcast((1, rows, columns)))]
    a, b = planner.reshape(x, (1, rows, x.shape[2])), w.broadcast((1, *w.shape))
    tf32 = planner.setting.tf32 and dtype.name == "float32"
    bare = Product(Spec.of(a), Spec.of(b), Spec.of(y), tf32=tf32)
    done = epilogue.call(planner, bare, [a, b], before, [], lambda _: (y, y))
    if done is None:
        raise Unplannable(f"no library multiplies {list(x.shape)} of {dtype}")
    return planner.reshape(y, (*x.shape[:2], columns))


def _with_cache(
    planner: Planner, node: Node, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor, int]:
    """Return all keys and values, which are halves of one tensor where they are shown."""
    before, shown = node.input(4), used(node, 1)
    if before is None and shown is None:
        return k, v, 0
    past = None if before is None else planner.tensor(before)
    room = 0 if past is None else past.shape[3]
    count = room
    shared = node.attribute("past_present_share_buffer", 0) and past is not None
    if shared:
        count = (planner.numbers(node.input(6)) or [room])[0]
    total = count + k.shape[2]
    if k.shape != v.shape or (shared and total > room):
        raise Unplannable(f"{list(k.shape)} and {list(v.shape)} do not go on the past")
    shape = (2, *k.shape[:2], room if shared else total, k.shape[3])
    made = planner.new(k.dtype, shape)
    if shown is not None:
        made = planner.result(shown, shape)
    halves = []
    for place, new in enumerate((k, v)):
        half = _half(made, place)
        old = None if past is None else planner.typed(_half(past, place), made.dtype)
        new = planner.typed(new, made.dtype)
        if old is None:
            planner.launch(movement.copy(new, half))
        else:
            planner.launch(append(old, new, half, more=count, keep=True))
        halves.append(half.sliced(2, 0, total))
    return halves[0], halves[1], count


def _half(both: Tensor, place: int) -> Tensor:
    part = both.sliced(0, place, 1)
    return part.like(part.ghost()[0], 0)
