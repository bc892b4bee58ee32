"""Values on a device, through onnxruntime's API: OrtValue, IOBinding, streams, devices."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest
import runtime as ort
from models import dense, dense_reference
from on_the_double import driver, opened, registered
from runtime_ep_cuda import devices

RNG = np.random.default_rng(7)


def x(rows=3):
    return RNG.standard_normal((rows, 4)).astype(np.float32)


def on_device(array, index=0):
    return ort.OrtValue.ortvalue_from_numpy(array, "cuda", index)


def close(got, given):
    np.testing.assert_allclose(got, dense_reference(given), rtol=1e-5, atol=1e-6)


class Foreign:
    """Another library's array on a device, known by its array interface alone."""

    def __init__(self, value):
        self._value = value
        self.__cuda_array_interface__ = value._value.__cuda_array_interface__


def test_a_value_on_the_device_comes_back(cuda):
    given = x()
    value = on_device(given)
    assert value.device_name() == "cuda"
    assert value.shape() == [3, 4]
    assert value.data_ptr() == value._value.pointer
    np.testing.assert_array_equal(value.numpy(), given)
    with pytest.raises(TypeError, match="cuda:0"):
        np.asarray(value._value)


def test_a_value_is_made_empty_and_filled(cuda):
    value = ort.OrtValue.ortvalue_from_shape_and_type((2, 3), np.float16, "cuda", 0)
    given = np.arange(6, dtype=np.float16).reshape(2, 3)
    value.update_inplace(given)
    np.testing.assert_array_equal(value.numpy(), given)
    value.update_inplace(on_device(given + 1).numpy())
    np.testing.assert_array_equal(value.numpy(), given + 1)


def test_sessions_take_values_of_the_device_as_feeds(cuda):
    given = x()
    session = opened(dense())
    (got,) = session.run_with_ort_values(None, {"x": on_device(given)})
    close(got.numpy(), given)


def test_bound_inputs_and_outputs_stay_on_the_device(cuda):
    given = x()
    session = opened(dense())
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", on_device(given))
    binding.bind_output(session.get_outputs()[0].name, "cuda", 0)
    session.run_with_iobinding(binding)
    counts = driver().counts
    before = (counts["uploads"], counts["downloads"])
    for _ in range(3):
        session.run_with_iobinding(binding)
    assert (counts["uploads"], counts["downloads"]) == before
    (out,) = binding.get_outputs()
    assert out.device_name() == "cuda"
    close(out.numpy(), given)
    close(binding.copy_outputs_to_cpu()[0], given)


def test_results_are_written_into_memory_that_is_bound(cuda):
    session = opened(dense())
    name = session.get_outputs()[0].name
    binding = session.io_binding()
    source = ort.OrtValue.ortvalue_from_shape_and_type((3, 4), np.float32, "cuda", 0)
    shape = dense_reference(x()).shape
    target = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, "cuda", 0)
    binding.bind_ortvalue_input("x", source)
    binding.bind_ortvalue_output(name, target)
    for _ in range(4):
        given = x()
        source.update_inplace(given)
        session.run_with_iobinding(binding)
        close(target.numpy(), given)
    assert driver().counts["replays"] >= 2


def test_memory_is_bound_by_its_address(cuda):
    given = x()
    session = opened(dense())
    name = session.get_outputs()[0].name
    shape = dense_reference(given).shape
    source = on_device(given)
    target = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, "cuda", 0)
    binding = session.io_binding()
    binding.bind_input("x", "cuda", 0, np.float32, given.shape, source.data_ptr())
    binding.bind_output(name, "cuda", 0, np.float32, shape, target.data_ptr())
    session.run_with_iobinding(binding)
    close(target.numpy(), given)


def test_arrays_of_other_libraries_are_fed_by_their_array_interface(cuda):
    given = x()
    foreign = Foreign(on_device(given))
    session = opened(dense())
    close(session.run(None, {"x": foreign})[0], given)


def test_sessions_run_on_the_device_that_is_asked_for(card):
    with registered(2):
        given = x()
        session = opened(dense(), device_id=1)
        close(session.run(None, {"x": given})[0], given)
        assert [made.index for made in card.drivers] == [1]
        value = on_device(given, 1)
        close(session.run_with_ort_values(None, {"x": value})[0].numpy(), given)


def test_a_limit_is_held_and_told(cuda):
    with pytest.warns(ort.FallbackWarning, match=r"gpu_mem_limit is 1\.0 KiB"):
        session = opened(dense(), gpu_mem_limit=1024)
        given = x(500)
        close(session.run(None, {"x": given})[0], given)


def test_memory_may_come_from_a_callers_allocator(cuda):
    device = devices.device(0).driver
    sizes, freed = [], []

    def allocate(size):
        sizes.append(size)
        return device.allocate(size)

    def free(address):
        freed.append(address)
        device.free(address)

    functions = (
        ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)(allocate),
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(free),
    )
    addresses = [str(ctypes.cast(f, ctypes.c_void_p).value) for f in functions]
    session = opened(
        dense(),
        gpu_external_alloc=addresses[0],
        gpu_external_free=addresses[1],
        arena_extend_strategy="kSameAsRequested",
    )
    given = x()
    close(session.run(None, {"x": given})[0], given)
    assert sizes


def test_a_callers_stream_carries_the_work(cuda):
    device = devices.device(0).driver
    stream = device.stream()
    session = opened(dense(), user_compute_stream=str(stream))
    for _ in range(4):
        given = x()
        close(session.run(None, {"x": given})[0], given)
    assert device.order.clock(stream)[stream] > 0


def test_without_a_gpu_the_cpu_answers_with_the_reason():
    code = """
import warnings, numpy as np, runtime as ort
from models import dense, dense_reference
x = np.ones((2, 4), np.float32)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    session = ort.InferenceSession(dense(), providers=["CUDAExecutionProvider"])
np.testing.assert_allclose(session.run(None, {"x": x})[0], dense_reference(x), rtol=1e-5)
print(*(str(w.message) for w in caught))
try:
    ort.InferenceSession(dense(), providers=["CUDAExecutionProvider"], strict=True)
except Exception as error:
    print("strict:", error)
"""
    import models
    from runtime.providers import resolve

    if resolve("cuda") is None:
        pytest.skip("the provider is not installed")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(models.__file__.rpartition("/")[0]), "PATH": "",
             "CUDA_VISIBLE_DEVICES": "-1"},
    )  # fmt: skip
    told, _, strict = done.stdout.partition("strict:")
    for text in (told, strict):
        assert "CUDAExecutionProvider is installed but not usable" in text
