"""One spelling per operator: nodes of old opsets say the same in the newest one.

Cases:

1. The operator has not changed, or only by more types and optional parts since the opset
   the node is written for: the node is declared to be of the newest.
2. Attributes became inputs, or names and defaults changed: the node is rewritten, see
   `runtime.passes.spellings`, where that says exactly the same.
3. Synonyms: Upsample is Resize, Scatter is ScatterElements, CastLike is Cast, Sum of two
   is Add, and a variadic operator of one input is Identity.

Everything else stays at the version it is written for.
"""

from __future__ import annotations

from runtime.graph import Graph, Node
from runtime.opsets import is_current
from runtime.passes import spellings as old
from runtime.passes.scope import Scope


def run(graph: Graph, scope: Scope) -> int:
    """Rewrite every node of the standard's domain; return how many changed."""
    changes = 0
    for node in graph:
        if node.domain:
            continue
        if node.version != scope.version:
            changes += _modernize(node, scope)
        synonym = _SYNONYMS.get(node.op_type)
        if synonym is not None and synonym(node, scope):
            node.version = scope.version
            changes += 1
    return changes


def _modernize(node: Node, scope: Scope) -> bool:
    if is_current(node):
        node.version = scope.version
        return False
    limit, spelling = _OLD.get(node.op_type, (0, old.concat))
    if node.version >= limit or not spelling(node, scope):
        return False
    node.version = scope.version
    return True


_CONSUMED = old.dropping("consumed_inputs")
_OLD: dict[str, tuple[int, old.Spelling]] = {
    **dict.fromkeys(
        (
            *("Abs", "Ceil", "Elu", "Exp", "Floor", "HardSigmoid", "LeakyRelu", "Log"),
            *("InstanceNormalization", "Max", "Mean", "Min", "Neg", "Reciprocal"),
            *("Relu", "Sigmoid", "Sqrt", "Sum", "Tanh"),
        ),
        (6, _CONSUMED),
    ),
    **dict.fromkeys(
        (
            *("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor"),
            *("Equal", "Greater", "Less"),
        ),
        (7, old.broadcast),
    ),
    **{
        f"Reduce{name}": (18, old.axes)
        for name in (
            *("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum"),
            "SumSquare",
        )
    },
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), (13, old.softmax)),
    "BatchNormalization": (14, old.batch_normalization),
    "Cast": (6, old.cast),
    "Clip": (11, old.clip),
    "Concat": (4, old.concat),
    "ConvTranspose": (11, old.conv_transpose),
    "DFT": (20, old.dft),
    "Dropout": (12, old.dropout),
    "Gemm": (7, old.dropping("broadcast")),
    "GlobalLpPool": (2, old.lp_pool),
    "GridSample": (20, old.grid_sample),
    "LpPool": (2, old.lp_pool),
    "PRelu": (7, old.prelu),
    "Pad": (11, old.pad),
    "Reshape": (5, old.reshape),
    "Resize": (13, old.resize),
    "RoiAlign": (16, old.roi_align),
    "Slice": (10, old.slice_),
    "Split": (18, old.split),
    "Squeeze": (13, old.axes),
    "Tile": (6, old.tile),
    "TopK": (10, old.topk),
    "Unsqueeze": (13, old.axes),
}
"""Rewritings by operator, each for nodes written before an opset."""

_SYNONYMS: dict[str, old.Spelling] = {
    "Upsample": old.upsample,
    "Scatter": old.scatter,
    "CastLike": old.cast_like,
    "Sum": old.variadic,
    "Mean": old.variadic,
    "Max": old.variadic,
    "Min": old.variadic,
}
