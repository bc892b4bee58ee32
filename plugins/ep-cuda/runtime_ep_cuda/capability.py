"""Which nodes the GPU shall run, and why not the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from runtime.graph import Graph, Node, Value
from runtime.plugin import Claim, Device, Refusal
from runtime.valuetypes import ELEMENT_TYPES

from runtime_ep_cuda import express
from runtime_ep_cuda.dtypes import dtype_of, is_tensor
from runtime_ep_cuda.settled import asked, on_the_host, settled
from runtime_ep_cuda.steps.known import FAMILIES  # noqa: F401  (fills the table)
from runtime_ep_cuda.steps.table import TABLE, step_of


def operators(domain: str = "") -> list[str]:
    """Return the operators of a domain that may be claimed, in order."""
    planned = {op_type for known, op_type in TABLE if known == domain}
    return sorted(planned | express.operators(domain))


def offer(
    graph: Graph, nodes: Sequence[Node], device: Device, cudnn: bool = True
) -> Iterator[Claim | Refusal]:
    """Claim what there is a step for; refuse the rest, each node with its reason.

    Without ``cudnn`` nothing convolves.
    """
    sure = settled(graph)
    counted = on_the_host(graph, sure)
    for node in nodes:
        reason = _COUNTED if node in counted else ""
        if not cudnn and node.op_type in _CONVOLUTIONS:
            reason = "enable_cudnn is off, and nothing else convolves"
        if node not in sure:
            reason = reason or refusal(node) or _unknown(node, sure | counted)
        if reason:
            yield Refusal(node, reason)
            continue
        hosted = frozenset(_settled_reads(node) if node in sure else asked(node))
        yield Claim((node,), device, host_inputs=hosted, shapes=True)


def _settled_reads(node: Node) -> list[Value]:
    """Return what a settled node reads: nothing but shapes, or other settled results."""
    if node.op_type in ("Shape", "Size"):
        return []
    return [value for value in node.reads if not value.is_constant]


_CONVOLUTIONS = frozenset(("Conv", "ConvTranspose", "FusedConv", "QLinearConv"))
_COUNTED = "it computes sizes from what is fed; the host does that"


def refusal(node: Node) -> str:
    """Say why a node is not run on a GPU, or return ``""``."""
    if node.bodies:
        return "control flow stays on the host"
    seen = (v for v in (*node.inputs, *node.outputs) if v is not None and _is_used(v))
    if reason := next(filter(None, map(_type_reason, seen)), ""):
        return reason
    if express.operation(node) is not None:
        reason = express.refusal(node)
        if not reason or step_of(node) is None:
            return reason
    step = step_of(node)
    if step is None:
        domain = f" of domain {node.domain}" if node.domain else ""
        return f"no kernel for {node.op_type}{domain}"
    if node.version < step.since:
        return f"{node.op_type} of opset {node.version} is not supported"
    return step.refuse(node)


def _is_used(value: Value) -> bool:
    return bool(value.name or value.uses or value.const)


def _type_reason(value: Value) -> str:
    if value.type is None:
        return f"the type of {value.name!r} is not known"
    if is_tensor(value):
        return ""
    if dtype_of(value) is None:
        kind = ELEMENT_TYPES.get(value.dtype or 0)
        told = f"{kind.name} tensors are" if kind else "what is no tensor is"
        return f"{told} not supported on the device"
    return f"the rank of {value.name!r} is not known"


def _unknown(node: Node, on_host: Set[Node]) -> str:
    """Say which input a plan must know though the device makes it, or return ``""``."""
    for value in asked(node):
        maker = value.producer
        if maker is not None and maker not in on_host and not refusal(maker):
            return f"{value.name!r} decides a shape, and is known on the device only"
    return ""
