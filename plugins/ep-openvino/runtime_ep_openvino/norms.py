"""Gives normalizations the rank for which OpenVINO has a kernel of its own."""

from __future__ import annotations

from typing import Any

import openvino as ov
from openvino import opset13 as ops
from openvino.passes import ConstantFolding, Manager


def flatten(model: ov.Model) -> None:
    """Normalize the last axis of four and more dims as that of three.

    OpenVINO runs the former as a mean, a difference, a root and a product of their own.
    """
    if not any(map(_is_of_many, model.get_ops())):
        return
    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(model)
    for op in filter(_is_of_many, model.get_ordered_ops()):
        axes = op.input_value(1).get_node()
        last = op.input_value(0).get_partial_shape().rank.get_length() - 1
        if axes.get_type_name() == "Constant" and axes.data.tolist() in ([-1], [last]):
            _replace(op)


def _is_of_many(op: Any) -> bool:
    if op.get_type_name() != "MVN":
        return False
    rank = op.input_value(0).get_partial_shape().rank
    return bool(rank.is_static and rank.get_length() >= 4)


def _replace(op: Any) -> None:
    source = op.input_value(0)
    last = ops.gather(ops.shape_of(source), _whole(-1), _whole(0))
    shape = ops.concat([_whole(0, -1), ops.unsqueeze(last, _whole(0))], 0)
    told = op.get_attributes()
    made = ops.mvn(
        ops.reshape(source, shape, special_zero=True),
        _whole([-1]),
        told["normalize_variance"],
        told["eps"],
        told["eps_mode"],
    )
    back = ops.reshape(made, ops.shape_of(source), special_zero=False)
    back.set_friendly_name(op.get_friendly_name())
    op.output(0).replace(back.output(0))


def _whole(*numbers: Any) -> Any:
    data = numbers[0] if len(numbers) == 1 else list(numbers)
    return ops.constant(data, ov.Type.i64)
