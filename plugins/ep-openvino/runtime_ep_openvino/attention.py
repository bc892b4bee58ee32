"""Spells attention out, so that OpenVINO fuses it as it fuses the plain operators."""

from __future__ import annotations

from typing import Any

import openvino as ov
from openvino import opset13 as ops


def unfold(model: ov.Model) -> None:
    """Put products and a softmax in the place of each attention with a mask.

    OpenVINO's reader makes a single operator of it, whose decomposition scales queries and
    keys each, and looks for NaN in all results, to give zeros for a query that the mask
    hides from every key. Here the scores are scaled, and the probabilities of a query
    without keys are made zero by a factor that only the mask decides.
    """
    for op in model.get_ordered_ops():
        if op.get_type_name() == "ScaledDotProductAttention" and _is_plain(op):
            _replace(op)


def _is_plain(op: Any) -> bool:
    if op.get_input_size() != 5 or op.get_attributes()["causal"]:
        return False
    mask, first = op.input_value(3), op.input_value(0)
    floats = mask.get_element_type() == first.get_element_type()
    ranks = [op.input_value(i).get_partial_shape().rank for i in range(4)]
    return floats and all(r.is_static and r.get_length() >= 2 for r in ranks)


def _replace(op: Any) -> None:
    query, key, value, mask, scale = (op.input_value(i) for i in range(5))
    kind = mask.get_element_type()
    last = ops.constant([-1], ov.Type.i64)
    lowest = ops.constant(float("-inf"), kind)
    hidden = ops.reduce_logical_and(ops.equal(mask, lowest), last, keep_dims=True)
    zero, one = ops.constant(0.0, kind), ops.constant(1.0, kind)
    scores = ops.multiply(ops.matmul(query, key, False, True), scale)
    scores = ops.add(scores, ops.select(hidden, zero, mask))
    likely = ops.multiply(ops.softmax(scores, -1), ops.select(hidden, zero, one))
    result = ops.matmul(likely, value, False, False)
    result.set_friendly_name(op.get_friendly_name())
    _end(op).output(0).replace(result.output(0))


def _end(op: Any) -> Any:
    """Return the search for NaN that follows an attention, or the attention itself."""
    readers = [port.get_node() for port in op.output(0).get_target_inputs()]
    if sorted(reader.get_type_name() for reader in readers) != [
        "ConvertLike",
        "IsNaN",
        "Select",
    ]:
        return op
    return next(reader for reader in readers if reader.get_type_name() == "Select")
