"""Nothing is searched for cycles while a model is made ready; then all is as it was."""

import gc
import os
import threading

import pytest
import runtime as ort
from models import dense
from runtime import build
from runtime.cycles import unsearched


@pytest.fixture(autouse=True)
def searched():
    gc.enable()
    yield
    gc.enable()


def test_nothing_is_searched_for_until_the_body_ends():
    with unsearched():
        assert not gc.isenabled()
        with unsearched():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_in_the_body_ends_it_too():
    with pytest.raises(KeyError), unsearched():
        raise KeyError
    assert gc.isenabled()


def test_what_somebody_else_has_turned_off_stays_off():
    gc.disable()
    with unsearched():
        assert not gc.isenabled()
    assert not gc.isenabled()


def test_of_two_threads_the_later_end_counts():
    inside, ended = threading.Event(), threading.Event()

    def hold():
        with unsearched():
            inside.set()
            ended.wait(10)

    thread = threading.Thread(target=hold)
    with unsearched():
        thread.start()
        assert inside.wait(10)
    assert not gc.isenabled()
    ended.set()
    thread.join()
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_child_searches_again():
    with unsearched():
        child = os.fork()
        if not child:
            os._exit(0 if gc.isenabled() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not gc.isenabled()


def test_nothing_is_searched_for_while_a_session_is_made(monkeypatch):
    seen = []

    def loaded(*arguments):
        seen.append(gc.isenabled())
        return original(*arguments)

    original = build.loaded
    monkeypatch.setattr(build, "loaded", loaded)
    ort.InferenceSession(dense(), providers=["CPUExecutionProvider"])
    assert seen == [False]
    assert gc.isenabled()
