"""`runtime compile`: a model is written as its providers compiled it."""

import numpy as np
import onnx
import runtime as ort
from doubles import Failing, Saving
from models import dense, dense_reference
from runtime.cli.exits import Exit

X = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)


def test_a_partition_that_can_be_saved_becomes_one_node(call, model, registered):
    registered(Saving("SavingExecutionProvider", ["MatMul", "Add"]))
    result = call("compile", model, "-p", "saving", "-o", "out.onnx", "--json")
    assert result.code == Exit.OK, result.err
    assert result.data["compiled"] == {"SavingExecutionProvider": 1}
    made = onnx.load("out.onnx")
    assert [node.op_type for node in made.graph.node] == [
        "EPContext",
        "Relu",
        "Softmax",
    ]
    session = ort.InferenceSession("out.onnx", providers=["SavingExecutionProvider"])
    (result,) = session.run(None, {"x": X})
    np.testing.assert_allclose(result, dense_reference(X), rtol=1e-5)


def test_without_such_a_provider_the_model_is_the_same(call, model):
    result = call("compile", model, "--json")
    assert result.code == Exit.OK
    assert result.data["compiled"] == {}
    session = ort.InferenceSession(result.data["output"])
    (result,) = session.run(None, {"x": X})
    np.testing.assert_allclose(result, dense_reference(X), rtol=1e-5)


def test_that_something_must_be_compiled_can_be_asked_for(call, model):
    result = call("compile", model, "--must")
    assert result.code == Exit.INTERNAL
    assert "Unable to compile any nodes" in result.err


def test_a_provider_that_cannot_compile_is_an_error_where_it_is_strict(
    call, model, registered
):
    registered(Failing("BurningExecutionProvider", "compile", ["MatMul"]))
    result = call("compile", model, "-p", "burning", "--strict")
    assert result.code == Exit.PROVIDER
    assert "on fire" in result.err
    assert call("compile", model, "-p", "burning", "-o", "out.onnx").code == Exit.OK


def test_a_file_is_not_written_over_unless_told(call, model, tmp_path):
    there = tmp_path / "model_ctx.onnx"
    there.write_bytes(b"mine")
    assert call("compile", model).code == Exit.USAGE
    assert there.read_bytes() == b"mine"
    assert call("compile", model, "--force").code == Exit.OK
    assert there.read_bytes() != b"mine"


def test_weights_can_lie_in_a_file_of_their_own(call, model, tmp_path):
    proto = onnx.ModelProto.FromString(dense())
    weights = onnx.numpy_helper.from_array(np.ones((4, 300), np.float32), "w")
    proto.graph.initializer[0].CopyFrom(weights)
    proto.graph.initializer[1].CopyFrom(
        onnx.numpy_helper.from_array(np.ones(300, np.float32), "b")
    )
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 300
    model.write_bytes(proto.SerializeToString())
    assert call("compile", model, "--weights", "weights.bin").code == Exit.OK
    assert (tmp_path / "weights.bin").stat().st_size == 6000
    session = ort.InferenceSession("model_ctx.onnx")
    assert session.run(None, {"x": X})[0].shape == (5, 300)
