"""Islands that cost more than they gain go to the next provider, and it is said."""

import time

import numpy as np
import pytest
import runtime as ort
from doubles import Choosy, DeviceProvider
from models import FLOAT, model, node
from runtime.abilities import Context
from runtime.cost import work
from runtime.model import from_proto
from runtime.plugin import Claim, hookimpl


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
    shown = str(made.explain())
    assert shown.count("was not given an island (1 node)") == 1
    assert "(80 times)" in shown


CALL = 1e-3


class Slow(Choosy):
    """Takes a millisecond for each call, whatever it computes, and says so."""

    def __init__(self):
        declared = {"flops": 1e12, "overhead": CALL}
        super().__init__("SlowExecutionProvider", ["MatMul"], **declared)
        self.calls = 0

    @hookimpl
    def compile(self, partition, settings):
        inner = super().compile(partition, settings)

        def run(*arrays):
            self.calls += 1
            time.sleep(CALL)
            return inner.run(arrays, [None] * len(partition.outputs), Context())

        return run


def seconds(made):
    feed, found = {"x": np.ones((8, 8), np.float32)}, []
    for _ in range(7):
        began = time.perf_counter()
        made.run(None, feed)
        found.append(time.perf_counter() - began)
    return min(found)


def test_a_provider_that_would_take_eighty_islands_does_not_slow_the_model(registered):
    slow, data = Slow(), islands(80)
    registered(slow)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.cost_rule", "0")
    names = ["SlowExecutionProvider"]
    free = ort.InferenceSession(data, options, providers=names)
    weighed = ort.InferenceSession(data, providers=names)
    without = seconds(free)
    assert slow.calls == 7 * 80
    assert without > 80 * CALL
    taken, alone = seconds(weighed), seconds(ort.InferenceSession(data))
    assert slow.calls == 7 * 80, "with the rule it is never called"
    assert taken < 2 * alone + 5 * CALL < without


@pytest.mark.parametrize(("cost", "owner"), [(1.0, "CPU"), (1e-9, "Sure")])
def test_what_a_claim_says_of_its_cost_counts_more_than_the_rule(
    cost, owner, registered
):
    class Sure(Choosy):
        @hookimpl
        def get_capability(self, nodes):
            liked = [node for node in nodes if node.op_type == "MatMul"]
            yield from (Claim((node,), cost=cost) for node in liked)

    registered(Sure("SureExecutionProvider", ["MatMul"]))
    made = ort.InferenceSession(islands(1, 64), providers=["SureExecutionProvider"])
    (matmul,) = [n for n in made.explain().nodes if n.op_type == "MatMul"]
    assert matmul.provider == f"{owner}ExecutionProvider"


def test_the_cost_of_a_claim_of_many_nodes_counts_once(registered):
    """Each of two islands costs half, and gains 10 µs of work on the host."""

    class Sure(Choosy):
        @hookimpl
        def get_capability(self, nodes):
            liked = [node for node in nodes if node.op_type == "MatMul"]
            if liked:
                yield Claim(liked, cost=15e-6)

    registered(Sure("SureExecutionProvider", ["MatMul"]))
    made = ort.InferenceSession(islands(2, 64), providers=["SureExecutionProvider"])
    assert made.explain().counts()["SureExecutionProvider"] == 2


def test_large_islands_are_worth_it(registered):
    made = session(islands(2, 1024), registered, flops=1e12, overhead=1e-4)
    assert made.explain().counts()["FarExecutionProvider"] == 2


def test_the_speed_that_counts_is_what_the_last_provider_declares(registered):
    for flops, owner in ((1e15, "Near"), (1e10, "Far")):
        registered(
            Choosy("FarExecutionProvider", ["MatMul"], flops=1e12, overhead=1e-4),
            Choosy("NearExecutionProvider", ["MatMul", "Relu"], flops=flops),
        )
        options = ort.SessionOptions()
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        names = ["FarExecutionProvider", "NearExecutionProvider"]
        made = ort.InferenceSession(islands(1, 1024), options, providers=names)
        (matmul,) = [n for n in made.explain().nodes if n.op_type == "MatMul"]
        assert matmul.provider == f"{owner}ExecutionProvider"


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
