"""Since which opset operators mean what they mean, and where a node can be written."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import FLOAT, model, node
from onnx import TensorProto
from runtime.export import to_proto
from runtime.opsets import NEWEST, SAME, is_current, lowest, means_the_same, newest
from simplified import loaded, simplified


def one(op, opset, kind=FLOAT, inputs=1, **attributes):
    """Return a node of an opset."""
    names = [f"x{i}" for i in range(inputs)]
    proto = model(
        [node(op, names, ["y"], **attributes)],
        {name: (kind, [2, 3]) for name in names},
        {"y": (kind, None)},
        opset=opset,
    )
    return next(iter(loaded(proto).graph))


def test_every_row_names_a_version_of_its_operator():
    history = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if not schema.domain:
            history.setdefault(schema.name, set()).add(schema.since_version)
    for name, since in SAME.items():
        assert since in history[name], name


def test_operators_of_several_versions_are_all_considered():
    """A new opset must be looked at by somebody before nodes are declared to be of it."""
    assert onnx.defs.onnx_opset_version() >= NEWEST == newest()


@pytest.mark.parametrize(
    ("op", "opset", "current"),
    [
        ("Add", 7, True),
        ("Add", 6, False),
        ("Relu", 28, True),
        ("Softmax", 11, False),
        ("Softmax", 13, True),
        ("Flatten", 1, True),
    ],
)
def test_what_means_the_same_today(op, opset, current):
    node_ = one(op, opset, inputs=2 if op == "Add" else 1)
    assert is_current(node_) is current


def test_the_lowest_opset_has_what_the_node_uses():
    assert lowest(one("Relu", 28)) == 6
    assert lowest(one("Relu", 28, TensorProto.INT32)) == 14
    assert lowest(one("Add", 28, inputs=2)) == 7
    assert lowest(one("Add", 28, TensorProto.INT16, inputs=2)) == 14
    assert lowest(one("Flatten", 28)) == 11, "negative axes came with it"
    assert lowest(one("Cast", 28, to=FLOAT)) == 6
    assert lowest(one("Cast", 28, to=TensorProto.FLOAT8E5M2)) == 28


def test_pools_that_round_up_stay_where_they_are():
    proto = model(
        [node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], ceil_mode=1)],
        {"x": (FLOAT, [1, 1, 5, 5])},
        {"y": (FLOAT, None)},
        opset=12,
    )
    pool = next(iter(loaded(proto).graph))
    assert not is_current(pool)
    assert means_the_same(pool, 12)
    assert not means_the_same(pool, 22)


def test_another_meaning_is_told_apart():
    assert not means_the_same(one("Softmax", 11), 13)
    assert means_the_same(one("Softmax", 13), 28)
    assert means_the_same(one("Relu", 28), 6)
    assert not means_the_same(one("Squeeze", 11), 13)


def test_unknown_operators_are_of_their_own_version_only():
    proto = model(
        [node("Own", ["x"], ["y"], domain="com.example")],
        {"x": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
        domains={"com.example": 3},
    )
    own = next(iter(loaded(proto).graph))
    assert lowest(own) == 3


def test_a_simplified_model_is_written_for_the_oldest_opset_that_will_do():
    proto = model(
        [node("Relu", ["x"], ["a"]), node("Reshape", ["a", "s"], ["y"])],
        {"x": (FLOAT, [2, 3])},
        {"y": (FLOAT, [3, 2])},
        {"s": np.array([3, 2])},
        opset=13,
    )
    found = simplified(proto)
    assert {n.version for n in found.graph} == {newest()}
    assert to_proto(found).opset_import[0].version == 6
