"""Normalizations of com.microsoft: of images with channels last, of embeddings."""

from __future__ import annotations

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import gather as reading
from runtime_ep_cuda.codegen import group_norm as kernels
from runtime_ep_cuda.codegen import movement, rows
from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import SAME, Expression, Instruction
from runtime_ep_cuda.codegen.reduction import reduce, reduction_scratch
from runtime_ep_cuda.dtypes import FLOATS, INT32, INT64, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner, broadcast
from runtime_ep_cuda.steps.product import of_floats
from runtime_ep_cuda.steps.rows import rms_normalization, used
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.tensor import Buffer, Tensor

MS = "com.microsoft"

_SWISH = Expression(1, (Instruction("swish", (0,)),), (1,))


def _of_images(node: Node) -> str:
    if not {dtype_of(v) for v in node.inputs if v is not None} <= FLOATS:
        return f"{node.op_type} of these element types is not supported"
    if node.attribute("activation", 0) not in (0, 1):
        return f"this activation of {node.op_type} is not supported"
    return ""


def _refuses_rms(node: Node) -> str:
    if used(node, 1) is not None:
        return "statistics are not written"
    return of_floats(node)


def _simplified(planner: Planner, group: Group) -> None:
    """SimplifiedLayerNormalization: RMSNormalization by its former name."""
    rms_normalization(planner, group)


for _domain in ("", MS):
    plans(
        "SimplifiedLayerNormalization",
        domain=_domain,
        refuse=_refuses_rms,
        before=True,
        after=True,
    )(_simplified)


@plans("GroupNorm", domain=MS, refuse=_of_images)
def group_norm(planner: Planner, group: Group) -> None:
    """GroupNorm: images with channels last unless it is said, and a Swish behind."""
    node = anchor_of(group)
    x = planner.tensor(node.inputs[0])
    scale, bias = (planner.tensor(value) for value in node.inputs[1:3])
    _normalized(planner, node, x, scale, bias)


def _normalized(
    planner: Planner, node: Node, x: Tensor, scale: Tensor, bias: Tensor
) -> None:
    last = bool(node.attribute("channels_last", 1))
    groups = node.attribute("groups", 32)
    y = planner.result(node.outputs[0], x.shape)
    inward = (0, x.rank - 1, *range(1, x.rank - 1))
    seen, made = (t.transposed(inward) if last else t for t in (x, y))
    if seen.rank < 3 or not seen.size or seen.shape[1] % groups:
        raise Unplannable(f"{list(x.shape)} is not normalized in {groups} groups")
    size = kernels.group_norm_scratch(seen, made, groups)
    planner.launch(
        kernels.group_norm(
            seen,
            scale,
            bias,
            made,
            groups,
            node.attribute("epsilon", 1e-5),
            after=_SWISH if node.attribute("activation", 0) else SAME,
            scratch=Tensor.dense(Buffer(size), "uint8", (size,)) if size else None,
        )
    )


def _total(count: int) -> Expression:
    """Return the sum of so many operands."""
    steps = tuple(
        Instruction("add", (0 if i == 1 else count + i - 2, i)) for i in range(1, count)
    )
    return Expression(count, steps, (2 * count - 2,))


@plans("SkipGroupNorm", domain=MS, refuse=_of_images)
def skip_group_norm(planner: Planner, group: Group) -> None:
    """SkipGroupNorm: GroupNorm of a sum, which is a result, too."""
    node = anchor_of(group)
    x, scale, bias, skip = (planner.tensor(value) for value in node.inputs[:4])
    operands = [x, _spread(skip, x)]
    if node.input(4) is not None:
        operands.append(planner.tensor(node.input(4)))
    shown = used(node, 1)
    dtype = planner.storage(node.outputs[0])
    total = (
        planner.new(dtype, x.shape) if shown is None else planner.result(shown, x.shape)
    )
    planner.launch(elementwise(_total(len(operands)), operands, [total]))
    _normalized(planner, node, total, scale, bias)


def _spread(skip: Tensor, x: Tensor) -> Tensor:
    """Return what is added, (N, C) for all pixels of an image."""
    if skip.rank == 2 and x.rank == 4:
        index = (slice(None), None, None)
        return skip.like(skip.ghost()[index], 0)
    broadcast([skip.shape, x.shape])
    return skip


@plans("BiasSplitGelu", domain=MS, refuse=of_floats)
def bias_split_gelu(planner: Planner, group: Group) -> None:
    """BiasSplitGelu: one half of a sum times the Gelu of the other."""
    node = anchor_of(group)
    x, bias = (planner.tensor(value) for value in node.inputs)
    half = x.shape[-1] // 2
    if bias.shape != x.shape[-1:] or x.shape[-1] % 2:
        raise Unplannable(f"{list(x.shape)} and {list(bias.shape)} are no halves")
    operands = [t.sliced(t.rank - 1, at, half) for at in (0, half) for t in (x, bias)]
    steps = (
        Instruction("add", (0, 1)),
        Instruction("add", (2, 3)),
        Instruction("gelu", (5,)),
        Instruction("multiply", (4, 6)),
    )
    y = planner.result(node.outputs[0], (*x.shape[:-1], half))
    planner.launch(elementwise(Expression(4, steps, (7,)), operands, [y]))


def _of_words(node: Node) -> str:
    whole = [node.input(place) for place in (0, 1, 7, 8)]
    if any(v is not None and dtype_of(v) not in (INT32, INT64) for v in whole):
        return "words that are no integers are not supported"
    types = {dtype_of(v) for v in node.inputs[2:7] if v is not None}
    return "" if types <= FLOATS else "these embeddings are not supported"


@plans("EmbedLayerNormalization", domain=MS, refuse=_of_words)
def embed_layer_normalization(planner: Planner, group: Group) -> None:
    """EmbedLayerNormalization: words, positions and segments, normalized as one sum."""
    node = anchor_of(group)
    ids = planner.tensor(node.inputs[0])
    if ids.rank != 2:
        raise Unplannable(f"words of {list(ids.shape)} are no sequences")
    parts = [_chosen(planner, node.input(2), ids), _placed(planner, node, ids)]
    if node.input(1) is not None and node.input(4) is not None:
        parts.append(_chosen(planner, node.input(4), planner.tensor(node.input(1))))
    shape = (*ids.shape, parts[0].shape[-1])
    broadcast([shape, *(part.shape for part in parts)])
    beta, total = node.input(6), used(node, 2)
    y = planner.result(node.outputs[0], shape)
    planner.launch(
        rows.layer_norm(
            _total(len(parts)),
            parts,
            planner.tensor(node.inputs[5]),
            None if beta is None else planner.tensor(beta),
            y,
            [2],
            node.attribute("epsilon", 1e-12),
            total=None if total is None else planner.result(total, shape),
        )
    )
    shown = used(node, 1)
    if shown is not None:
        _counted(planner, node.input(7), planner.result(shown, ids.shape[:1]))


def _chosen(planner: Planner, table: Value | None, ids: Tensor) -> Tensor:
    """Return rows of embeddings."""
    rows_of = planner.tensor(table)
    made = planner.new(rows_of.dtype, (*ids.shape, *rows_of.shape[1:]))
    planner.launch(reading.gather(rows_of, ids, made, 0))
    return made


def _placed(planner: Planner, node: Node, ids: Tensor) -> Tensor:
    """Return the embeddings of positions: given ones, or the first rows in order."""
    if node.input(8) is not None:
        return _chosen(planner, node.input(3), planner.tensor(node.input(8)))
    table = planner.tensor(node.input(3))
    if table.rank != 2 or ids.shape[1] > table.shape[0]:
        raise Unplannable(f"{ids.shape[1]} words have no {list(table.shape)} places")
    return table.sliced(0, 0, ids.shape[1])


def _counted(planner: Planner, mask: Value | None, y: Tensor) -> None:
    """Count the ones in each row of a mask; none without a mask."""
    if mask is None:
        planner.launch(movement.fill(y, 0))
        return
    marks = planner.tensor(mask)
    steps = (
        Instruction("convert", (0,), (("type", "int32"),)),
        Instruction("constant", (), (("type", "int32"), ("value", 1))),
        Instruction("equal", (1, 2)),
        Instruction("convert", (3,), (("type", "int32"),)),
    )
    size = reduction_scratch([marks], y, marks.shape, [1])
    scratch = Tensor.dense(Buffer(size), np.uint8, (size,)) if size else None
    ones = Expression(1, steps, (4,))
    planner.launch(reduce("sum", ones, [marks], y, marks.shape, [1], scratch=scratch))
