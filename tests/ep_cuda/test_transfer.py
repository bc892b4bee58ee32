"""Values cross between the host and devices whole, counted, and never by accident."""

import os

import ml_dtypes
import numpy as np
import pytest
from runtime.abilities import Transfer
from runtime.errors import ProviderUnavailable
from runtime.plugin import HOST, Device
from runtime_ep_cuda import devices
from runtime_ep_cuda.arrays import DeviceArray
from runtime_ep_cuda.transfer import between

CUDA = Device("cuda", 0)


@pytest.fixture
def up(card):
    return between(HOST, CUDA)


@pytest.fixture
def down(card):
    return between(CUDA, HOST)


VALUES = {
    "scalar": np.array(3.5),
    "empty": np.zeros((0, 3), np.float32),
    "transposed": np.arange(12, dtype=np.int16).reshape(3, 4).T,
    "bool": np.array([True, False]),
    "half": np.arange(5, dtype=np.float16),
    "bfloat16": np.arange(5).astype(ml_dtypes.bfloat16),
    "float8": np.arange(5).astype(ml_dtypes.float8_e4m3fn),
    "int4": np.arange(-4, 4).astype(ml_dtypes.int4),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_as_it_was(up, down, name):
    value = VALUES[name]
    there = up(value)
    assert isinstance(there, DeviceArray)
    assert (there.shape, there.dtype) == (value.shape, value.dtype)
    back = down(there)
    assert back.dtype == value.dtype
    np.testing.assert_array_equal(back, value)


def test_sequences_and_absent_values_cross_too(up, down):
    there = up([np.ones(3), None])
    assert there[1] is None
    np.testing.assert_array_equal(down(there)[0], np.ones(3))


def test_texts_stay_on_the_host(up):
    with pytest.raises(TypeError, match="no GPU has strings"):
        up(np.array(["a", "b"], object))


def test_all_transfers_have_the_full_form(card):
    for pair in ((HOST, CUDA), (CUDA, HOST), (CUDA, CUDA)):
        assert isinstance(between(*pair), Transfer)
    assert between(HOST, Device("npu")) is None
    assert between(Device("npu"), CUDA) is None


def test_bytes_are_counted(card, up, down):
    down(up(np.zeros(100, np.float32)))
    traffic = devices.device(0).traffic
    assert (traffic.uploads, traffic.uploaded) == (1, 400)
    assert (traffic.downloads, traffic.downloaded) == (1, 400)


def test_memory_that_is_there_is_filled(card, up, down):
    target = up.empty((2, 3), np.float32)
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert up.copy(value, target) is target
    second = up.empty((2, 3), np.float32)
    between(CUDA, CUDA).copy(target, second)
    out = np.zeros((3, 2), np.float32).T
    assert down.copy(second, out) is out
    np.testing.assert_array_equal(out, value)


def test_memory_of_another_kind_is_not_filled(up):
    target = up.empty((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"float32\[3, 2\] does not fit"):
        up.copy(np.zeros((3, 2), np.float32), target)
    with pytest.raises(ValueError, match="must be the same"):
        up.copy(np.zeros((2, 3), np.float16), target)


def test_foreign_memory_is_wrapped(card, up, down):
    theirs = up(np.arange(4, dtype=np.int32))
    ours = up.wrap(theirs.pointer, (2, 2), np.int32)
    np.testing.assert_array_equal(down(ours), [[0, 1], [2, 3]])


def test_a_callers_stream_is_used_and_not_waited_for(card, up, down):
    driver = devices.opened(0)
    stream = driver.stream()
    there = up.copy(np.ones(4), stream=stream)
    with pytest.raises(RuntimeError, match="a race"):
        down(there)
    np.testing.assert_array_equal(down.copy(there, stream=stream), np.ones(4))


def test_memory_returns_to_the_pool_with_the_array(card, up):
    pool = devices.device(0).pool
    there = up(np.zeros(1000))
    assert pool.used >= 8000
    del there
    assert pool.used == 0


def test_the_host_cannot_read_a_device_by_accident(up):
    there = up(np.arange(3.0))
    with pytest.raises(TypeError, match=r"on cuda:0.*OrtValue\.numpy"):
        np.asarray(there)
    with pytest.raises(BufferError):
        np.from_dlpack(there)
    assert repr(there) == "<float64[3] on cuda:0>"


def test_others_find_the_memory_by_the_array_interface(up):
    there = up(np.zeros((2, 3), np.float16))
    told = there.__cuda_array_interface__
    assert told["shape"] == (2, 3)
    assert told["typestr"] == "<f2"
    assert told["data"] == (there.pointer, False)
    assert told["strides"] is None
    assert there.__dlpack_device__() == (2, 0)


def test_values_go_to_another_device(card, up):
    there = up(np.arange(5.0))
    other = between(CUDA, Device("cuda", 1))(there)
    assert other.driver.index == 1
    back = between(Device("cuda", 1), HOST)(other)
    np.testing.assert_array_equal(back, np.arange(5.0))


def test_each_device_is_opened_once(card):
    assert devices.opened(0) is devices.opened(0)
    assert devices.opened(1) is not devices.opened(0)


def test_a_device_that_cannot_be_opened_is_told():
    def broken(index):
        raise RuntimeError("the card is gone")

    with (
        devices.replaced(broken),
        pytest.raises(ProviderUnavailable, match="device 0 cannot be opened: the card"),
    ):
        devices.opened(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_a_forked_process_opens_its_own(card, up, down):
    there = up(np.arange(3.0))
    first = devices.opened(0)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            same = devices.opened(0) is first
            fresh = between(HOST, CUDA)(np.ones(2))
            del there
            code = int(same or fresh.driver is first)
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(down(there), np.arange(3.0))
