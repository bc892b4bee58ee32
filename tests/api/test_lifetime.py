"""A session's memory: told by device, trimmed, and given back when it is closed."""

import gc
import os
import weakref

import numpy as np
import pytest
import runtime as ort
from doubles import Choosy, DeviceProvider
from models import FLOAT, dense, model, node
from runtime.capi.onnxruntime_pybind11_state import Fail
from runtime.plugin import hookimpl

X = np.ones((2, 4), np.float32)
SHAPE = [1024, 1024]


def wide():
    """Return a model with 4 MiB of weights, and data for it."""
    weights = np.arange(1 << 20, dtype=np.float32).reshape(SHAPE)
    proto = model(
        [node("Mul", ["x", "w"], ["m"]), node("Relu", ["m"], ["y"])],
        {"x": (FLOAT, SHAPE)},
        {"y": (FLOAT, SHAPE)},
        {"w": weights},
    )
    return proto.SerializeToString(), {"x": weights}


def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
@pytest.mark.parametrize("way", ["with", "close", "drop", "set_providers"])
def test_a_hundred_sessions_give_their_memory_back(way, registered):
    """Each holds 4 MiB of weights; less than 64 KiB of it stays."""
    registered(Choosy("AnyExecutionProvider", ["Relu"]))
    data, feed = wide()
    shared = ort.InferenceSession(data)

    def once():
        if way == "set_providers":
            shared.set_providers(["AnyExecutionProvider"])
            shared.run(None, feed)
            return
        session = ort.InferenceSession(data)
        session.run(None, feed)
        if way == "with":
            with session:
                pass
        elif way == "close":
            session.close()

    def grown(count):
        gc.collect()
        before = resident()
        for _ in range(count):
            once()
        gc.collect()
        return (resident() - before) / count

    grown(10)
    assert min(grown(25) for _ in range(4)) < 1 << 16


class Held(Choosy):
    """Knows which of its executables were closed."""

    def __init__(self):
        super().__init__("HeldExecutionProvider", ["MatMul"])
        self.open = []

    @hookimpl
    def compile(self, partition, settings):
        made = super().compile(partition, settings)
        self.open.append(made)
        made.close = lambda: self.open.remove(made)
        return made


def test_what_a_replaced_session_held_is_released_at_once(registered):
    held = Held()
    registered(held)
    session = ort.InferenceSession(dense(), providers=["HeldExecutionProvider"])
    old = weakref.ref(session.graph.initializers["w"].const.numpy())
    assert len(held.open) == 1
    session.set_providers(["CPUExecutionProvider"])
    assert not held.open
    gc.collect()
    assert old() is None or old() is session.graph.initializers["w"].const.numpy()
    assert session.run(None, {"x": X})[0].shape == (2, 3)
    session.set_providers(["HeldExecutionProvider"])
    assert len(held.open) == 1
    session.close()
    assert not held.open


def test_a_session_that_could_not_be_replaced_goes_on(registered):
    held = Held()
    registered(held)
    session = ort.InferenceSession(dense(), providers=["HeldExecutionProvider"])
    with pytest.raises(Exception, match="NobodyExecutionProvider"):
        session.set_providers(["NobodyExecutionProvider"])
    assert len(held.open) == 1
    assert session.run(None, {"x": X})[0].shape == (2, 3)


def test_memory_is_told_by_device_provider_and_purpose(registered):
    class Sized(DeviceProvider):
        @hookimpl
        def compile(self, partition, settings):
            made = super().compile(partition, settings)
            made.memory = lambda: {"arena": 7 * len(partition.nodes)}
            return made

    registered(Sized("SizedExecutionProvider", ["MatMul", "Relu"]))
    plain = Choosy("PlainExecutionProvider", ["Add", "Softmax"])
    registered(plain)
    names = ["SizedExecutionProvider", "PlainExecutionProvider"]
    told = ort.InferenceSession(dense(), providers=names).memory()
    assert told["sim:0"] == {"SizedExecutionProvider": {"arena": 14}}
    assert told["cpu:0"] == {"PlainExecutionProvider": {"weights": 3 * 4}}


def test_trimming_and_closing_twice_do_no_harm():
    session = ort.InferenceSession(dense())
    want = session.run(None, {"x": X})[0]
    session.trim()
    session.trim()
    np.testing.assert_array_equal(session.run(None, {"x": X})[0], want)
    session.close()
    session.close()
    with pytest.raises(Fail, match="closed"):
        session.run(None, {"x": X})


def test_leaving_the_block_closes_even_where_it_raises(registered):
    held = Held()
    registered(held)
    with (
        pytest.raises(ZeroDivisionError),
        ort.InferenceSession(dense(), providers=["HeldExecutionProvider"]),
    ):
        raise ZeroDivisionError
    assert not held.open
