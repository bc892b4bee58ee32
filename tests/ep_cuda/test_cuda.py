"""CUDA's driver calls its bindings as meant; the bindings are a stand-in over the host."""

import gc
import struct
import sys
import threading

import numpy as np
import pytest
from double.bindings import Runtime, module
from runtime.errors import ProviderUnavailable
from runtime_ep_cuda import cuda, handles, nvrtc, staging
from runtime_ep_cuda.codegen.kernel import Kernel
from runtime_ep_cuda.driver import OutOfMemory, Unrecordable
from runtime_ep_cuda.memory import Pool

MIB = 1 << 20
MIXED = Kernel("mixed", "", ("i32", "pointer", "f32", "i64"), 64)


@pytest.fixture
def bindings(monkeypatch):
    """Return the stand-in for CuPy's runtime that the driver will import."""
    runtime = Runtime()

    def install(capability="90"):
        made = module(runtime, capability)
        monkeypatch.setitem(sys.modules, "cupy", made)
        monkeypatch.setitem(sys.modules, "cupy.cuda", made.cuda)
        return runtime

    monkeypatch.setattr(cuda, "versions", lambda: (("cuDNN", "9"),))
    monkeypatch.setattr(nvrtc, "version", lambda: "13.5")
    runtime.install = install
    yield install()
    runtime.space.close()


@pytest.fixture
def device(bindings, monkeypatch):
    def compiled(kernels, sm, cache):
        return [(b"cubin", [kernel.name for kernel in kernels])] if kernels else []

    monkeypatch.setattr(nvrtc, "compiled", compiled)
    return cuda.CudaDriver(1)


def test_a_device_says_what_it_is(device):
    told = device.properties
    assert (told.name, told.capability, told.sm) == ("NVIDIA Fake", (9, 0), 90)
    assert (told.multiprocessors, told.shared) == (132, 227 << 10)
    assert told.memory == device.memory()[1] == 64 * MIB
    assert dict(told.versions) == {
        "driver": "13000", "runtime": "13000", "NVRTC": "13.5", "cuDNN": "9"
    }  # fmt: skip


@pytest.mark.parametrize(("told", "capability"), [("75", (7, 5)), ("120", (12, 0))])
def test_capabilities_have_two_numbers(bindings, told, capability):
    bindings.install(told)
    assert cuda.CudaDriver(0).properties.capability == capability


def test_an_old_device_is_refused(bindings):
    bindings.install("61")
    with pytest.raises(ProviderUnavailable, match=r"compute capability 6\.1"):
        cuda.CudaDriver(0)


def test_a_forked_process_is_told_to_spawn(bindings):
    bindings.broken = cuda.NOT_INITIALIZED
    with pytest.raises(ProviderUnavailable, match="spawn"):
        cuda.CudaDriver(0)
    bindings.broken = 999
    with pytest.raises(ProviderUnavailable, match="cudaError 999"):
        cuda.CudaDriver(0)


def test_the_callers_context_stays_current(device, bindings):
    bindings.setDevice(3)
    theirs = bindings.context
    device.free(device.allocate(100))
    assert bindings.context == theirs
    with pytest.raises(OutOfMemory):
        device.allocate(1 << 40)
    assert bindings.context == theirs


def test_no_other_device_gets_a_context(device, bindings):
    assert bindings.context == 0
    device.free(device.allocate(100))
    assert bindings.context == 0
    assert bindings.contexts == {1001}  # a fresh thread's device would be 0


def test_other_errors_stay_what_they_are(device, bindings, monkeypatch):
    def fail(size):
        raise bindings.CUDARuntimeError(700)

    monkeypatch.setattr(bindings, "malloc", fail)
    with pytest.raises(RuntimeError, match="700"):
        device.allocate(1)


SIZES = [1, staging.PIECE - 1, staging.PIECE, staging.PIECE * 5 + 17]


@pytest.mark.parametrize("size", SIZES)
def test_arrays_of_any_size_cross_through_pinned_pieces(device, size):
    stream = device.stream()
    sent = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    there = device.allocate(size)
    device.upload(there, sent, stream)
    found = np.zeros_like(sent)
    device.download(found, there, stream)
    np.testing.assert_array_equal(found, sent)


def test_pinned_memory_is_bounded_and_given_back(device, bindings):
    stream, size = device.stream(), staging.PIECE * 9
    there = device.allocate(size)
    for _ in range(3):
        device.upload(there, np.zeros(size, np.uint8), stream)
    assert len(bindings.pinned) == staging.PIECES
    device.close()
    assert not bindings.pinned
    assert stream in bindings.destroyed


def test_arguments_are_packed_each_at_its_place(device, bindings):
    function = device.load([MIXED], None)["mixed"]
    device.launch(
        function, (1, 2, 3), (64, 1, 1), 16, (-7, 1 << 40, 1.5, -(1 << 50)), 9
    )
    ((name, geometry, slots),) = sys.modules["cupy"].cuda.driver.launches
    assert (name, geometry) == ("mixed", (1, 2, 3, 64, 1, 1, 16, 9))
    raw = struct.pack("4Q", *slots)
    assert struct.unpack_from("i", raw, 0)[0] == -7
    assert struct.unpack_from("Q", raw, 8)[0] == 1 << 40
    assert struct.unpack_from("f", raw, 16)[0] == 1.5
    assert struct.unpack_from("q", raw, 24)[0] == -(1 << 50)


def test_much_shared_memory_is_asked_for_once(device):
    function = device.load([MIXED], None)["mixed"]
    for shared in (48 << 10, 100 << 10, 90 << 10):
        device.launch(function, (1, 1, 1), (64, 1, 1), shared, (0, 0, 0.0, 0), 9)
    asked = sys.modules["cupy"].cuda.driver.attributes
    assert asked == [(function.handle, 8, 100 << 10)]


def test_a_kernel_is_loaded_once(device):
    first = device.load([MIXED], None)["mixed"]
    assert device.load([MIXED, MIXED], None)["mixed"] is first
    assert sys.modules["cupy"].cuda.driver.modules == [b"cubin"]


def test_work_is_recorded_and_replayed(device, bindings):
    stream = device.stream()
    there = device.allocate(256)
    with device.recording(stream) as found:
        device.fill(there, 7, 256, stream)
    back = np.zeros(256, np.uint8)
    device.download(back, there, stream)
    assert (back == 255).all()
    found[0].launch(stream)
    device.download(back, there, stream)
    assert (back == 7).all()
    found[0].close()
    found[0].close()
    assert len(bindings.destroyed) == 2


def test_a_recording_that_fails_is_ended(device, bindings):
    stream = device.stream()
    with pytest.raises(ZeroDivisionError), device.recording(stream) as found:
        raise ZeroDivisionError
    assert bindings.capturing is None
    assert not found


def test_a_recording_goes_with_its_object(device, bindings):
    with device.recording(device.stream()) as found:
        pass
    handle = found[0]._handle
    del found[0]
    assert handle in bindings.destroyed


def test_what_cannot_be_recorded_is_told_apart(device, bindings):
    stream, there = device.stream(), device.allocate(256)
    with pytest.raises(Unrecordable, match="900"), device.recording(stream):
        device.free(there)
    assert bindings.capturing is None
    with pytest.raises(Unrecordable, match="901"), device.recording(stream):
        bindings.spoilt = True
    assert bindings.capturing is None


def test_garbage_waits_until_a_recording_is_done(device, bindings):
    class Holder:
        def __init__(self):
            self.itself, self.pool = self, Pool(device)
            self.pool.allocate(1000)

    Holder()  # in a cycle: only the collector finds it
    with device.recording(device.stream()) as found:
        assert not gc.isenabled()
        with device.recording(device.stream()):
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    assert len(found) == 1
    assert bindings.space.used
    gc.collect()
    assert not bindings.space.used


def test_cupy_works_in_a_pools_memory_where_one_is_given(device):
    pool = Pool(device)
    with device.using(5, pool):
        made = device.xp.cuda.alloc(1000)
        assert (made.size, made.device_id) == (1000, 1)
        assert pool.held() == {"values": 1024}
    assert device.xp.cuda.alloc is None
    with device.using(0):
        assert device.xp.cuda.alloc is None
    assert made.ptr
    del made
    assert pool.held() == {}


def test_candidates_run_while_others_are_built(device):
    began, go_on, done = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        name, workspace = "eng0", 0

        def candidates(self, *asked):
            began.set()
            assert go_on.wait(60)
            return [self]

        def run(self, pointers, workspace, stream):
            done.set()

        def close(self):
            pass

    device._library = Slow()
    builder = threading.Thread(target=device.candidates, args=(None, 0))
    builder.start()
    assert began.wait(60)
    runner = threading.Thread(
        target=handles.CudaCandidate(device, device._library).run, args=((), 0, 5)
    )
    runner.start()
    ran = done.wait(30)
    go_on.set()
    builder.join()
    runner.join()
    assert ran


def test_events_go_with_their_objects(device, bindings):
    event = device.event()
    device.record(event, 5)
    device.wait(event, 6)
    assert device.elapsed(event, event) == 0.25
    assert device.reached(event)
    bindings.unready = 600
    assert not device.reached(event)
    device.finish(event)
    handle = event.handle
    del event
    assert handle in bindings.destroyed


def test_batches_share_kernels_out_evenly(monkeypatch):
    monkeypatch.setattr(nvrtc.os, "cpu_count", lambda: 4)
    kernels = [Kernel(f"k{n}", "x" * n, ()) for n in range(60)]
    batches = list(nvrtc._batches(kernels))
    assert sorted(len(batch) for batch in batches) == [15] * 4
    assert {k.name for batch in batches for k in batch} == {k.name for k in kernels}
    assert [len(b) for b in nvrtc._batches(kernels[:3])] == [3]
    assert list(nvrtc._batches([])) == []


def test_a_batch_is_found_again_by_any_of_its_kernels(monkeypatch):
    made = []

    def program_of(batch, sm):
        made.append(len(batch))
        return repr(sorted(k.name for k in batch)).encode()

    monkeypatch.setattr(nvrtc, "program_of", program_of)
    monkeypatch.setattr(nvrtc, "version", lambda: "13.5")
    kept = {}

    class Cache:
        get, put = staticmethod(kept.get), staticmethod(kept.__setitem__)

    kernels = [Kernel(f"k{n}", f"text {n}", ()) for n in range(4)]
    first = nvrtc.compiled(kernels, 90, Cache)
    assert sorted(name for _, names in first for name in names) == [
        "k0",
        "k1",
        "k2",
        "k3",
    ]
    count = len(made)
    again = nvrtc.compiled(kernels[1:3], 90, Cache)
    assert len(made) == count
    assert sorted(name for _, names in again for name in names) == ["k1", "k2"]
    nvrtc.compiled(kernels[1:3], 80, Cache)
    assert len(made) > count
