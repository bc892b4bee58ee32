"""A device's provider that plans by shapes reads sizes on the host, and works them out."""

import numpy as np
import pytest
import runtime as ort
from doubles import DeviceProvider, Remote
from models import FLOAT, INT64, model, node
from runtime.plugin import Claim, hookimpl
from runtime_ep_cpu.ops import table

NAME = "PlanningExecutionProvider"
X = np.arange(6, dtype=np.float32).reshape(2, 3)


class Planning(DeviceProvider):
    """Claims everything, reads the sizes of Reshape on the host, and shape arithmetic."""

    def __init__(self, shapes=False, hosted=True):
        super().__init__(NAME, (), "sim")
        self.shapes, self.hosted = shapes, hosted
        self.seen = []

    @hookimpl
    def get_capability(self, nodes):
        for each in nodes:
            sizes = [each.input(1)] if each.op_type == "Reshape" else []
            asked = frozenset(v for v in sizes if self.hosted and not v.is_constant)
            yield Claim((each,), self.device, host_inputs=asked, shapes=self.shapes)

    @hookimpl
    def compile(self, partition, settings):
        inner = table.executable(partition, settings)
        self.seen.append(partition)

        class Run:
            def run(self, inputs, outputs, context):
                self.kinds = [type(v).__name__ for v in inputs]
                plain = [v.data if isinstance(v, Remote) else v for v in inputs]
                made = inner.run(plain, [None] * len(outputs), context)
                return [Remote(np.array(v)) for v in made]

        self.executable = Run()
        return self.executable


def resized(sizes="sizes"):
    return model(
        [node("Reshape", ["x", sizes], ["r"]), node("Neg", ["r"], ["y"])],
        {"x": (FLOAT, [2, 3]), "sizes": (INT64, [2])},
        {"y": (FLOAT, None)},
    ).SerializeToString()


def flattened():
    """Reshape x to its first size and the product of the others, after some work."""
    return model(
        [
            node("Relu", ["x"], ["a"]),
            node("Shape", ["a"], ["s"]),
            node("Gather", ["s", "zero"], ["first"]),
            node("Concat", ["first", "rest"], ["sizes"], axis=0),
            node("Reshape", ["a", "sizes"], ["r"]),
            node("Neg", ["r"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 3])},
        {"y": (FLOAT, None)},
        {"zero": np.array([0]), "rest": np.array([3, 1])},
    ).SerializeToString()


def unsimplified():
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def test_a_value_that_a_claim_reads_on_the_host_stays_there(registered):
    provider = Planning()
    registered(provider)
    session = ort.InferenceSession(resized(), unsimplified(), providers=[NAME])
    got = session.run(None, {"x": X, "sizes": np.array([3, 2])})[0]
    np.testing.assert_array_equal(got, -X.reshape(3, 2))
    (partition,) = provider.seen
    assert {value.name for value in partition.host_inputs} == {"sizes"}
    assert provider.executable.kinds == ["Remote", "ndarray"]
    assert provider.uploads == 1


def test_what_no_claim_reads_on_the_host_is_brought_to_the_device(registered):
    provider = Planning(hosted=False)
    registered(provider)
    session = ort.InferenceSession(resized(), unsimplified(), providers=[NAME])
    session.run(None, {"x": X, "sizes": np.array([3, 2])})
    assert provider.executable.kinds == ["Remote", "Remote"]
    assert provider.uploads == 2


@pytest.mark.parametrize(("shapes", "partitions"), [(True, 1), (False, 2)])
def test_who_works_out_shapes_is_not_cut_by_them(shapes, partitions, registered):
    provider = Planning(shapes=shapes)
    registered(provider)
    session = ort.InferenceSession(flattened(), unsimplified(), providers=[NAME])
    got = session.run(None, {"x": X})[0]
    np.testing.assert_array_equal(got, -np.maximum(X, 0).reshape(2, 3, 1))
    assert len(provider.seen) == partitions
