"""Names that begin with ``_``, which clients read all the same, mean what they do there."""

from importlib import import_module

import numpy as np
import pytest
import runtime
from models import dense

onnxruntime = pytest.importorskip("onnxruntime")

X = np.arange(8, dtype=np.float32).reshape(2, 4)


def session(ort, source=None):
    return ort.InferenceSession(source or dense(), providers=["CPUExecutionProvider"])


def state(ort):
    return import_module(f"{ort.__name__}.capi._pybind_state")


def device(ort):
    """Return the host by the extension module's numbers."""
    kind = state(ort).OrtDevice
    return kind(kind.cpu(), kind.default_memory(), 0)


def told_of(ort, made):
    names = ("type", "id", "mem_type", "vendor_id")
    return [getattr(ort.OrtDevice(made), f"device_{name}")() for name in names]


def names_and_shapes(given):
    return [(each.name, each.shape, each.type) for each in given]


def bound_by_value(ort):
    made = session(ort)
    binding = made.io_binding()
    binding._iobinding.bind_input("x", X)
    binding._iobinding.bind_output("y", device(ort))
    made.run_with_iobinding(binding)
    (made_here,) = binding._iobinding.get_outputs()
    return type(binding._iobinding.get_outputs()).__name__, made_here.numpy()


def bound_by_address(ort):
    made, y = session(ort), np.zeros((2, 3), np.float32)
    binding, place = state(ort).SessionIOBinding(made._sess), device(ort)
    binding.bind_input("x", place, np.float32, X.shape, X.ctypes.data)
    binding.bind_output("y", place, np.float32, y.shape, y.ctypes.data)
    made._sess.run_with_iobinding(binding, None)
    return y


def passed_through_capsules(ort):
    value = ort.OrtValue.ortvalue_from_numpy(X)
    again = ort.OrtValue.from_dlpack(value._ortvalue.to_dlpack())
    return again.numpy(), again.data_ptr() == value._ortvalue.data_ptr()


PROBES = {
    "the model's path": lambda ort: session(ort, path("dense"))._model_path,
    "no path of bytes": lambda ort: session(ort)._model_path,
    "the model's bytes": lambda ort: session(ort)._model_bytes,
    "no bytes of a path": lambda ort: session(ort, path("dense"))._model_bytes,
    "the session within": lambda ort: session(ort)._sess.run(["y"], {"x": X}, None)[0],
    "the options": lambda ort: type(session(ort)._sess_options).__name__,
    "the inputs": lambda ort: names_and_shapes(session(ort)._inputs_meta),
    "the outputs": lambda ort: names_and_shapes(session(ort)._outputs_meta),
    "what may be fed": lambda ort: session(ort)._overridable_initializers,
    "the description": lambda ort: session(ort)._model_meta.producer_name,
    "the providers": lambda ort: session(ort)._providers,
    "their options": lambda ort: [*session(ort)._provider_options],
    "a value bound": bound_by_value,
    "memory bound": bound_by_address,
    "a capsule": passed_through_capsules,
    "a value made of one": lambda ort: (
        ort.OrtValue(ort.OrtValue.ortvalue_from_numpy(X)._ortvalue).numpy()
    ),
    "a device made of one": lambda ort: (
        ort.OrtDevice(ort.OrtDevice.make("cpu", 0)._ort_device).device_type()
    ),
    "the device within": lambda ort: (
        ort.OrtDevice.make("cpu", 0)._get_c_device().device_id()
    ),
    "a device by numbers": lambda ort: told_of(ort, device(ort)),
    "a device with its vendor": lambda ort: (
        told_of(ort, state(ort).OrtDevice(1, 0, 0x10DE, 2))
    ),
    "the numbers of devices": lambda ort: [
        getattr(state(ort).OrtDevice, name)()
        for name in (
            "cpu", "cuda", "gpu", "webgpu", "fpga", "npu", "cann", "dml", "default_memory"
        )
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def path(name):
    with open(f"{name}.onnx", "wb") as file:
        file.write(dense())
    return f"{name}.onnx"


@pytest.mark.parametrize("name", PROBES)
def test_a_name_answers_as_there(name):
    assert rounded(PROBES[name](runtime)) == rounded(PROBES[name](onnxruntime))


def rounded(found):
    """Return what a probe found with its arrays as lists, to five places."""
    if isinstance(found, tuple):
        return [rounded(each) for each in found]
    return np.round(found, 5).tolist() if isinstance(found, np.ndarray) else found


def test_what_a_client_sets_stays_set():
    made = session(runtime)
    made._model_path, made._model_bytes = "elsewhere.onnx", None
    assert (made._model_path, made._model_bytes) == ("elsewhere.onnx", None)
    np.testing.assert_allclose(made.run(None, {"x": X})[0].sum(), 2, rtol=1e-5)


def test_a_capsule_of_bytes_can_be_one_of_booleans():
    value = runtime.OrtValue.from_dlpack(np.array([0, 1], np.uint8), True)
    assert value.data_type() == "tensor(bool)"
    assert value.numpy().tolist() == [False, True]


def test_what_is_no_tensor_is_told():
    with pytest.raises(TypeError, match="list does not speak DLPack"):
        runtime.OrtValue.from_dlpack([1.0])
