"""Tensors of every element type pass between libraries by DLPack, without a copy."""

import gc

import ml_dtypes
import numpy as np
import pytest
import runtime as ort
from models import model, node
from runtime.api import dlpack
from runtime.valuetypes import ELEMENT_TYPES, numpy_dtype

SHARED = [code for code in ELEMENT_TYPES if code != 8]
PEERS = [
    code
    for code in (1, 2, 3, 5, 6, 7, 9, 10, 11, 16)
    if numpy_dtype(code).kind in "fiubV"
]


def ones(code, shape=(2, 3)):
    return np.ones(shape).astype(numpy_dtype(code))


@pytest.mark.parametrize("code", SHARED)
def test_every_type_goes_out_and_comes_back_as_the_same_memory(code):
    array = ones(code)
    there = ort.OrtValue.ortvalue_from_numpy(array)
    back = ort.OrtValue.from_dlpack(there)
    assert back.element_type() == code
    assert back.shape() == [2, 3]
    assert back.data_ptr() == array.ctypes.data
    array[0, 0] = 2 if code == 24 else 0  # float8e8m0 has no zero
    assert back.numpy()[0, 0] == array[0, 0] != array[0, 1]


@pytest.mark.parametrize("code", PEERS)
def test_another_runtime_takes_and_gives_the_same_tensors(code):
    peer = pytest.importorskip("onnxruntime")
    array = ones(code)
    theirs = peer.OrtValue.from_dlpack(ort.OrtValue.ortvalue_from_numpy(array))
    assert theirs.element_type() == code
    assert theirs.data_ptr() == array.ctypes.data
    ours = ort.OrtValue.from_dlpack(theirs)
    if code != 9:  # onnxruntime hands booleans out as uint8
        assert ours.element_type() == code
    assert ours.data_ptr() == array.ctypes.data


def test_the_protocols_newest_version_can_be_asked_for():
    value = ort.OrtValue.ortvalue_from_numpy(ones(16))
    assert "dltensor_versioned" in repr(value.__dlpack__(max_version=(1, 0)))
    assert "versioned" not in repr(value.__dlpack__())
    plain = ort.OrtValue.ortvalue_from_numpy(ones(1))
    assert np.from_dlpack(plain).tolist() == [[1, 1, 1]] * 2
    assert "dltensor" in repr(plain.__dlpack__(max_version=(1, 0)))


def test_small_elements_are_refused_to_who_cannot_know_they_take_a_byte_each():
    value = ort.OrtValue.ortvalue_from_numpy(ones(22))
    with pytest.raises(BufferError, match=r"max_version=\(1, 1\)"):
        value.__dlpack__()


def test_memory_is_kept_while_it_is_lent_and_let_go_after():
    def lent():
        return len(dlpack._lent)

    dlpack.take_back()
    before = lent()
    back = ort.OrtValue.from_dlpack(ort.OrtValue.ortvalue_from_numpy(ones(16)))
    gc.collect()
    assert lent() == before + 1
    assert back.numpy().astype(np.float32).tolist() == [[1, 1, 1]] * 2
    del back
    gc.collect()
    assert lent() == before
    capsule = ort.OrtValue.ortvalue_from_numpy(ones(16)).__dlpack__()
    assert lent() == before + 1
    del capsule
    dlpack.take_back()
    assert lent() == before


def test_a_library_that_lacks_the_type_says_so():
    with pytest.raises((BufferError, RuntimeError)):
        np.from_dlpack(ort.OrtValue.ortvalue_from_numpy(ones(16)))


def test_a_capsule_is_used_once():
    capsule = dlpack.lend(ones(16))
    dlpack.borrow(capsule)
    with pytest.raises(BufferError, match="used before"):
        dlpack.borrow(capsule)


def test_views_and_empty_tensors_have_their_shape():
    array = ones(16, (4, 6))[::2, 1::2]
    assert dlpack.borrow(dlpack.lend(array)).strides == array.strides
    assert dlpack.borrow(dlpack.lend(ones(16, (0, 3)))).shape == (0, 3)
    assert dlpack.borrow(dlpack.lend(ones(16, ()))).shape == ()


@pytest.mark.parametrize("code", [16, 17, 19, 22, 21, 9])
def test_sessions_take_and_give_types_that_numpy_lacks(code):
    session = ort.InferenceSession(
        model(
            [node("Identity", ["x"], ["y"])],
            {"x": (code, [2, 3])},
            {"y": (code, [2, 3])},
            opset=21,
        ).SerializeToString()
    )
    array = ones(code)
    (plain,) = session.run(None, {"x": array})
    assert plain.dtype == array.dtype
    assert plain.tolist() == array.tolist()
    value = ort.OrtValue.ortvalue_from_numpy(array)
    (result,) = session.run_with_ort_values(None, {"x": value})
    assert result.element_type() == code
    assert result.numpy().tolist() == array.tolist()
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", value)
    binding.bind_output("y")
    session.run_with_iobinding(binding)
    assert binding.get_outputs()[0].numpy().tolist() == array.tolist()


def test_bytes_become_another_type_of_the_same_size():
    bits = np.full(3, 0x3F80, np.uint16)
    value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, 16)
    assert value.data_type() == "tensor(bfloat16)"
    assert value.numpy().dtype == ml_dtypes.bfloat16
    assert value.numpy().astype(float).tolist() == [1, 1, 1]
