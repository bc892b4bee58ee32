"""What TensorRT's parser takes of an operator only in part, as its list of operators says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from runtime.graph import Node, Value

Guard = Callable[[Node], str]


def _constant(*places: int) -> Guard:
    def guard(node: Node) -> str:
        for place in places:
            value = node.input(place)
            if value is not None and not value.is_constant:
                return f"its input {place} must be known when the engine is built"
        return ""

    return guard


def _has(name: str, *values: object) -> Guard:
    def guard(node: Node) -> str:
        found = node.attribute(name)
        return f"{name}={found!r} is not supported" if found in values else ""

    return guard


def _needs(name: str, usual: object) -> Guard:
    def guard(node: Node) -> str:
        found = node.attribute(name, usual)
        return "" if found == usual else f"{name}={found!r} is not supported"

    return guard


def _outputs(count: int) -> Guard:
    def guard(node: Node) -> str:
        more = [v for v in node.outputs[count:] if v.uses or is_public(v)]
        return "only its first output is supported" if more else ""

    return guard


def is_public(value: Value) -> bool:
    """Whether a value is an output of its graph."""
    producer = value.producer
    graph = producer.graph if producer is not None else None
    return graph is not None and value in graph.outputs


def _absent(*places: int) -> Guard:
    def guard(node: Node) -> str:
        for place in places:
            if node.input(place) is not None:
                return f"its input {place} is not supported"
        return ""

    return guard


def _ranks(low: int, high: int, *places: int) -> Guard:
    def guard(node: Node) -> str:
        for place in places or (0,):
            value = node.input(place)
            rank = len(value.shape) if value is not None and value.shape else None
            if rank is not None and not low <= rank <= high:
                return f"its input {place} has {rank} axes"
        return ""

    return guard


def _dilations(node: Node) -> str:
    wide = any(d != 1 for d in node.attribute("dilations") or ())
    return "dilated windows are not supported" if wide else ""


def _zero_point(node: Node) -> str:
    value = node.input(2)
    if value is None:
        return "" if node.op_type == "DequantizeLinear" else "its type must be int8"
    if not value.is_constant or np.any(np.asarray(value.constant())):
        return "its zero point must be 0"
    return ""


def _same_activations(node: Node) -> str:
    names = node.attribute("activations") or ()
    half = len(names) // 2
    both = node.attribute("direction") == "bidirectional"
    differ = both and names[:half] != names[half:]
    return "both directions must have the same activations" if differ else ""


def _few(node: Node) -> str:
    count = node.input(1)
    known = count.constant() if count is not None and count.is_constant else None
    if known is not None and int(np.max(known)) >= 3840:
        return "it takes less than 3,840 of them"
    return ""


def _resize(node: Node) -> str:
    modes = {
        "mode": ("nearest", "linear"),
        "coordinate_transformation_mode": (
            "half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric",
            "align_corners",
        ),
        "nearest_mode": (
            "floor", "ceil", "round_prefer_floor", "round_prefer_ceil",
        ),
        "keep_aspect_ratio_policy": ("stretch",),
    }  # fmt: skip
    for name, taken in modes.items():
        found = node.attribute(name, taken[0])
        if found not in taken:
            return f"{name}={found!r} is not supported"
    if node.attribute("antialias", 0) or node.attribute("exclude_outside", 0):
        return "antialiasing is not supported"
    return "axes must be left out" if node.attribute("axes") else ""


_POOL = (_dilations, _ranks(4, 5))
_RECURRENT = (_same_activations, _needs("layout", 0))

GUARDS: dict[str, tuple[Guard, ...]] = {
    "Attention": (
        _ranks(4, 4, 0, 1, 2, 3),
        _absent(4, 5, 6),
        _outputs(1),
        _needs("softcap", 0.0),
        _needs("qk_matmul_output_mode", 0),
    ),
    "AveragePool": _POOL,
    "BatchNormalization": (_outputs(1), _needs("training_mode", 0)),
    "Constant": (lambda node: _text_constant(node),),
    "CumSum": (_constant(1),),
    "DeformConv": (_ranks(3, 4),),
    "DequantizeLinear": (_zero_point, _needs("output_dtype", 0)),
    "Dropout": (_constant(2), _outputs(1)),
    "EyeLike": (lambda node: _fixed(node, 0),),
    "GRU": _RECURRENT,
    "GridSample": (_ranks(4, 4),),
    "LSTM": (*_RECURRENT, _needs("input_forget", 0)),
    "LayerNormalization": (_outputs(1),),
    "LpPool": (_dilations,),
    "MaxPool": (*_POOL, _outputs(1)),
    "OneHot": (_constant(1),),
    "QuantizeLinear": (_zero_point,),
    "RMSNormalization": (_outputs(1),),
    "RNN": _RECURRENT,
    "Resize": (_resize,),
    "STFT": (_constant(1, 2),),
    "ScatterElements": (),
    "ScatterND": (_needs("reduction", "none"),),
    "Squeeze": (_constant(1),),
    "TensorScatter": (_ranks(4, 4, 0, 1), _needs("axis", -2)),
    "TopK": (_needs("sorted", 1), _few),
    "Unsqueeze": (_constant(1),),
} | {
    f"Reduce{name}": (_constant(1),)
    for name in (
        "L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum",
        "SumSquare",
    )
}  # fmt: skip
"""Operator → what is asked of its nodes."""


def _text_constant(node: Node) -> str:
    for name in ("sparse_value", "value_string", "value_strings"):
        if name in node.attributes:
            return f"{name} is not supported"
    return ""


def _fixed(node: Node, place: int) -> str:
    value = node.input(place)
    shape = value.shape if value is not None else None
    known = shape is not None and all(isinstance(dim, int) for dim in shape)
    return "" if known else f"the shape of its input {place} must be fixed"


def against(node: Node) -> str:
    """Say what the parser would have against a node it takes in general, or ``""``."""
    for guard in GUARDS.get(node.op_type, ()):
        if reason := guard(node):
            return reason
    return ""
