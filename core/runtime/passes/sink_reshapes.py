"""A reshape between a product and the activation of it moves behind the activation.

``relu(reshape(gemm(x)))`` becomes ``reshape(relu(gemm(x)))``: providers that compute
activations where products are made then find one there.
"""

from __future__ import annotations

from runtime.graph import Graph, Node, Value
from runtime.passes.edit import Draft, is_public, substitute, sweep
from runtime.passes.scope import Scope

_RESHAPES = frozenset(("Reshape", "Flatten", "Squeeze", "Unsqueeze"))
_PRODUCTS = frozenset(("MatMul", "Gemm", "Conv", "ConvTranspose", "Add"))
"""What makes the value that is reshaped; a sum may be a product with its bias."""

_ACTIVATIONS = frozenset(
    ("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Swish", "HardSwish", "Mish",
     "Sigmoid", "HardSigmoid", "Softplus", "Softsign", "Tanh", "ThresholdedRelu")
)  # fmt: skip


def run(graph: Graph, scope: Scope) -> int:
    """Move what can be moved in one graph; return how many."""
    changes = 0
    for node in tuple(graph):
        activation = node
        while (reshape := _reshape_before(activation)) is not None:
            activation = _swap(reshape, activation, scope)
            changes += 1
    return changes


def _reshape_before(node: Node) -> Node | None:
    """Return the reshape an activation is of, if both may change places."""
    if node.domain or node.op_type not in _ACTIVATIONS or len(node.inputs) != 1:
        return None
    reshape = _maker(node)
    if reshape is None or reshape.op_type not in _RESHAPES:
        return None
    maker = _maker(reshape)
    while maker is not None and maker.op_type in _RESHAPES:
        maker = _maker(maker)
    return reshape if maker is not None and maker.op_type in _PRODUCTS else None


def _maker(node: Node) -> Node | None:
    """Return the node whose only result, which nobody else reads, a node reads first."""
    value = node.inputs[0]
    maker = None if value is None else value.producer
    if maker is None or maker.graph is not node.graph or maker.domain:
        return None
    return maker if len(maker.outputs) == 1 and _is_read_by(maker, node) else None


def _is_read_by(maker: Node, reader: Node) -> bool:
    """Whether nobody but one node reads what another has made, and that once."""
    value = maker.outputs[0]
    return not is_public(value) and [node for node, _ in value.uses] == [reader]


def _swap(reshape: Node, activation: Node, scope: Scope) -> Node:
    """Return the activation of what was reshaped, which is reshaped behind it."""
    source, *rest = reshape.inputs
    draft = Draft(scope, activation)
    made = draft.insert(_copy(activation, source))
    if source is not None:
        draft.like(made.outputs[0], source)
    moved = draft.insert(_copy(reshape, made.outputs[0], *rest)).outputs[0]
    draft.like(moved, activation.outputs[0])
    substitute(activation.outputs[0], moved)
    sweep((activation, reshape))
    return made


def _copy(node: Node, *inputs: Value | None) -> Node:
    """Return a node like another, of other inputs."""
    return Node(
        node.op_type,
        inputs,
        1,
        dict(node.attributes),
        version=node.version,
        origins=node.origins,
        name=node.name,
    )
