"""Runs in callers' streams share memory in order, and streams are lent again."""

import gc
import os

import numpy as np
import pytest
import runtime_ep_cuda.sessions as sessions
from models import dense, dense_reference
from on_the_double import driver, opened, programs
from runtime.abilities import Context
from runtime.errors import ExecutionError
from runtime_ep_cuda import devices
from runtime_ep_cuda.plan import MOST_MISSES
from runtime_ep_cuda.streams import Streams
from runtime_ep_cuda.transfer import Across, Download, Upload

RNG = np.random.default_rng(5)


def x(rows=5):
    return RNG.standard_normal((rows, 4)).astype(np.float32)


class Caller:
    """Somebody who runs the only program of a session in streams of its own."""

    def __init__(self, session):
        self.session = session
        (self.program,) = programs(session)
        self.device = driver()
        self.stream = self.device.stream()
        self.upload = Upload(devices.device(0))

    def run(self, given, stream=None):
        """Begin a run of what is on the device or the host; return what it makes."""
        if isinstance(given, np.ndarray):
            given = self.upload(given)
        where = self.program._partition.device
        context = Context(streams={where: stream or self.stream})
        (made,) = self.program.run([given], [None], context)
        return made

    def read(self, made, stream=None):
        """Return a result, which is waited for in its stream."""
        return Download(devices.device(0)).copy(made, stream=stream or self.stream)


def close(got, given):
    np.testing.assert_allclose(got, dense_reference(given), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("graphs", [0, 1])
def test_runs_in_several_streams_share_working_memory_one_after_another(cuda, graphs):
    caller = Caller(opened(dense(), enable_cuda_graph=graphs))
    other = caller.device.stream()
    for _ in range(4):
        for stream in (caller.stream, other):
            given = x()
            close(caller.read(caller.run(given, stream), stream), given)
    first, second = x(), x()
    made = caller.run(first), caller.run(second, other)
    close(caller.read(made[1], other), second)
    close(caller.read(made[0]), first)


def test_a_run_as_usual_comes_after_one_in_a_callers_stream(cuda):
    session = opened(dense())
    caller, given = Caller(session), x()
    caller.run(x())
    close(session.run(None, {"x": given})[0], given)


def test_a_callers_stream_may_be_gone_before_the_next_run(cuda):
    caller = Caller(opened(dense()))
    for rows in (5, 50, 5):
        stream = caller.device.stream()
        caller.run(x(rows), stream)
        caller.device.gone(stream)
    caller.program.trim()
    caller.run(x(), stream := caller.device.stream())
    caller.device.gone(stream)
    caller.program.close()


def test_what_a_run_in_a_callers_stream_reads_is_not_overwritten_meanwhile(cuda):
    caller = Caller(opened(dense()))
    given = x()
    held = caller.upload(given)
    made, address = caller.run(held), held.pointer
    del held
    assert caller.upload(x()).pointer != address
    close(caller.read(made), given)


def test_results_that_are_let_go_are_not_overwritten_meanwhile(cuda):
    caller = Caller(opened(dense()))
    caller.run(x())
    for rows in (5, 6):  # a plan uploads what it alone needs where results were
        given, stream = x(rows), caller.device.stream()
        close(caller.read(caller.run(given, stream), stream), given)


def test_copies_in_a_callers_stream_keep_their_memory(cuda):
    opened_ = devices.device(0)
    stream = opened_.driver.stream()
    upload, across = Upload(opened_), Across(opened_, opened_)
    source = upload.copy(x(), stream=stream)
    address = source.pointer
    across.copy(source, stream=stream)
    del source
    assert upload(x()).pointer != address


def test_streams_of_sessions_that_are_gone_are_lent_again(cuda):
    counts = []
    for _ in range(4):
        session = opened(dense())
        session.run(None, {"x": x()})
        del session
        gc.collect()
        counts.append(driver()._streams)
    assert counts == counts[:1] * 4


def test_a_stream_is_one_borrowers_at_a_time(driver):
    class Borrower:
        pass

    streams, one, two = Streams(driver), Borrower(), Borrower()
    first, second = streams.lend(one), streams.lend(two)
    assert first != second
    del one
    gc.collect()
    assert streams.lend(Borrower()) == first


def test_memory_for_copies_is_given_back_with_the_rest(cuda):
    session = opened(dense())
    caller = Caller(session)
    made = [caller.run(x()) for _ in range(MOST_MISSES + 3)]
    (plan,) = caller.program._plans.values()
    assert plan.home
    session.trim()
    assert not plan.home
    assert "copies of inputs and results" not in caller.program._pool.held()
    given = x()
    close(session.run(None, {"x": given})[0], given)
    assert made


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_process_that_forks_off_while_a_session_is_opened_can_open_its_own():
    with sessions._state.lock:
        child = os.fork()
        if not child:
            os._exit(not sessions._state.lock.acquire(timeout=30))
    _, status = os.waitpid(child, 0)
    assert status == 0


def test_what_many_runs_read_is_marked_once(cuda):
    caller = Caller(opened(dense()))
    held = caller.upload(x())
    for _ in range(5):
        caller.run(held)
    assert len(held.owner._marks) == 1


def test_runs_as_usual_make_no_events(cuda):
    session = opened(dense())
    session.run(None, {"x": x()})
    before = driver().counts["events"]
    for _ in range(4):
        session.run(None, {"x": x()})
    assert driver().counts["events"] == before


def test_a_stream_that_its_owner_captures_is_refused_and_harms_no_later_run(cuda):
    caller, given = Caller(opened(dense())), x()
    held = caller.upload(given)
    caller.run(held)
    with (
        pytest.raises(ExecutionError, match="outside of the capture"),
        caller.device.recording(caller.stream),
    ):
        caller.run(held)
    close(caller.read(caller.run(held)), given)
