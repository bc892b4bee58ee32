"""Work along rows: Softmax and the normalizations, with what comes before and after."""

from __future__ import annotations

from runtime.graph import Node, Value

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import rows
from runtime_ep_cuda.codegen.expression import SAME, Expression, Instruction
from runtime_ep_cuda.express import express
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner, broadcast
from runtime_ep_cuda.steps.elementwise import finish, likely_order, value_after
from runtime_ep_cuda.steps.product import of_floats
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of, axis_of
from runtime_ep_cuda.tensor import Tensor

MS = "com.microsoft"


def read(
    planner: Planner, group: Group, place: int = 0
) -> tuple[Expression, list[Tensor], tuple[int, ...]]:
    """Return what makes an anchor's first input, from which tensors, and its shape."""
    value = anchor_of(group).inputs[place]
    if value is None:
        raise Unplannable("an input is missing")
    if not group.before:
        tensor = planner.tensor(value)
        return SAME, [tensor], tensor.shape
    expression, operands = express(group.before, [value])
    tensors = [planner.tensor(operand) for operand in operands]
    return expression, tensors, broadcast([t.shape for t in tensors])


def written(
    planner: Planner, group: Group, shape: tuple[int, ...]
) -> tuple[Expression, list[Tensor], int]:
    """Return what makes the group's result of the anchor's, and how many nodes that are."""
    if not group.after:
        return SAME, [], 0
    first = value_after(group, 0)
    expression, operands = express(group.after, [group.after[-1].outputs[0]], [first])
    further = [planner.tensor(operand) for operand in operands[1:]]
    if broadcast([shape, *(tensor.shape for tensor in further)]) != shape:
        return SAME, [], 0
    return expression, further, len(group.after)


def used(node: Node, place: int) -> Value | None:
    """Return an output that somebody may read, else ``None``."""
    if place >= len(node.outputs):
        return None
    value = node.outputs[place]
    return value if value.name or value.uses else None


@plans("Softmax", "LogSoftmax", refuse=of_floats, since=13, before=True, after=True)
def softmax(planner: Planner, group: Group) -> None:
    """Softmax and LogSoftmax along one axis."""
    node = anchor_of(group)
    before, operands, shape = read(planner, group)
    axis = axis_of(node.attribute("axis", -1), len(shape))
    after, further, done = written(planner, group, shape)
    order = likely_order(operands, shape)
    value = value_after(group, done)
    y = planner.result(value, shape, planner.order_for(value, order))
    planner.launch(
        rows.softmax(
            before,
            operands,
            y,
            axis,
            log=node.op_type == "LogSoftmax",
            after=after,
            further=further,
        )
    )
    finish(planner, group, done)


@plans("LayerNormalization", refuse=of_floats, before=True, after=True)
def layer_normalization(planner: Planner, group: Group) -> None:
    """LayerNormalization; mean and deviation are written where somebody reads them."""
    node = anchor_of(group)
    before, operands, shape = read(planner, group)
    axis = axis_of(node.attribute("axis", -1), len(shape))
    after, further, done = written(planner, group, shape)
    y = planner.result(value_after(group, done), shape)
    short = (*shape[:axis], *(1,) * (len(shape) - axis))
    mean, inverse = (
        None if value is None else planner.result(value, short)
        for value in (used(node, 1), used(node, 2))
    )
    bias = node.input(2)
    planner.launch(
        rows.layer_norm(
            before,
            operands,
            planner.tensor(node.inputs[1]),
            None if bias is None else planner.tensor(bias),
            y,
            range(axis, len(shape)),
            node.attribute("epsilon", 1e-5),
            after=after,
            further=further,
            mean=mean,
            inverse=inverse,
        )
    )
    finish(planner, group, done)


@plans("RMSNormalization", refuse=of_floats, before=True, after=True)
def rms_normalization(planner: Planner, group: Group) -> None:
    """RMSNormalization: by the root of the mean square."""
    before, operands, shape = read(planner, group)
    node = anchor_of(group)
    axis = axis_of(node.attribute("axis", -1), len(shape))
    after, further, done = written(planner, group, shape)
    y = planner.result(value_after(group, done), shape)
    planner.launch(
        rows.rms_norm(
            before,
            operands,
            planner.tensor(node.inputs[1]),
            y,
            range(axis, len(shape)),
            node.attribute("epsilon", 1e-5),
            after=after,
            further=further,
        )
    )
    finish(planner, group, done)


_SKIP = Expression(2, (Instruction("add", (0, 1)),), (2,))
_SKIP_BIAS = Expression(
    3, (Instruction("add", (0, 1)), Instruction("add", (3, 2))), (4,)
)


def _skips(node: Node) -> str:
    if used(node, 1) or used(node, 2):
        return "statistics are not written"
    return of_floats(node)


@plans("SkipLayerNormalization", domain=MS, refuse=_skips, after=True)
@plans("SkipSimplifiedLayerNormalization", domain=MS, refuse=_skips, after=True)
def skip_layer_normalization(planner: Planner, group: Group) -> None:
    """SkipLayerNormalization of com.microsoft: a sum, normalized, and the sum itself."""
    node = anchor_of(group)
    plain = node.op_type == "SkipLayerNormalization"
    x, skip, scale = (planner.tensor(value) for value in node.inputs[:3])
    beta, bias = (node.input(3), node.input(4)) if plain else (None, node.input(3))
    operands = [x, skip] if bias is None else [x, skip, planner.tensor(bias)]
    after, further, done = written(planner, group, x.shape)
    y = planner.result(value_after(group, done), x.shape)
    total = used(node, 3)
    extras: rows.Extras = {
        "after": after,
        "further": further,
        "total": None if total is None else planner.result(total, x.shape),
    }
    before = _SKIP if bias is None else _SKIP_BIAS
    epsilon, axes = node.attribute("epsilon", 1e-12), [x.rank - 1]
    if plain:
        offset = None if beta is None else planner.tensor(beta)
        made = rows.layer_norm(
            before, operands, scale, offset, y, axes, epsilon, **extras
        )
    else:
        made = rows.rms_norm(before, operands, scale, y, axes, epsilon, **extras)
    planner.launch(made)
    finish(planner, group, done)
