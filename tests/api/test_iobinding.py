"""IOBinding: device values stay on the device, bound memory is written in place."""

import json

import numpy as np
import pytest
import runtime as ort
from doubles import Choosy, DeviceProvider, Remote
from models import FLOAT, dense, dense_reference, model, node
from runtime.plugin import Device

SIM = Device("sim")
OPS = ["MatMul", "Add", "Relu", "Softmax"]
X = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)


@pytest.fixture
def sim(registered):
    provider = DeviceProvider("SimExecutionProvider", OPS)
    registered(provider)
    return provider


def device_session(**keywords):
    return ort.InferenceSession(dense(), providers=["SimExecutionProvider"], **keywords)


def test_device_inputs_and_outputs_run_with_no_host_copies(sim):
    session = device_session()
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue(Remote(X.copy()), SIM))
    binding.bind_output("y", "sim")
    sim.uploads = sim.downloads = 0
    for _ in range(3):
        session.run_with_iobinding(binding)
    assert (sim.uploads, sim.downloads) == (0, 0)
    (result,) = binding.get_outputs()
    assert result.device_name() == "sim"
    np.testing.assert_allclose(result.numpy(), dense_reference(X), rtol=1e-5)
    assert sim.downloads == 1


def test_a_bound_device_output_is_written_in_place(sim):
    session = device_session()
    target = ort.OrtValue(Remote(np.zeros((5, 3), np.float32)), SIM)
    memory, address = target._value.data, target.data_ptr()
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue(Remote(X.copy()), SIM))
    binding.bind_ortvalue_output("y", target)
    session.run_with_iobinding(binding)
    assert binding.get_outputs()[0].data_ptr() == address
    np.testing.assert_allclose(memory, dense_reference(X), rtol=1e-5)


def test_plain_run_copies_once_in_and_once_out(sim):
    session = device_session()
    sim.uploads = sim.downloads = 0
    session.run(None, {"x": X})
    assert (sim.uploads, sim.downloads) == (1, 1)


def test_two_devices_in_a_chain_exchange_values_through_the_host(registered):
    one = DeviceProvider("OneExecutionProvider", ["MatMul", "Relu"], "one")
    two = DeviceProvider("TwoExecutionProvider", ["Add", "Softmax"], "two")
    registered(one, two)
    session = ort.InferenceSession(
        dense(), providers=["OneExecutionProvider", "TwoExecutionProvider"]
    )
    result = session.run(None, {"x": X})[0]
    np.testing.assert_allclose(result, dense_reference(X), rtol=1e-5)
    crossings = [(s, t) for _, s, t in session.explain().transfers]
    assert ("one:0", "two:0") in crossings
    assert ("two:0", "one:0") in crossings


def test_memory_bound_by_address_on_the_host_is_read_and_written():
    session = ort.InferenceSession(dense())
    x, y = X.copy(), np.zeros((5, 3), np.float32)
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, np.float32, x.shape, x.ctypes.data)
    binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)
    session.run_with_iobinding(binding)
    np.testing.assert_allclose(y, dense_reference(X), rtol=1e-5)
    x[...] = 2 * X
    session.run_with_iobinding(binding)
    np.testing.assert_allclose(y, dense_reference(2 * X), rtol=1e-5)


def test_a_runtime_owned_output_grows_with_the_input():
    session = ort.InferenceSession(dense())
    binding = session.io_binding()
    binding.bind_output("y")
    for rows in (2, 5, 3):
        binding.bind_cpu_input("x", X[:rows])
        session.run_with_iobinding(binding)
        (result,) = binding.copy_outputs_to_cpu()
        np.testing.assert_allclose(result, dense_reference(X[:rows]), rtol=1e-5)


def test_a_bound_output_of_another_shape_or_type_is_an_error_that_writes_nothing():
    session = ort.InferenceSession(dense())
    for memory, match in (
        (np.zeros((4, 3), np.float32), "shape"),
        (np.zeros((5, 3), np.float64), "double"),
    ):
        binding = session.io_binding()
        binding.bind_cpu_input("x", X)
        binding.bind_ortvalue_output("y", ort.OrtValue.ortvalue_from_numpy(memory))
        with pytest.raises(RuntimeError, match=f"Error in execution.*{match}"):
            session.run_with_iobinding(binding)
        assert not memory.any()


def test_a_bound_output_is_not_touched_when_a_later_step_fails(registered):
    chain = model(
        [node("Relu", ["x"], ["a"]), node("Reshape", ["a", "shape"], ["b"])],
        {"x": (FLOAT, ["n"]), "shape": (7, [1])},
        {"a": (FLOAT, ["n"]), "b": (FLOAT, None)},
    ).SerializeToString()
    registered(Choosy("FirstExecutionProvider", ["Relu"]))
    session = ort.InferenceSession(chain, providers=["FirstExecutionProvider"])
    target = np.full(3, 7, np.float32)
    binding = session.io_binding()
    binding.bind_cpu_input("x", np.ones(3, np.float32))
    binding.bind_cpu_input("shape", np.array([5]))
    binding.bind_ortvalue_output("a", ort.OrtValue.ortvalue_from_numpy(target))
    binding.bind_output("b")
    with pytest.raises(RuntimeError, match="Error in execution"):
        session.run_with_iobinding(binding)
    assert (target == 7).all()


def test_any_dlpack_tensor_can_be_bound():
    class Tensor:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **keywords):
            return self.array.__dlpack__(**keywords)

        def __dlpack_device__(self):
            return (1, 0)

    session = ort.InferenceSession(dense())
    binding = session.io_binding()
    binding.bind_cpu_input("x", Tensor(X.copy()))
    binding.bind_output("y")
    session.run_with_iobinding(binding)
    np.testing.assert_allclose(
        binding.copy_outputs_to_cpu()[0], dense_reference(X), rtol=1e-5
    )


def test_mistakes_are_named():
    session = ort.InferenceSession(dense())
    binding = session.io_binding()
    with pytest.raises(RuntimeError, match="At least one output"):
        session.run_with_iobinding(binding)
    with pytest.raises(RuntimeError, match="name: nope"):
        binding.bind_cpu_input("nope", X)
    with pytest.raises(RuntimeError, match="name: nope"):
        binding.bind_output("nope")
    with pytest.raises(ValueError, match="the session that created it"):
        ort.InferenceSession(dense()).run_with_iobinding(binding)
    with pytest.raises(ValueError, match="Unsupported device type: foo"):
        binding.bind_output("y", "foo")


def test_a_device_nobody_owns_is_the_host_loudly_and_an_error_when_strict(
    registered, monkeypatch
):
    registered()
    session = ort.InferenceSession(dense())
    binding = session.io_binding()
    with pytest.warns(ort.FallbackWarning, match="device cuda:0.*on the host"):
        value = ort.OrtValue.ortvalue_from_numpy(X, "cuda")
    with pytest.warns(ort.FallbackWarning, match="device cuda:0.*on the host"):
        binding.bind_output("y", "cuda")
    binding.bind_ortvalue_input("x", value)
    session.run_with_iobinding(binding)
    (result,) = binding.get_outputs()
    assert result.device_name() == "cpu"
    np.testing.assert_allclose(result.numpy(), dense_reference(X), rtol=1e-5)
    strict = ort.InferenceSession(dense(), strict=True).io_binding()
    with pytest.raises(RuntimeError, match="copies"):
        strict.bind_output("y", "cuda")
    monkeypatch.setenv("RUNTIME_STRICT", "1")
    with pytest.raises(RuntimeError, match=r"no usable provider.*cuda"):
        ort.OrtValue.ortvalue_from_numpy(X, "cuda")


def test_a_repeated_bound_run_sees_arrays_that_changed_in_place():
    session = ort.InferenceSession(dense())
    x, y = X.copy(), np.zeros((5, 3), np.float32)
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_ortvalue_output("y", ort.OrtValue.ortvalue_from_numpy(y))
    for factor in (1, 2, 3, 4):
        x[...] = factor * X
        session.run_with_iobinding(binding)
        np.testing.assert_allclose(y, dense_reference(factor * X), rtol=1e-5)
        assert binding.get_outputs()[0].data_ptr() == y.ctypes.data


def test_a_repeated_bound_run_gives_every_run_memory_of_its_own():
    session = ort.InferenceSession(dense())
    binding = session.io_binding()
    binding.bind_cpu_input("x", X)
    binding.bind_output("y")
    results = []
    for _ in range(3):
        session.run_with_iobinding(binding)
        results.append(binding.get_outputs()[0].numpy())
    assert len({result.ctypes.data for result in results}) == 3


def test_a_binding_runs_on_the_providers_its_session_has_now(registered):
    session = ort.InferenceSession(dense())
    binding = session.io_binding()
    binding.bind_cpu_input("x", X)
    binding.bind_output("y")
    for _ in range(3):
        session.run_with_iobinding(binding)
    choosy = Choosy("AnyExecutionProvider", ["Relu"])
    registered(choosy)
    session.set_providers(["AnyExecutionProvider"])
    session.run_with_iobinding(binding)
    assert choosy.compiled
    np.testing.assert_allclose(
        binding.copy_outputs_to_cpu()[0], dense_reference(X), rtol=1e-5
    )


def test_strings_bound_and_changed_in_place_are_read_at_each_run():
    words = np.array(["a", "b"], object)
    session = ort.InferenceSession(
        model(
            [node("Identity", ["x"], ["y"])], {"x": (8, [2])}, {"y": (8, [2])}
        ).SerializeToString()
    )
    binding = session.io_binding()
    binding.bind_cpu_input("x", words)
    binding.bind_output("y")
    for word in ("a", "c", "d"):
        words[0] = word
        session.run_with_iobinding(binding)
        assert list(binding.copy_outputs_to_cpu()[0]) == [word, "b"]


def test_bound_runs_are_profiled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ort.SessionOptions()
    options.enable_profiling = True
    session = ort.InferenceSession(dense(), options)
    binding = session.io_binding()
    binding.bind_cpu_input("x", X)
    binding.bind_output("y")
    session.run_with_iobinding(binding)
    events = json.loads((tmp_path / session.end_profiling()).read_text())
    assert any(event["cat"] == "Node" for event in events)


def test_outputs_come_as_a_vector_too():
    session = ort.InferenceSession(dense())
    binding = session.io_binding()
    binding.bind_cpu_input("x", X)
    binding.bind_output("y")
    assert len(binding.get_outputs_as_ortvaluevector()) == 0
    session.run_with_iobinding(binding)
    vector = binding.get_outputs_as_ortvaluevector()
    assert [vector.element_type_at(at) for at in range(len(vector))] == [1]
    (tensor,) = vector.to_dlpacks()
    assert "dltensor" in repr(tensor)


class OnGpu:
    """Another library's tensor on a CUDA device: an address, a shape and a type."""

    def __init__(self, array, strides=None):
        self.array = array
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "strides": strides,
        }


@pytest.fixture
def cuda(registered):
    provider = DeviceProvider("CudaLikeExecutionProvider", OPS, "cuda")
    registered(provider)
    return provider


def test_memory_of_a_gpu_is_bound_where_it_is(cuda):
    session = ort.InferenceSession(dense(), providers=["CudaLikeExecutionProvider"])
    binding = session.io_binding()
    x = X.copy()
    binding.bind_cpu_input("x", OnGpu(x))
    binding.bind_output("y", "cuda")
    cuda.uploads = cuda.downloads = 0
    for factor in (1, 2):
        x[...] = factor * X
        session.run_with_iobinding(binding)
        (result,) = binding.get_outputs()
        assert result.device_name() == "cuda"
        np.testing.assert_allclose(
            result._value.data, dense_reference(factor * X), rtol=1e-5
        )
    assert (cuda.uploads, cuda.downloads) == (0, 0)


def test_memory_of_a_gpu_is_copied_to_where_it_is_fed(cuda):
    session = ort.InferenceSession(dense())
    (result,) = session.run(None, {"x": OnGpu(X.copy())})
    np.testing.assert_allclose(result, dense_reference(X), rtol=1e-5)


def test_memory_of_a_gpu_is_taken_in_c_order(cuda):
    binding = ort.InferenceSession(dense()).io_binding()
    binding.bind_cpu_input("x", OnGpu(X.copy(), (16, 4)))
    with pytest.raises(ValueError, match="C order"):
        binding.bind_cpu_input("x", OnGpu(X.copy(), (4, 20)))


def test_ort_values_on_a_gpu_are_fed_where_they_are(cuda):
    session = ort.InferenceSession(dense(), providers=["CudaLikeExecutionProvider"])
    value = ort.OrtValue.ortvalue_from_numpy(X, "cuda")
    cuda.uploads = cuda.downloads = 0
    (result,) = session.run_with_ort_values(None, {"x": value})
    assert result.device_name() == "cpu"
    np.testing.assert_allclose(result.numpy(), dense_reference(X), rtol=1e-5)
    assert (cuda.uploads, cuda.downloads) == (0, 1)
