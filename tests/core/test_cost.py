"""Islands that cost more than they gain go to the next provider, and it is said."""

import numpy as np
import pytest
import runtime as ort
from doubles import Choosy, DeviceProvider
from models import FLOAT, model, node
from runtime.cost import work
from runtime.model import from_proto


def islands(count, width=8):
    """Return a chain of MatMul islands separated by Relu."""
    nodes, weights, value = [], {}, "x"
    for i in range(count):
        weights[f"w{i}"] = np.full((width, width), 0.1, np.float32)
        nodes += [
            node("MatMul", [value, f"w{i}"], [f"h{i}"], name=f"matmul{i}"),
            node("Relu", [f"h{i}"], [f"r{i}"], name=f"relu{i}"),
        ]
        value = f"r{i}"
    proto = model(
        nodes,
        {"x": (FLOAT, [width, width])},
        {value: (FLOAT, [width, width])},
        weights,
    )
    return proto.SerializeToString()


def session(data, registered, cost_rule=True, **declared):
    registered(Choosy("FarExecutionProvider", ["MatMul"], **declared))
    options = ort.SessionOptions()
    if not cost_rule:
        options.add_session_config_entry("session.cost_rule", "0")
    return ort.InferenceSession(data, options, providers=["FarExecutionProvider"])


def test_eighty_small_islands_do_not_leave_the_host(registered):
    made = session(islands(80), registered, flops=1e12, overhead=1e-4)
    assert made.explain().counts() == {"CPUExecutionProvider": 160}
    told = [event for event in made.explain().events if event.stage == "cost"]
    assert len(told) == 80
    assert "would gain" in told[0].reason
    refused = made.explain().nodes[0].refusals["FarExecutionProvider"]
    assert "would gain" in refused


def test_large_islands_are_worth_it(registered):
    made = session(islands(2, 1024), registered, flops=1e12, overhead=1e-4)
    assert made.explain().counts()["FarExecutionProvider"] == 2


def test_the_rule_can_be_turned_off(registered):
    made = session(islands(4), registered, cost_rule=False, flops=1e12, overhead=1e-4)
    assert made.explain().counts()["FarExecutionProvider"] == 4


def test_a_provider_that_declares_nothing_is_left_alone(registered):
    made = session(islands(4), registered)
    assert made.explain().counts()["FarExecutionProvider"] == 4


def test_bytes_to_a_device_count(registered):
    far = DeviceProvider(
        "FarExecutionProvider", ["Relu"], flops=1e15, bandwidth=1e9, overhead=0.0
    )
    registered(far)
    made = ort.InferenceSession(islands(3, 256), providers=["FarExecutionProvider"])
    assert made.explain().counts() == {"CPUExecutionProvider": 6}
    assert far.uploads == 0


@pytest.mark.parametrize(
    ("made", "flops"),
    [
        (node("MatMul", ["a", "b"], ["y"]), 2 * 4 * 5 * 6),
        (node("Relu", ["a"], ["y"]), 4 * 5),
    ],
)
def test_work_is_counted_in_operations(made, flops):
    shape = [4, 6] if made.op_type == "MatMul" else [4, 5]
    proto = model(
        [made],
        {"a": (FLOAT, [4, 5]), "b": (FLOAT, [5, 6])},
        {"y": (FLOAT, shape)},
    )
    assert work(next(iter(from_proto(proto).graph))) == flops
