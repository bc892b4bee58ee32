"""Kernels by specification: named by their parameters, compiled once, cached, reloaded."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("llvmlite")

from runtime_ep_cpu.codegen import library as libraries
from runtime_ep_cpu.codegen.library import Library, Spec, written
from runtime_ep_cpu.codegen.machine import compiled
from runtime_ep_cpu.codegen.target import host, named, runnable


class Store(dict):
    def put(self, key, data):
        self[key] = data


TILE = Spec.of("tile", rows=1, vectors=1)
PACK = Spec.of("pack", vectors=1, element="float", turned=False)


def test_parameters_are_the_same_in_any_order():
    assert Spec.of("tile", vectors=1, rows=1) == TILE
    assert hash(TILE) == hash(Spec.of("tile", vectors=1, rows=1))


def test_names_of_functions_tell_parameters_apart():
    specs = [Spec.of("tile", rows=r, vectors=v) for r in range(1, 9) for v in (1, 2)]
    assert len({spec.symbol for spec in specs}) == len(specs)
    assert all(spec.symbol.startswith("tile_") for spec in specs)


def test_code_found_in_the_store_is_not_compiled():
    store = Store()
    first = Library(host())
    first.load([TILE, PACK], store)
    assert first.compiled == 2
    assert store
    second = Library(host())
    second.load([TILE, PACK], store)
    assert second.compiled == 0
    assert second.address(TILE)


@pytest.mark.parametrize("threads", [1, 3])
def test_usual_kernels_are_found_in_the_store_beside_others_that_are_not(threads):
    one, other = (Spec.of("gather_rows", index=i, depth=1) for i in ("i64", "i32"))
    store = Store()
    Library(host()).load([TILE, one, PACK], store, threads)
    assert len(store) == 2
    second = Library(host())
    second.load([TILE, other, PACK], store, threads)
    assert second.compiled == 1
    assert len({second.address(spec) for spec in (TILE, other, PACK)}) == 3


def test_what_is_loaded_is_not_loaded_again():
    kernels = Library(host())
    kernels.load([TILE])
    address = kernels.address(TILE)
    kernels.load([TILE, PACK])
    assert kernels.compiled == 2
    assert kernels.address(TILE) == address


def test_targets_and_sources_have_code_of_their_own(monkeypatch):
    store = Store()
    Library(host()).load([TILE], store)
    Library(named("generic")).load([TILE], store)
    assert len(store) == 2
    monkeypatch.setattr(libraries, "version", lambda: "edited")
    other = Library(host())
    other.load([TILE], store)
    assert other.compiled == 1
    assert len(store) == 3


def test_a_kernel_that_was_not_loaded_has_no_address():
    with pytest.raises(KeyError):
        Library(host()).address(TILE)


def test_a_failure_loads_nothing_and_the_next_try_succeeds(monkeypatch):
    kernels = Library(host())
    written([TILE], host())
    with monkeypatch.context() as patch:
        patch.setitem(libraries.FAMILIES, "tile", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            kernels.load([TILE])
    kernels.load([TILE])
    assert kernels.address(TILE)


@pytest.fixture
def slowly(monkeypatch):
    """Make the generator of packing wait: two events, it has begun and it may go on."""
    begun, free = threading.Event(), threading.Event()
    written([PACK], host())
    real = libraries.FAMILIES["pack"]

    def write(*arguments, **parameters):
        begun.set()
        assert free.wait(30)
        real(*arguments, **parameters)

    monkeypatch.setitem(libraries.FAMILIES, "pack", write)
    yield begun, free
    free.set()


def test_what_a_thread_makes_others_wait_for_and_make_the_rest_meanwhile(slowly):
    begun, free = slowly
    kernels = Library(host())
    with ThreadPoolExecutor(2) as many:
        first = many.submit(kernels.load, [PACK])
        assert begun.wait(30)
        kernels.load([TILE])
        second = many.submit(kernels.load, [TILE, PACK])
        assert not first.done()
        assert not second.done()
        free.set()
        second.result()
    assert kernels.compiled == 2
    assert kernels.address(PACK)


def test_what_a_thread_fails_at_the_one_that_waits_makes(monkeypatch):
    kernels = Library(host())
    written([PACK], host())
    real = libraries.FAMILIES["pack"]
    begun, free = threading.Event(), threading.Event()

    def write(*arguments, **parameters):
        if not begun.is_set():
            begun.set()
            assert free.wait(30)
            raise RuntimeError("not this time")
        real(*arguments, **parameters)

    monkeypatch.setitem(libraries.FAMILIES, "pack", write)
    with ThreadPoolExecutor(2) as many:
        first = many.submit(kernels.load, [PACK])
        assert begun.wait(30)
        second = many.submit(kernels.load, [PACK])
        free.set()
        with pytest.raises(RuntimeError, match="not this time"):
            first.result()
        second.result()
    assert kernels.address(PACK)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_child_does_not_wait_for_what_its_parents_threads_make(slowly):
    begun, free = slowly
    kernels = Library(host())
    with ThreadPoolExecutor(1) as one:
        made = one.submit(kernels.load, [PACK])
        assert begun.wait(30)
        child = os.fork()
        if not child:
            free.set()
            kernels.load([PACK])
            os._exit(0 if kernels.address(PACK) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        free.set()
        made.result()


@pytest.mark.parametrize("target", runnable())
def test_every_family_without_choices_is_well_formed(target):
    specs = [TILE, PACK, Spec.of("pack", vectors=1, element="half", turned=True)]
    assert compiled(written(specs, named(target)), named(target))
