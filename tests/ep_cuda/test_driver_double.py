"""The double stops what goes wrong on a device now and then: races, recordings, memory."""

import gc

import numpy as np
import pytest
from double.host import HostDriver
from double.libraries import specs
from runtime_ep_cuda.codegen.kernel import Kernel
from runtime_ep_cuda.driver import OutOfMemory
from runtime_ep_cuda.memory import Pool
from runtime_ep_cuda.operations import Product, Spec

TWICE = Kernel(
    "twice",
    'extern "C" __global__ void twice(const float* x, float* y, int n) {'
    "  int i = blockIdx.x * blockDim.x + threadIdx.x;"
    "  if (i < n) y[i] = 2 * x[i];"
    "}",
    ("pointer", "pointer", "i32"),
    64,
)


@pytest.fixture
def placed(driver):
    """Return a device, a stream, x on it and room for y, and the kernel."""
    stream = driver.stream()
    x, y = driver.allocate(256), driver.allocate(256)
    driver.upload(x, np.arange(64, dtype=np.float32), stream)
    return driver, stream, x, y, driver.load([TWICE], None)["twice"]


def launch(driver, function, x, y, stream):
    driver.launch(function, (1, 1, 1), (64, 1, 1), 0, (x, y, 64), stream)


def read(driver, address, stream):
    found = np.empty(64, np.float32)
    driver.download(found, address, stream)
    return found


def test_a_kernel_runs_in_order_with_copies(placed):
    driver, stream, x, y, twice = placed
    launch(driver, twice, x, y, stream)
    np.testing.assert_array_equal(read(driver, y, stream), 2 * np.arange(64))
    assert driver.counts["launches"] == driver.counts["uploads"] == 1
    assert driver.counts["downloaded"] == 256


def test_new_memory_is_nan_and_fills_and_copies_reach_it(driver):
    stream = driver.stream()
    a, b = driver.allocate(256), driver.allocate(256)
    assert np.isnan(read(driver, a, stream)).all()
    driver.fill(a, 0, 256, stream)
    driver.copy(b, a, 256, stream)
    assert (read(driver, b, stream) == 0).all()


def test_other_streams_must_wait(placed):
    driver, stream, x, y, twice = placed
    other = driver.stream()
    with pytest.raises(RuntimeError, match="a race"):
        launch(driver, twice, x, y, other)
    event = driver.event()
    with pytest.raises(RuntimeError, match="not recorded"):
        driver.wait(event, other)
    driver.record(event, stream)
    driver.wait(event, other)
    launch(driver, twice, x, y, other)
    with pytest.raises(RuntimeError, match="a race"):
        read(driver, y, stream)
    driver.synchronize(other)
    assert read(driver, y, stream)[3] == 6


def test_memory_is_not_overwritten_while_another_stream_reads(placed):
    driver, stream, x, y, twice = placed
    launch(driver, twice, x, y, stream)
    other = driver.stream()
    with pytest.raises(RuntimeError, match="a race"):
        driver.fill(x, 0, 256, other)


def test_recorded_work_is_done_when_it_is_launched(placed):
    driver, stream, x, y, twice = placed
    with driver.recording(stream) as found:
        launch(driver, twice, x, y, stream)
        driver.copy(x, y, 256, stream)
    assert driver.counts["launches"] == 0
    (recording,) = found
    for _ in range(3):
        recording.launch(stream)
    np.testing.assert_array_equal(read(driver, x, stream), 8 * np.arange(64))
    assert driver.counts["replays"] == 3
    recording.close()
    with pytest.raises(RuntimeError, match="closed"):
        recording.launch(stream)


@pytest.mark.parametrize(
    "what",
    [
        lambda d, s, x: d.allocate(10),
        lambda d, s, x: d.free(x),
        lambda d, s, x: d.upload(x, np.zeros(3), s),
        lambda d, s, x: d.download(np.zeros(3), x, s),
        lambda d, s, x: d.synchronize(s),
        lambda d, s, x: d.using(s).__enter__(),
        lambda d, s, x: d.recording(s).__enter__(),
    ],
)
def test_nothing_may_wait_or_allocate_while_a_stream_is_recorded(placed, what):
    driver, stream, x, _, _ = placed
    with (
        pytest.raises(RuntimeError, match=r"not while|recorded"),
        driver.recording(stream),
    ):
        what(driver, stream, x)


def test_the_default_stream_cannot_be_recorded(driver):
    with pytest.raises(RuntimeError, match="default stream"):
        driver.recording(0).__enter__()


def test_freed_memory_is_gone(placed):
    driver, stream, x, y, twice = placed
    driver.free(x)
    with pytest.raises(RuntimeError, match="pointer 0: .* have been freed"):
        launch(driver, twice, x, y, stream)
    with pytest.raises(RuntimeError, match="have been freed"):
        read(driver, x, stream)
    with pytest.raises(RuntimeError, match="freed already"):
        driver.free(x)


def test_a_recording_finds_its_memory_gone(placed):
    driver, stream, x, y, twice = placed
    with driver.recording(stream) as found:
        launch(driver, twice, x, y, stream)
    driver.free(y)
    with pytest.raises(RuntimeError, match="freed"):
        found[0].launch(stream)


def test_copies_stay_within_one_allocation(placed):
    driver, stream, x, y, _ = placed
    with pytest.raises(RuntimeError, match="not within one allocation"):
        driver.copy(y, x, 300, stream)
    with pytest.raises(RuntimeError, match="no place yet"):
        driver.copy(0, x, 16, stream)


def test_memory_ends():
    device = HostDriver(memory=1 << 20)
    held = device.allocate(900 << 10)
    with pytest.raises(OutOfMemory):
        device.allocate(200 << 10)
    device.free(held)
    assert device.memory() == (1 << 20, 1 << 20)
    device.close()


def test_values_go_from_one_device_to_another(driver):
    second = HostDriver(1)
    here, there = driver.stream(), second.stream()
    x, y = driver.allocate(256), second.allocate(256)
    driver.upload(x, np.arange(64, dtype=np.float32), here)
    driver.synchronize(here)
    second.copy(y, x, 256, there)
    np.testing.assert_array_equal(read(second, y, there), np.arange(64))
    second.close()


def test_time_between_events_is_known_once_they_are_waited_for(driver):
    stream = driver.stream()
    begin, end = driver.event(), driver.event()
    driver.record(begin, stream)
    driver.record(end, stream)
    with pytest.raises(RuntimeError, match="not have been reached"):
        driver.elapsed(begin, end)
    driver.synchronize(stream)
    assert 0 <= driver.elapsed(begin, end) < 1


def test_libraries_compute_operations_and_use_their_workspace(driver):
    a = Spec("float32", (1, 3, 4), (12, 4, 1))
    b = Spec("float32", (1, 4, 5), (20, 1, 4))
    y = Spec("float32", (1, 3, 5), (15, 5, 1))
    operation = Product(a, b, y)
    assert specs(operation) == ((a, b), y)
    (candidate,) = driver.candidates(operation, 1 << 20)
    stream = driver.stream()
    rng = np.random.default_rng(0)
    left, right = rng.random((1, 3, 4), np.float32), rng.random((1, 5, 4), np.float32)
    places = [driver.allocate(n * 4) for n in (12, 20, 15)]
    workspace = driver.allocate(candidate.workspace)
    driver.upload(places[0], left, stream)
    driver.upload(places[1], right, stream)
    candidate.run(places, workspace, stream)
    found = np.empty((1, 3, 5), np.float32)
    driver.download(found, places[2], stream)
    np.testing.assert_allclose(found, left @ right.transpose(0, 2, 1), rtol=1e-6)
    again = driver.restore(operation, candidate.save())
    assert again is not None
    assert again.workspace == candidate.workspace
    assert driver.restore(Product(a, b, y, 2.0), candidate.save()) is None


def test_views_are_arrays_over_the_devices_memory(driver):
    stream = driver.stream()
    x = driver.allocate(256)
    driver.upload(x, np.arange(64, dtype=np.float32), stream)
    driver.synchronize(stream)
    with driver.using(stream):
        driver.view(x, (64,), "float32")[...] += 1
    assert read(driver, x, stream)[5] == 6


def test_the_collector_may_free_memory_while_the_double_keeps_its_books(driver):
    class Held:
        """Memory in a cycle, which is freed when the collector comes by."""

        def __init__(self):
            self.itself, self.pool = self, Pool(driver)
            self.address = self.pool.allocate(256)

    streams, before = [driver.stream() for _ in range(4)], gc.get_threshold()
    gc.set_threshold(7)
    try:
        for number in range(500):
            stream, held = streams[number % 4], Held()
            driver.upload(held.address, np.zeros(64, np.uint8), stream)
            driver.synchronize(stream)
    finally:
        gc.set_threshold(*before)
