"""Which nodes OpenVINO shall run: what it takes by its own word, less what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from runtime.graph import Node, Value
from runtime.plugin import Claim, Refusal
from runtime.valuetypes import ELEMENT_TYPES, TensorType

from runtime_ep_openvino import integers
from runtime_ep_openvino.frontend import common_opset, fits, used
from runtime_ep_openvino.sampler import Sampler

_sampler = Sampler()

TYPES = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 13))
"""Element types of inputs and outputs: float32, float16, integers and bool."""

_WHY_NOT = {
    "double": "double is computed in float32",
    "bfloat16": "results in bfloat16 are cut off, not rounded",
}


def offer(nodes: Sequence[Node], device: str) -> Iterator[Claim | Refusal]:
    """Claim every node that is supported and right; refuse the others with the reason."""
    opset = common_opset(nodes)
    left = []
    for node in nodes:
        if reason := refusal(node, opset):
            yield Refusal(node, reason)
        else:
            left.append(node)
    taken = []
    for node, reason in _sampler.reasons(left, device, opset).items():
        if reason:
            yield Refusal(node, reason)
        else:
            taken.append(node)
    if taken:
        yield Claim(taken)


def refusal(node: Node, opset: int) -> str:
    """Say why a node is not given to OpenVINO whatever that says, or return ``""``."""
    if node.domain:
        return f"operators of {node.domain} are not converted"
    if node.bodies:
        return "control flow stays with the host; what is in its bodies is offered"
    if not fits(node, opset):
        return f"it is written for opset {node.version} and has no equal in {opset}"
    values = [value for value in node.inputs if value is not None]
    values += [value for value in node.outputs if used(value)]
    for value in values:
        if reason := _type(value):
            return reason
    for wrong in WRONG.get(node.op_type, ()):
        if wrong.when(node):
            return wrong.reason
    return integers.against(node)


def _type(value: Value) -> str:
    kind = value.type
    if not isinstance(kind, TensorType) or kind.sparse:
        return f"{kind or 'a value of unknown type'} is not supported"
    if kind.dtype not in TYPES:
        name = ELEMENT_TYPES[kind.dtype].name if kind.dtype else "an unknown type"
        return _WHY_NOT.get(name, f"{name} is not supported")
    if kind.shape is None:
        return "the rank is unknown"
    if 0 in kind.shape:
        return "a value has no elements"
    return ""


# conditions


def _always(node: Node) -> bool:
    return True


def _has(name: str, *values: object) -> Callable[[Node], bool]:
    return lambda node: node.attribute(name) in values


def _has_not(name: str, usual: object) -> Callable[[Node], bool]:
    return lambda node: node.attribute(name, usual) != usual


def _given(index: int) -> Callable[[Node], bool]:
    return lambda node: node.input(index) is not None


def _variable(index: int) -> Callable[[Node], bool]:
    def when(node: Node) -> bool:
        value = node.input(index)
        return value is not None and not value.is_constant

    return when


def _results(count: int) -> Callable[[Node], bool]:
    return lambda node: sum(map(used, node.outputs)) > count


def _makes(*dtypes: int) -> Callable[[Node], bool]:
    return lambda node: node.outputs[0].dtype in dtypes


def _reads(*dtypes: int) -> Callable[[Node], bool]:
    def when(node: Node) -> bool:
        first = node.input(0)
        return first is not None and first.dtype in dtypes

    return when


def _open(index: int) -> Callable[[Node], bool]:
    """Whether an input has a size that is known at run time only."""

    def when(node: Node) -> bool:
        value = node.input(index)
        return value is not None and not all(
            isinstance(dim, int) for dim in value.shape or (None,)
        )

    return when


@dataclass(frozen=True, slots=True)
class Wrong:
    """Something OpenVINO would answer wrongly: what goes wrong, and for which nodes."""

    reason: str
    when: Callable[[Node], bool] = _always


def _unknown_heads(node: Node) -> bool:
    if node.attribute("q_num_heads"):
        return False
    heads = [(node.input(i).shape or ())[1:2] for i in range(3)]  # type: ignore[union-attr]
    return not all(isinstance(dim, int) for (dim,) in heads)


def _even_parts_of_unknown(node: Node) -> bool:
    shape = node.inputs[0].shape or ()  # type: ignore[union-attr]
    axis = node.attribute("axis", 0)
    return node.input(1) is None and not isinstance(shape[axis], int)


def _is_floor_of_halves(node: Node) -> bool:
    return (
        node.attribute("mode", "nearest") == "nearest"
        and node.attribute("nearest_mode", "round_prefer_floor") in ("floor", "ceil")
        and node.attribute("coordinate_transformation_mode", "half_pixel")
        in ("half_pixel", "pytorch_half_pixel")
    )


def _aligned_by_scales(node: Node) -> bool:
    """Whether sizes come from scales that may give half a pixel."""
    if node.attribute("coordinate_transformation_mode") != "align_corners":
        return False
    scales = node.input(2)
    if scales is None:
        return False
    known = scales.constant() if scales.is_constant else None
    return known is None or bool((known != known.round()).any())


def _blends_integers(node: Node) -> bool:
    return node.attribute("mode", "nearest") != "nearest" and not _makes(1, 10)(node)


def _indices(when: Callable[[Node], bool]) -> Callable[[Node], bool]:
    return lambda node: _results(1)(node) and when(node)


def _adaptive(node: Node) -> bool:
    return not node.attribute("sampling_ratio", 0)


def _unknown_sizes(node: Node) -> bool:
    same = str(node.attribute("auto_pad", "")).startswith("SAME")
    return (same or "output_shape" in node.attributes) and _open(0)(node)


_RECURRENT = (
    Wrong(
        "lengths are ignored where shapes are unknown",
        lambda node: _given(4)(node) and _open(0)(node),
    ),
    Wrong("the batch is taken for the time", _has("layout", 1)),
)
_DRAWN = Wrong("random numbers are drawn by the host, where seeds hold")
_LOWEST = Wrong(
    "maxima and minima begin at the largest float, so that infinities are lost",
    _makes(1, 10),
)
_BITS = Wrong(
    "64-bit and unsigned integers are computed in 32 signed bits", _makes(7, 12, 13)
)

WRONG: dict[str, tuple[Wrong, ...]] = {
    "Attention": (
        Wrong(
            "windows are ignored", lambda n: any("window" in a for a in n.attributes)
        ),
        Wrong(
            "a causal mask and another one are put together without the past",
            lambda n: bool(n.attribute("is_causal")) and _given(3)(n) and _given(4)(n),
        ),
        Wrong("the number of heads must be known", _unknown_heads),
    ),
    "Bernoulli": (_DRAWN,),
    "BitShift": (Wrong("shifts by the whole width and of negative numbers go wrong"),),
    "BitwiseAnd": (_BITS,),
    "BitwiseNot": (_BITS,),
    "BitwiseOr": (_BITS,),
    "BitwiseXor": (_BITS,),
    "ConvTranspose": (
        Wrong("padding that depends on unknown sizes goes wrong", _unknown_sizes),
    ),
    "DFT": (Wrong("errors reach 1e-4, and an axis other than 1 is not followed"),),
    "Dropout": (Wrong("with a mask the values are lost", _results(1)),),
    "DynamicQuantizeLinear": (Wrong("ties are not rounded to even"),),
    "GRU": _RECURRENT,
    "LSTM": (
        *_RECURRENT,
        Wrong("peepholes are ignored", _given(7)),
        Wrong("input_forget is ignored", _has("input_forget", 1)),
    ),
    "MaxPool": (
        Wrong("indices of column-major order", _indices(_has("storage_order", 1))),
        Wrong("indices of integers of equal value differ", _indices(_makes(2, 3))),
    ),
    "Multinomial": (_DRAWN,),
    "NonMaxSuppression": (Wrong("boxes at the very threshold are suppressed"),),
    "PRelu": (Wrong("a slope of unknown shape is not broadcast", _open(1)),),
    "QuantizeLinear": (
        Wrong(
            "close to ties the step is another, and scales are unknown", _variable(1)
        ),
        Wrong("16 bits are not exact", _makes(4, 5)),
    ),
    "RandomNormal": (_DRAWN,),
    "RandomNormalLike": (_DRAWN,),
    "RandomUniform": (_DRAWN,),
    "RandomUniformLike": (_DRAWN,),
    "RNN": _RECURRENT,
    "ReduceMax": (_LOWEST,),
    "ReduceMin": (_LOWEST,),
    "Resize": (
        Wrong("antialiasing is another one", _has("antialias", 1)),
        Wrong("what is outside is not excluded", _has("exclude_outside", 1)),
        Wrong("the policy is ignored", _has_not("keep_aspect_ratio_policy", "stretch")),
        Wrong("sizes that scales give are not rounded first", _aligned_by_scales),
        Wrong("coordinates are off where they are whole", _is_floor_of_halves),
        Wrong("blended integers are rounded otherwise", _blends_integers),
    ),
    "RoiAlign": (
        Wrong("the maximum is taken over other points", _has("mode", "max")),
        Wrong("adaptive sampling goes wrong beyond the first image", _adaptive),
    ),
    "SpaceToDepth": (Wrong("mode is ignored", lambda n: "mode" in n.attributes),),
    "Split": (Wrong("unequal parts of an unknown size fail", _even_parts_of_unknown),),
    "Tile": (
        Wrong("repeats of several axes go wrong unless they are known", _variable(1)),
    ),
}
"""What OpenVINO 2026.4 converts and then answers wrongly, found by ONNX's node cases and
by comparing with the CPU provider; each is a fault or limit of OpenVINO's."""
