"""Kernels that nearly all models need are made by a thread while a model is read."""

import gc
import os
import threading

import numpy as np
import pytest
import runtime as ort
from beside_numpy import CPU, opened, same
from models import FLOAT, dense, dense_reference, model, node
from runtime.cache import CompileCache
from runtime.errors import FallbackWarning
from runtime.explain import forget_warnings
from runtime_ep_cpu import pool
from runtime_ep_cpu.codegen import library as libraries
from runtime_ep_cpu.codegen import usual
from runtime_ep_cpu.codegen.target import host
from runtime_ep_cpu.native import ahead

X = np.random.default_rng(9).standard_normal((3, 4)).astype(np.float32)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Give the process an empty library, no pools, and an empty cache; return its folder."""
    libraries.library.cache_clear()
    monkeypatch.setattr(pool, "_shared", {})
    monkeypatch.setenv("RUNTIME_CACHE_DIR", str(tmp_path / "cache"))
    forget_warnings()
    yield tmp_path / "cache"
    gc.collect()
    libraries.library.cache_clear()


@pytest.fixture
def begun(monkeypatch):
    """Count how often a thread was begun."""
    calls = []
    real = ahead.begin
    monkeypatch.setattr(ahead, "begin", lambda *given: calls.append(real(*given)))
    return calls


def threads():
    return [t for t in threading.enumerate() if t.name == "runtime-cpu-ahead"]


def right(session):
    same(session.run(None, {"x": X})[0], dense_reference(X).astype(np.float32))


def entries(folder):
    return {path.name for path in folder.glob("??/*.bin")}


def test_a_thread_loads_the_walk_and_every_usual_kernel(fresh):
    ahead.begin(host(), 2, None)
    (thread,) = threads()
    thread.join()
    kernels = libraries.library(host())
    assert all(kernels.has(s) for batch in usual.batches(host()) for s in batch)
    assert pool.is_shared(2, host())
    ahead.begin(host(), 2, None)
    assert not threads()


def test_with_a_cache_that_was_used_it_compiles_nothing(fresh, monkeypatch):
    store = CompileCache(fresh)
    pool.shared(2, host(), store)
    libraries.library.cache_clear()
    monkeypatch.setattr(pool, "_shared", {})
    ahead.begin(host(), 2, store)
    for thread in threads():
        thread.join()
    assert pool.is_shared(2, host())
    assert not libraries.library(host()).compiled


def test_told_to_finish_it_begins_no_further_batch(fresh, monkeypatch):
    made, free = threading.Event(), threading.Event()

    def shared(*_):
        made.set()
        assert free.wait(30)

    monkeypatch.setattr(pool, "shared", shared)
    ahead.begin(host(), 2, None)
    assert made.wait(30)
    ending = threading.Thread(target=ahead.finish)
    ending.start()
    free.set()
    ending.join()
    assert not threads()
    assert not libraries.library(host()).compiled


def test_a_session_leaves_no_thread_and_compiles_no_kernel_twice(fresh, begun):
    right(opened(dense()))
    assert begun
    assert not threads()
    kernels = libraries.library(host())
    assert kernels.compiled == len(kernels._addresses) + len(["walk"])


def test_a_session_keeps_the_same_whether_a_thread_was_ahead_or_not(fresh, monkeypatch):
    def kept(name, is_ahead):
        libraries.library.cache_clear()
        monkeypatch.setattr(pool, "_shared", {})
        monkeypatch.setenv("RUNTIME_CACHE_DIR", str(fresh / name))
        with monkeypatch.context() as patch:
            if is_ahead:
                ahead.begin(host(), 1, CompileCache(fresh / name))
                threads()[0].join()
            else:
                patch.setattr(ahead, "begin", lambda *_: None)
            right(opened(dense(), threads=1))
        return entries(fresh / name)

    alone = kept("alone", False)
    assert alone
    assert alone <= kept("helped", True)


@pytest.mark.parametrize("native", ["auto", "required"])
def test_what_a_thread_fails_at_shows_where_it_is_needed(fresh, monkeypatch, native):
    import runtime_ep_cpu.codegen.families  # noqa: F401

    def broken(*_, **__):
        raise RuntimeError("no such instruction")

    monkeypatch.setitem(libraries.FAMILIES, "copy_rows", broken)
    ahead.begin(host(), 2, None)
    threads()[0].join()
    if native == "required":
        with pytest.raises(Exception, match="no such instruction"):
            opened(dense(), native=native)
    else:
        with pytest.warns(FallbackWarning, match="no such instruction"):
            right(opened(dense(), native=native))
    assert not threads()


def test_nothing_is_begun_where_numpy_runs_everything(fresh, begun, monkeypatch):
    opened(dense(), native="off")
    options = ort.SessionOptions()
    options.add_session_config_entry("session.maximum_result_bytes", "1000000")
    ort.InferenceSession(dense(), options, providers=[CPU])
    ort.InferenceSession(dense(), providers=[CPU], dry_run=True)
    assert not begun
    assert not threads()


def test_a_model_that_cannot_be_read_is_told_as_such(fresh):
    with pytest.raises(Exception, match="parse|protobuf|read"):
        opened(b"nonsense")
    ahead.finish()
    assert not threads()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_waits_for_the_thread_and_the_child_opens_sessions(fresh):
    ahead.begin(host(), 2, None)
    child = os.fork()
    if not child:
        status = 1
        try:
            right(opened(dense()))
            status = 0
        finally:
            os._exit(status)
    assert not threads()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def paused(fresh, monkeypatch):
    """Hold up whatever is compiled behind a session; return what lets it go on."""
    free = threading.Event()
    real = libraries.Library.load

    def load(self, *given):
        if threading.current_thread() in threads():
            assert free.wait(30)
        real(self, *given)

    monkeypatch.setattr(libraries.Library, "load", load)
    monkeypatch.setattr(ahead, "begin", lambda *_: None)
    yield free
    free.set()
    ahead.settle()


def test_kernels_for_sizes_left_open_are_not_waited_for_but_by_the_first_plan(paused):
    session = opened(dense("batch"), native="auto")
    (thread,) = threads()
    kernels = libraries.library(host())
    assert kernels.compiled == len(["walk", "pack"])
    paused.set()
    right(session)
    thread.join()
    assert kernels.compiled == len(kernels._addresses) + len(["walk"])


def test_kernels_for_known_sizes_are_ready_when_a_session_is(fresh):
    session = opened(dense(3), native="auto")
    assert not threads()
    before = libraries.library(host()).compiled
    right(session)
    assert libraries.library(host()).compiled == before


def test_kernels_that_are_kept_are_ready_when_a_session_is(fresh, monkeypatch):
    right(opened(dense("batch"), native="auto"))
    for thread in threads():
        thread.join(30)
    libraries.library.cache_clear()
    monkeypatch.setattr(pool, "_shared", {})
    session = opened(dense("batch"), native="auto")
    right(session)
    assert not libraries.library(host()).compiled


def two_stages():
    """Return a model whose native code is cut in two by what NumPy runs."""
    nodes = [
        node("Sigmoid", ["x"], ["s"]),
        node("NonZero", ["s"], ["places"]),
        node("Cast", ["places"], ["numbers"], to=FLOAT),
        node("Tanh", ["numbers"], ["y"]),
    ]
    shapes = {"x": (FLOAT, ["batch", 4])}, {"y": (FLOAT, [2, "found"])}
    return model(nodes, *shapes).SerializeToString()


def test_a_first_plan_that_is_faster_than_the_thread_compiles_all_that_is_kept(
    paused, monkeypatch
):
    session = opened(two_stages(), native="auto")
    assert threads()
    session.run(None, {"x": X})
    paused.set()
    for thread in threads():
        thread.join(30)
    libraries.library.cache_clear()
    monkeypatch.setattr(pool, "_shared", {})
    opened(two_stages(), native="auto").run(None, {"x": X})
    assert not libraries.library(host()).compiled


def test_a_session_that_nobody_runs_leaves_no_thread_for_long(fresh):
    opened(dense("batch"), native="auto")
    for thread in threads():
        thread.join(30)
    assert not threads()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_waits_for_what_is_compiled_behind_a_session(fresh):
    session = opened(dense("batch"), native="auto")
    child = os.fork()
    if not child:
        status = 1
        try:
            right(session)
            status = 0
        finally:
            os._exit(status)
    assert not threads()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
