"""Old spellings of operators, each brought to the newest where that says the same.

A spelling is a function of a node and the scope. It rewrites the node in place and returns
true, or returns false, and then the node stays at the version it was written for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isinf, prod
from typing import Any

import numpy as np

from runtime.graph import Node, Value
from runtime.passes.edit import Draft, attribute, set_inputs
from runtime.passes.scope import Scope
from runtime.valuetypes import code_of_name, numpy_dtype

Spelling = Callable[[Node, Scope], bool]


def _take(node: Node, name: str, default: Any = None) -> Any:
    entry = node.attributes.pop(name, None)
    return default if entry is None else entry.value


def _integers(node: Node, scope: Scope, values: Sequence[int] | None) -> Value | None:
    if values is None or node.graph is None:
        return None
    return scope.constant(node.graph, np.array(values, np.int64))


def _like_input(node: Node, scope: Scope, number: float) -> Value | None:
    source = node.input(0)
    dtype = source.dtype if source is not None else None
    if dtype is None or node.graph is None:
        return None
    return scope.constant(node.graph, np.array(number, numpy_dtype(dtype)))


def dropping(*names: str) -> Spelling:
    """Return a spelling that only loses attributes without meaning."""

    def spell(node: Node, scope: Scope) -> bool:
        for name in names:
            node.attributes.pop(name, None)
        return True

    return spell


def axes(node: Node, scope: Scope) -> bool:
    """Squeeze, Unsqueeze and the reductions: axes became an input."""
    node.attributes.pop("consumed_inputs", None)
    found = _take(node, "axes")
    if found:
        set_inputs(node, [node.input(0), _integers(node, scope, found)])
    return True


def slice_(node: Node, scope: Scope) -> bool:
    """Slice: starts, ends and axes became inputs."""
    parts = [_take(node, name) for name in ("starts", "ends", "axes")]
    set_inputs(node, [node.input(0), *(_integers(node, scope, part) for part in parts)])
    return True


def split(node: Node, scope: Scope) -> bool:
    """Split: the lengths became an input; equal parts are counted by num_outputs."""
    if node.version < 2 and len(node.inputs) > 1:
        return False
    lengths = _take(node, "split")
    if lengths:
        set_inputs(node, [node.input(0), _integers(node, scope, lengths)])
    elif node.input(1) is None:
        node.attributes["num_outputs"] = attribute(len(node.outputs))
    return True


def pad(node: Node, scope: Scope) -> bool:
    """Pad: pads and value became inputs."""
    number = node.attribute("value", 0.0)
    value = _like_input(node, scope, number) if number else None
    if number and value is None:
        return False
    pads = _take(node, "paddings") or _take(node, "pads")
    node.attributes.pop("value", None)
    set_inputs(node, [node.input(0), _integers(node, scope, pads), value])
    return True


def clip(node: Node, scope: Scope) -> bool:
    """Clip: the bounds became inputs; absent ones of opset 6 are float32's limits."""
    source = node.input(0)
    if source is None or source.dtype is None:
        return False
    limit = float(np.finfo(np.float32).max) if node.version >= 6 else None
    bounds: list[Value | None] = []
    for name, default in (("min", limit and -limit), ("max", limit)):
        number = node.attribute(name, default)
        cast = numpy_dtype(source.dtype).type
        with np.errstate(over="ignore"):
            open_ = number is None or isinf(float(cast(number)))
        bounds.append(None if open_ else _like_input(node, scope, number))
    for name in ("min", "max", "consumed_inputs"):
        node.attributes.pop(name, None)
    set_inputs(node, [source, *bounds])
    return True


def topk(node: Node, scope: Scope) -> bool:
    """TopK: k became an input."""
    set_inputs(node, [node.input(0), _integers(node, scope, [_take(node, "k")])])
    return True


def dropout(node: Node, scope: Scope) -> bool:
    """Dropout: outside training, before opset 12, it did nothing."""
    if node.version < 7 and not node.attribute("is_test", 0):
        return False
    if node.version < 10 and any(value.uses for value in node.outputs[1:]):
        return False
    for name in ("ratio", "is_test", "consumed_inputs"):
        node.attributes.pop(name, None)
    return True


def reshape(node: Node, scope: Scope) -> bool:
    """Reshape: the shape became an input."""
    node.attributes.pop("consumed_inputs", None)
    shape = _take(node, "shape")
    set_inputs(node, [node.input(0), _integers(node, scope, shape or ())])
    return True


def tile(node: Node, scope: Scope) -> bool:
    """Tile: one axis and its count became the repeats of every axis."""
    count, axis = (
        value.constant() if value is not None else None for value in node.inputs[1:]
    )
    rank = scope.facts.rank(node.input(0))
    if count is None or axis is None or rank is None or not -rank <= int(axis) < rank:
        return False
    repeats = [1] * rank
    repeats[int(axis)] = int(count)
    set_inputs(node, [node.input(0), _integers(node, scope, repeats)])
    return True


def upsample(node: Node, scope: Scope) -> bool:
    """Upsample: Resize with asymmetric coordinates, rounded down."""
    scales = node.attribute("scales")
    if node.version < 7:
        height, width = node.attribute("height_scale"), node.attribute("width_scale")
        scales = (1.0, 1.0, height, width)
    given: Value | None = node.input(1)
    if scales is not None and node.graph is not None:
        given = scope.constant(node.graph, np.array(scales, np.float32))
    mode = node.attribute("mode", "nearest")
    node.op_type = "Resize"
    node.attributes.clear()
    _asymmetric(node, "linear" if mode == "bilinear" else mode)
    set_inputs(node, [node.input(0), None, given])
    return True


def _asymmetric(node: Node, mode: str) -> None:
    node.attributes["mode"] = attribute(mode)
    node.attributes["coordinate_transformation_mode"] = attribute("asymmetric")
    if mode == "nearest":
        node.attributes["nearest_mode"] = attribute("floor")


def resize(node: Node, scope: Scope) -> bool:
    """Resize: opset 10 was asymmetric; empty tensors stood for absent inputs in 11."""
    mode = node.attribute("mode", "nearest")
    if node.version < 11:
        scales = node.inputs[1].constant() if node.inputs[1] is not None else None
        if mode == "nearest" and (scales is None or bool((scales < 1).any())):
            return False
        _asymmetric(node, mode)
        set_inputs(node, [node.input(0), None, node.input(1)])
        return True
    coordinates = node.attribute("coordinate_transformation_mode", "half_pixel")
    if coordinates == "tf_half_pixel_for_nn":
        return False
    inputs = [None if _is_empty(value) else value for value in node.inputs]
    if coordinates != "tf_crop_and_resize" and len(inputs) > 1:
        inputs[1] = None
    set_inputs(node, inputs)
    return True


def _is_empty(value: Value | None) -> bool:
    return value is not None and value.is_constant and 0 in (value.shape or ())


def softmax(node: Node, scope: Scope) -> bool:
    """Softmax, LogSoftmax, Hardmax: over all dims from an axis on, taken as one.

    That is the same along the last axis, and where all later dims are 1; else the input
    is flattened, and the result gets its shape back.
    """
    source = node.input(0)
    shape = scope.facts.shape(source)
    if shape is None or source is None or not shape:
        return False
    axis = node.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    if not 0 <= axis < len(shape):
        return False
    if prod(1 if dim == 1 else 2 for dim in shape[axis + 1 :]) == 1:
        node.attributes["axis"] = attribute(axis)
        return True
    draft = Draft(scope, node)
    flat = draft.call("Flatten", source, axis=axis)
    result = draft.call(node.op_type, flat, axis=-1)
    size = draft.call("Shape", source)
    node.op_type = "Reshape"
    node.attributes.clear()
    set_inputs(node, [result, size])
    return True


def batch_normalization(node: Node, scope: Scope) -> bool:
    """BatchNormalization: outside training, each channel by itself, one output."""
    training = node.version < 7 and not node.attribute("is_test", 0)
    if training or not node.attribute("spatial", 1):
        return False
    if any(value.uses or value.name for value in node.outputs[1:]):
        return False
    for name in ("is_test", "spatial", "consumed_inputs"):
        node.attributes.pop(name, None)
    node.resize_outputs(1)
    return True


def cast(node: Node, scope: Scope) -> bool:
    """Cast: the target was spelled out."""
    target = node.attribute("to")
    if not isinstance(target, str):
        return False
    node.attributes["to"] = attribute(code_of_name(target.lower()))
    return True


def scatter(node: Node, scope: Scope) -> bool:
    """Scatter: became ScatterElements."""
    node.op_type = "ScatterElements"
    return True


def broadcast(node: Node, scope: Scope) -> bool:
    """Add and its like: the second operand was aligned at an axis of the first."""
    node.attributes.pop("consumed_inputs", None)
    second = node.input(1)
    if node.attribute("broadcast", 0) and "axis" in node.attributes:
        ranks = scope.facts.rank(node.input(0)), scope.facts.rank(second)
        if ranks[0] is None or ranks[1] is None:
            return False
        axis = node.attribute("axis") % max(ranks[0], 1)
        missing = ranks[0] - axis - ranks[1]
        if missing < 0:
            return False
        if missing:
            places = _integers(node, scope, range(ranks[1], ranks[1] + missing))
            node.set_input(1, Draft(scope, node).call("Unsqueeze", second, places))
    for name in ("broadcast", "axis"):
        node.attributes.pop(name, None)
    return True


def prelu(node: Node, scope: Scope) -> bool:
    """PRelu: a slope per channel was not broadcast by NumPy's rules."""
    node.attributes.pop("consumed_inputs", None)
    slope, rank = scope.facts.shape(node.input(1)), scope.facts.rank(node.input(0))
    if slope is None or rank is None or len(slope) > 1:
        return False
    if slope not in ((), (1,)) and rank > 2:
        places = _integers(node, scope, range(1, rank - 1))
        node.set_input(1, Draft(scope, node).call("Unsqueeze", node.input(1), places))
    return True


def dft(node: Node, scope: Scope) -> bool:
    """DFT: the axis became an input."""
    axis = _take(node, "axis", 1)
    if node.graph is not None:
        value = scope.constant(node.graph, np.array(axis, np.int64))
        set_inputs(node, [node.input(0), node.input(1), value])
    return True


def grid_sample(node: Node, scope: Scope) -> bool:
    """GridSample: the modes lost their prefix."""
    mode = node.attribute("mode", "bilinear")
    short = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    node.attributes["mode"] = attribute(short)
    return True


def roi_align(node: Node, scope: Scope) -> bool:
    """RoiAlign: coordinates were not shifted by half a pixel."""
    mode = attribute("output_half_pixel")
    node.attributes["coordinate_transformation_mode"] = mode
    return True


def lp_pool(node: Node, scope: Scope) -> bool:
    """LpPool and GlobalLpPool: p became an integer."""
    power = node.attribute("p", 2.0)
    if power != int(power) or (
        node.op_type == "LpPool" and "kernel_shape" not in node.attributes
    ):
        return False
    node.attributes["p"] = attribute(int(power))
    return True


def concat(node: Node, scope: Scope) -> bool:
    """Concat: the axis became required."""
    node.attributes.setdefault("axis", attribute(1))
    return True


def conv_transpose(node: Node, scope: Scope) -> bool:
    """ConvTranspose: padding that is not given was split the other way round."""
    automatic = node.attribute("auto_pad", "NOTSET").startswith("SAME")
    return not automatic and "output_shape" not in node.attributes


def cast_like(node: Node, scope: Scope) -> bool:
    """CastLike: is Cast where the type is known."""
    like = node.input(1)
    if node.input(0) is None or like is None or like.dtype is None:
        return False
    if like.dtype in (17, 18, 19, 20, 24):
        return False
    node.op_type = "Cast"
    node.attributes["to"] = attribute(like.dtype)
    set_inputs(node, [node.input(0)])
    return True


def variadic(node: Node, scope: Scope) -> bool:
    """Sum of two is Add; Sum, Mean, Max and Min of one are Identity."""
    if len(node.inputs) == 1:
        node.op_type = "Identity"
    elif node.op_type == "Sum" and len(node.inputs) == 2:
        node.op_type = "Add"
    else:
        return False
    return True
