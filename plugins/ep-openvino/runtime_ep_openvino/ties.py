"""Has equal values come in the order that ONNX prescribes: that of their indices."""

from __future__ import annotations

from typing import Any

import openvino as ov
from openvino import opset11 as ops


def settle(model: ov.Model) -> None:
    """Make every TopK stable, which OpenVINO's reader of ONNX leaves open."""
    for op in model.get_ordered_ops():
        if op.get_type_name() == "TopK":
            _replace(op)


def _replace(op: Any) -> None:
    told = op.get_attributes()
    made = ops.topk(
        op.input_value(0),
        op.input_value(1),
        told["axis"],
        told["mode"],
        "value",
        told["index_element_type"],
        stable=True,
    )
    made.set_friendly_name(op.get_friendly_name())
    for place in range(2):
        op.output(place).replace(made.output(place))
