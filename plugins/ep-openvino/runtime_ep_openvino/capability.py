"""Which nodes OpenVINO shall run: what it can by its own word, less what it does wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runtime.graph import Node, Value
from runtime.plugin import Claim, Refusal
from runtime.valuetypes import ELEMENT_TYPES, TensorType

from runtime_ep_openvino.frontend import Sampler, common_opset, fits, used

_sampler = Sampler()

TYPES = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 13, 16))
"""Element types of inputs and outputs: all floats but double, all integers, bool."""


def offer(nodes: Sequence[Node], device: str) -> Iterator[Claim | Refusal]:
    """Claim every node that is supported and right; refuse the others with the reason."""
    opset = common_opset(nodes)
    left = []
    for node in nodes:
        if reason := refusal(node, opset):
            yield Refusal(node, reason)
        else:
            left.append(node)
    reasons = _sampler.reasons(left, device, opset)
    for node, reason in reasons.items():
        if reason:
            yield Refusal(node, reason)
    taken = [node for node, reason in reasons.items() if not reason]
    if taken:
        yield Claim(taken)


def refusal(node: Node, opset: int) -> str:
    """Say why a node is not given to OpenVINO whatever that says, or return ``""``."""
    if node.domain:
        return f"operators of {node.domain} are not converted"
    if node.bodies:
        return "control flow stays with the host; its bodies are offered"
    if not fits(node, opset):
        return f"it is written for opset {node.version} and has no equal in {opset}"
    values = [value for value in node.inputs if value is not None]
    values += [value for value in node.outputs if used(value)]
    for value in values:
        if reason := _type(value):
            return reason
    return ""


def _type(value: Value) -> str:
    kind = value.type
    if not isinstance(kind, TensorType) or kind.sparse:
        return f"{kind or 'a value of unknown type'} is not supported"
    if kind.dtype not in TYPES:
        name = ELEMENT_TYPES[kind.dtype].name if kind.dtype else "an unknown type"
        return f"{name} is not supported"
    if kind.shape is None:
        return "the rank is unknown"
    return ""
