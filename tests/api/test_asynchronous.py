"""`run_async`: the caller goes on, and is called back with results or what went wrong."""

import gc
import logging
import threading

import numpy as np
import pytest
import runtime as ort
from models import dense, dense_reference

X = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)


class Told:
    """Keeps what a run came to, and on which thread."""

    def __init__(self):
        self.done = threading.Event()

    def __call__(self, results, user_data, error):
        self.results, self.user_data, self.error = results, user_data, error
        self.thread = threading.current_thread()
        self.done.set()

    def wait(self):
        assert self.done.wait(20)
        return self


@pytest.fixture(scope="module")
def session():
    return ort.InferenceSession(dense())


def test_results_come_on_another_thread_with_the_callers_own_value(session):
    told, mine = Told(), object()
    assert session.run_async(["y"], {"x": X}, told, mine) is None
    told.wait()
    np.testing.assert_allclose(told.results[0], dense_reference(X), rtol=1e-5)
    assert told.user_data is mine
    assert told.error == ""
    assert told.thread is not threading.current_thread()


def test_many_runs_at_once_do_not_mix(session):
    many = [Told() for _ in range(20)]
    for number, told in enumerate(many):
        session.run_async(None, {"x": X + number}, told, number)
    for number, told in enumerate(many):
        wanted = dense_reference(X + number)
        np.testing.assert_allclose(told.wait().results[0], wanted, rtol=1e-4)
        assert told.user_data == number


def test_what_goes_wrong_is_told_to_the_callback(session):
    told = Told()
    session.run_async(None, {"x": X.astype(np.float64)}, told, None)
    assert told.wait().results == []
    assert "tensor(double)" in told.error
    told = Told()
    session.run_async(["nope"], {"x": X}, told, None)
    assert "Invalid output name" in told.wait().error


def test_a_missing_input_is_an_error_at_once(session):
    with pytest.raises(ValueError, match="are missing from input feed"):
        session.run_async(None, {}, Told(), None)


def test_a_run_can_be_stopped(session):
    options, told = ort.RunOptions(), Told()
    options.terminate = True
    session.run_async(None, {"x": X}, told, None, options)
    assert "stopped" in told.wait().error


def test_a_callback_that_raises_is_logged_and_the_next_runs(session, caplog):
    def broken(*_):
        raise ValueError("mine")

    with caplog.at_level(logging.ERROR, "runtime"):
        session.run_async(None, {"x": X}, broken, None)
        told = Told()
        session.run_async(None, {"x": X}, told, None)
        assert told.wait().error == ""
    for _ in range(100):
        if "callback" in caplog.text:
            break
        threading.Event().wait(0.02)
    assert "the callback of run_async raised" in caplog.text


def test_threads_go_with_the_session():
    session, told = ort.InferenceSession(dense()), Told()
    session.run_async(None, {"x": X}, told, None)
    thread = told.wait().thread
    assert thread.name.startswith("runtime-async")
    del session, told
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
