"""The provider's own tests: what it takes, what it leaves, and that it is right."""

import numpy as np
import pytest
import runtime as ort
from onnx import TensorProto, helper, numpy_helper

NAME = "AcmeExecutionProvider"
RNG = np.random.default_rng(0)


def layers(count, last="Relu"):
    """Return a model of layers, 4 wide, the last of which may end in another operator."""
    nodes, weights = [], []
    for i in range(count):
        end = last if i == count - 1 else "Relu"
        nodes += [
            helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"h{i}"]),
            helper.make_node("Add", [f"h{i}", f"b{i}"], [f"a{i}"]),
            helper.make_node(end, [f"a{i}"], [f"x{i + 1}"]),
        ]
        for name, shape in ((f"w{i}", (4, 4)), (f"b{i}", (4,))):
            array = RNG.standard_normal(shape).astype(np.float32)
            weights.append(numpy_helper.from_array(array, name))
    kind = TensorProto.FLOAT, ["batch", 4]
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x0", *kind)],
        [helper.make_tensor_value_info(f"x{count}", *kind)],
        weights,
    )
    opset = [helper.make_opsetid("", 21)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=10)
    return made.SerializeToString()


def run(model, *providers):
    """Return a session and its answer to a batch of three."""
    session = ort.InferenceSession(model, providers=list(providers))
    x = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
    return session, session.run(None, {"x0": x})[0]


def test_it_is_found_once_it_is_installed():
    assert NAME in ort.get_available_providers()


@pytest.mark.parametrize("count", [1, 3])
def test_layers_are_one_partition_on_the_device_and_right(count):
    model = layers(count)
    session, found = run(model, NAME)
    _, expected = run(model, "CPUExecutionProvider")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    (part,) = session.explain().partitions
    assert (part.provider, part.device, part.nodes) == (NAME, "acme:0", 3 * count)


def test_what_is_no_layer_goes_to_the_cpu_with_the_reason():
    session, found = run(layers(2, last="Tanh"), NAME)
    _, expected = run(layers(2, last="Tanh"), "CPUExecutionProvider")
    assert found.shape == expected.shape
    placement = session.explain()
    assert placement.counts() == {NAME: 3, "CPUExecutionProvider": 3}
    (tanh,) = [node for node in placement.nodes if node.op_type == "Tanh"]
    reason = "Tanh runs here only as a part of MatMul + Add + Relu"
    assert tanh.refusals == {NAME: reason}


def test_options_have_types_and_mistakes_are_errors():
    options = {"accumulate": "float64", "device_id": "1"}
    session, _ = run(layers(1), (NAME, options))
    (part,) = session.explain().partitions
    assert (part.device, part.facts) == ("acme:1", {"accumulate": "float64"})
    with pytest.raises(Exception, match="did you mean 'accumulate'"):
        run(layers(1), (NAME, {"acumulate": "float64"}))
    with pytest.raises(Exception, match="there are devices 0 to 1"):
        run(layers(1), (NAME, {"device_id": 2}))
