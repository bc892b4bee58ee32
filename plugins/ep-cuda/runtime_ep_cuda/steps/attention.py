"""Attention: by cuDNN where it takes it, else by a kernel of our own.

Heads are views: queries, keys and values of (batch, rows, heads · size) are read where
they lie, and the result is written in the layout that what follows reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import attention as own
from runtime_ep_cuda.codegen import movement
from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import Expression, Instruction
from runtime_ep_cuda.codegen.reduction import reduce, reduction_scratch
from runtime_ep_cuda.dtypes import BOOL, FLOAT, FLOATS, HALF, INT64, NARROW, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.operations import Attention, Call, Spec
from runtime_ep_cuda.planner import Planner, broadcast
from runtime_ep_cuda.steps.rows import used
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.tensor import Buffer, Tensor

_INFINITE = float("-inf")


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """Queries, keys and values as (batch, heads, rows, size), and what was before them.

    ``past`` is how many keys there were before the first query's own; ``valid`` are the
    counts of each image's keys that are no padding, int64 (batch,).
    """

    q: Tensor
    k: Tensor
    v: Tensor
    past: int = 0
    valid: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """How scores are made, and who may attend whom.

    ``left`` and ``right`` bound the distance between a query and a key, -1 does not.
    ``source`` is the value that the mask is, where it is one. ``sink`` are numbers of
    heads, each beside its scores in the softmax.
    """

    scale: float
    mask: Tensor | None = None
    causal: bool = False
    softcap: float = 0.0
    left: int = -1
    right: int = -1
    source: Value | None = None
    sink: Tensor | None = None

    @property
    def is_plain(self) -> bool:
        """Whether a library knows all of it."""
        bounded = self.left != -1 or self.right != -1
        return not self.softcap and not bounded and self.sink is None


def _refuses(node: Node) -> str:
    types = {dtype_of(node.input(place)) for place in range(3)}
    if len(types) != 1 or not types <= FLOATS:
        return "attention over these element types is not supported"
    if used(node, 3) is not None:
        return "scores are not written"
    mask = node.input(3)
    if mask is not None and dtype_of(mask) not in FLOATS | {BOOL}:
        return "a mask of integers is not supported"
    return ""


@plans("Attention", refuse=_refuses, since=23)
def attention(planner: Planner, group: Group) -> None:
    """Attention of ai.onnx, with past keys and values."""
    node = anchor_of(group)
    q = heads_of(planner, node.inputs[0], node.attribute("q_num_heads"))
    k = heads_of(planner, node.inputs[1], node.attribute("kv_num_heads"))
    v = heads_of(planner, node.inputs[2], node.attribute("kv_num_heads"))
    heads = _with_past(planner, node, Heads(q, k, v))
    shape = (*heads.q.shape[:3], heads.v.shape[3])
    flat = len(planner.shape(node.inputs[0])) == 3  # type: ignore[arg-type]
    y = result_of(planner, node.outputs[0], shape, flat)
    scale = node.attribute("scale")
    rules = Rules(
        heads.q.shape[3] ** -0.5 if scale is None else float(scale),
        _mask(planner, node, (*shape[:3], heads.k.shape[2])),
        bool(node.attribute("is_causal", 0)),
        float(node.attribute("softcap", 0.0)),
        node.attribute("left_window_size", -1),
        node.attribute("right_window_size", -1),
        node.input(3),
    )
    attend(planner, heads, y, rules)


def heads_of(planner: Planner, value: Value | None, count: int | None) -> Tensor:
    """Return an operand as (batch, heads, rows, size): a view wherever it can be."""
    tensor = planner.tensor(value)
    if tensor.rank == 3:
        batch, rows, width = tensor.shape
        if not count or width % count:
            raise Unplannable(
                f"{list(tensor.shape)} does not divide into {count} heads"
            )
        apart = planner.reshape(tensor, (batch, rows, count, width // count))
        tensor = apart.transposed((0, 2, 1, 3))
    if tensor.rank != 4:
        raise Unplannable(f"{list(tensor.shape)} has no heads")
    if tensor.shape[3] > 1 and tensor.strides[3] != 1:
        tensor = planner.copy(tensor)
    return tensor


def result_of(
    planner: Planner, value: Value, shape: tuple[int, ...], flat: bool
) -> Tensor:
    """Return where the result goes, by heads; rows lie outside heads unless it is given out."""
    batch, heads, rows, size = shape
    if flat:
        made = planner.result(value, (batch, rows, heads * size))
        apart = made.reshaped((batch, rows, heads, size))
        if apart is None:
            raise Unplannable(f"{list(made.shape)} does not come apart")
        return apart.transposed((0, 2, 1, 3))
    order = planner.order_for(value, (0, 2, 1, 3))
    return planner.result(value, shape, order)


def _with_past(planner: Planner, node: Node, heads: Heads) -> Heads:
    """Put past keys and values before the new ones, where they are given or wanted."""
    found = []
    for index, new in enumerate((heads.k, heads.v)):
        before, shown = node.input(4 + index), used(node, 1 + index)
        if before is None and shown is None:
            found.append(new)
            continue
        parts = [new] if before is None else [planner.tensor(before), new]
        found.append(joined(planner, shown, parts, new))
    past = node.input(4)
    count = 0 if past is None else planner.shape(past)[2]
    counts = node.input(6)
    valid = None if counts is None else planner.typed(planner.tensor(counts), INT64)
    made = Heads(heads.q, found[0], found[1], count, valid)
    _check(made)
    return made


def joined(
    planner: Planner, value: Value | None, parts: Sequence[Tensor], like: Tensor
) -> Tensor:
    """Return keys or values one after the other along their rows."""
    batch, heads, _, size = like.shape
    for part in parts:
        if (part.shape[0], part.shape[1], part.shape[3]) != (batch, heads, size):
            raise Unplannable(
                f"{list(part.shape)} does not go on as {list(like.shape)}"
            )
    shape = (batch, heads, sum(part.shape[2] for part in parts), size)
    made = (
        planner.new(like.dtype, shape)
        if value is None
        else planner.result(value, shape)
    )
    planner.launch(movement.concat(parts, 2, made))
    return made


def _check(heads: Heads) -> None:
    q, k, v = heads.q.shape, heads.k.shape, heads.v.shape
    fits = q[0] == k[0] == v[0] and k[1:3] == v[1:3] and q[3] == k[3]
    if not fits or not k[1] or q[1] % k[1]:
        raise Unplannable(f"{list(q)}, {list(k)} and {list(v)} do not fit each other")


def _mask(planner: Planner, node: Node, scores: tuple[int, ...]) -> Tensor | None:
    """Return the mask, seen with the scores' shape."""
    value = node.input(3)
    if value is None:
        return None
    mask = planner.tensor(value)
    last = mask.shape[-1] if mask.rank else 1
    if last != scores[-1] and (last != 1 or node.version >= 24):
        mask = _padded(planner, mask, scores[-1])
    if broadcast([mask.shape, scores]) != scores:
        raise Unplannable(f"a mask of {list(mask.shape)} does not fit {list(scores)}")
    return mask.broadcast(scores)


def _padded(planner: Planner, mask: Tensor, keys: int) -> Tensor:
    """Return a mask that hides the keys it does not mention."""
    if not mask.rank or mask.shape[-1] > keys:
        raise Unplannable(f"a mask of {list(mask.shape)} does not fit {keys} keys")
    made = planner.new(mask.dtype, (*mask.shape[:-1], keys))
    hidden = False if mask.dtype == BOOL else _INFINITE
    zeros = (0,) * mask.rank
    planner.launch(movement.pad(mask, made, zeros, "constant", hidden))
    return made


def attend(planner: Planner, heads: Heads, y: Tensor, rules: Rules) -> None:
    """Plan attention over heads: by a library, or by our own kernel."""
    if not y.size:
        return
    if not heads.k.shape[2]:
        planner.launch(movement.fill(y, 0))
        return
    q, k, v = (planner.typed(t, y.dtype) for t in (heads.q, heads.k, heads.v))
    heads = Heads(q, k, v, heads.past, heads.valid)
    may = y.dtype in NARROW or (y.dtype == FLOAT and planner.setting.tf32)
    if may and rules.is_plain and _by_library(planner, heads, y, rules):
        return
    size = own.attention_scratch(q, k, v)
    planner.launch(
        own.attention(
            q,
            k,
            v,
            y,
            rules.scale,
            mask=rules.mask,
            causal=rules.causal,
            past=heads.past,
            left=rules.left,
            right=rules.right,
            valid=heads.valid,
            softcap=rules.softcap,
            sink=rules.sink,
            scratch=Tensor.dense(Buffer(size), "uint8", (size,)) if size else None,
        )
    )


def _by_library(planner: Planner, heads: Heads, y: Tensor, rules: Rules) -> bool:
    """Have cuDNN attend, if it may; a mask of truth values becomes one to add."""
    q, k, v, past = heads.q, heads.k, heads.v, heads.past
    if heads.valid is not None or (past and q.shape[2] + past != k.shape[2]):
        return False
    if rules.causal and rules.mask is not None:
        return False  # together they may hide every key, which nobody would notice
    side = ""
    if rules.causal and not (past and q.shape[2] == 1):
        side = "bottom_right" if past else "top_left"
    bias = None if rules.mask is None else _shrunk(rules.mask)
    spec = None if bias is None else _as_bias(bias, y)
    operation = Attention(
        Spec.of(q),
        Spec.of(k),
        Spec.of(v),
        Spec.of(y),
        rules.scale,
        side,
        spec,
        tf32=y.dtype == FLOAT,
    )
    if not planner.can(operation):
        return False
    mask = bias
    if bias is not None and Spec.of(bias) != spec:
        bias = _once(planner, rules, "to be added", bias, y, _added)
    inputs = (q, k, v) if bias is None else (q, k, v, bias)
    if not planner.call(Call(operation, inputs, y)):
        return False
    if mask is not None and not _shows_something(planner, rules):
        _clear(planner, _once(planner, rules, "most shown", mask, y, _shown), mask, y)
    return True


Make = Callable[[Planner, Tensor, Tensor], Tensor]


def _once(
    planner: Planner, rules: Rules, word: str, mask: Tensor, y: Tensor, make: Make
) -> Tensor:
    """Return what is made of a mask, by the first of all layers that share it."""
    if rules.source is None:
        return make(planner, mask, y)
    word = f"{word} {y.dtype} {mask.shape}"
    return planner.derived(word, rules.source, lambda: make(planner, mask, y))


def _shows_something(planner: Planner, rules: Rules) -> bool:
    """Whether it is known that a mask leaves every query a key."""
    known = planner.known(rules.source)
    if known is None or not known.size:
        return False
    lowest = False if known.dtype == BOOL else _INFINITE
    return bool((known != lowest).any(axis=-1).all())


def _shown(planner: Planner, mask: Tensor, y: Tensor) -> Tensor:
    """Return the largest element of each of a mask's rows."""
    made = planner.new(FLOAT, (*mask.shape[:3], 1))
    steps = (Instruction("convert", (0,), (("type", "float32"),)),)
    size = reduction_scratch([mask], made, mask.shape, [3])
    scratch = Tensor.dense(Buffer(size), "uint8", (size,)) if size else None
    as_float = Expression(1, steps, (1,))
    planner.launch(
        reduce("max", as_float, [mask], made, mask.shape, [3], scratch=scratch)
    )
    return made


def _clear(planner: Planner, shown: Tensor, mask: Tensor, y: Tensor) -> None:
    """Make the results of queries that may attend no key zero, as the standard says."""
    lowest = 0.0 if mask.dtype == BOOL else _INFINITE
    steps = (
        Instruction("constant", (), (("type", "float32"), ("value", lowest))),
        Instruction("constant", (), (("type", "float32"), ("value", 0.0))),
        Instruction("equal", (0, 2)),
        Instruction("where", (4, 3, 1)),
    )
    planner.launch(elementwise(Expression(2, steps, (5,)), [shown, y], [y]))


def _shrunk(mask: Tensor) -> Tensor:
    """Return a mask without the elements that repeat along its outer axes."""
    for axis in range(2):
        if mask.strides[axis] == 0:
            mask = mask.sliced(axis, 0, 1)
    return mask


def _as_bias(mask: Tensor, y: Tensor) -> Spec:
    """Return what a mask is once it can be added."""
    if mask.dtype == y.dtype and mask.strides[3] == 1:
        return Spec.of(mask)
    return Spec.of(Tensor.dense(Buffer(0), y.dtype, mask.shape))


def _added(planner: Planner, mask: Tensor, y: Tensor) -> Tensor:
    """Return numbers to add: 0 where a mask lets through, else minus infinity.

    What a half cannot hold is as low as it can be, so that rows of it stay numbers.
    """
    made = planner.new(y.dtype, mask.shape)
    if mask.dtype != BOOL:
        floor = float(np.finfo(np.float16).min) if y.dtype == HALF else _INFINITE
        lowered = (
            Instruction("constant", (), (("type", "float32"), ("value", floor))),
            Instruction("maximum", (0, 1)),
        )
        planner.launch(elementwise(Expression(1, lowered, (2,)), [mask], [made]))
        return made
    steps = (
        Instruction("constant", (), (("type", "float32"), ("value", 0.0))),
        Instruction("constant", (), (("type", "float32"), ("value", _INFINITE))),
        Instruction("where", (0, 1, 2)),
    )
    planner.launch(elementwise(Expression(1, steps, (3,)), [mask], [made]))
    return made
