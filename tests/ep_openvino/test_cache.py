"""Compiled models go through the runtime's cache, and out of it only where they fit."""

import numpy as np
import pytest

pytest.importorskip("openvino")

from runtime.cache import CompileCache
from small import RNG, WEIGHT, X, dense, expected, facts, session

COMPILED, LOADED = "compiled", "loaded from the compile cache"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNTIME_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def source(*arguments, weight=WEIGHT, entries=(), **given):
    opened = session(dense(*arguments, weight=weight), entries=entries, **given)
    (y,) = opened.run(None, {"x": X})
    np.testing.assert_allclose(y, expected(X, weight), rtol=1e-2, atol=1e-1)
    return facts(opened)["source"]


def test_the_second_session_compiles_nothing():
    assert [source(), source(), source()] == [COMPILED, LOADED, LOADED]


@pytest.mark.parametrize(
    "other",
    [
        {"weight": RNG.standard_normal((64, 64)).astype(np.float32)},
        {"num_of_threads": 1},
        {"precision": "ACCURACY"},
        {"reshape_input": "x[5,64]"},
        {"num_streams": 2},
    ],
    ids=lambda other: next(iter(other)),
)
def test_other_weights_and_options_are_another_entry(other):
    assert source() == COMPILED
    assert source(**other) == COMPILED
    assert source(**other) == LOADED


def test_other_shapes_are_another_entry():
    assert [source(), source("5"), source("5")] == [COMPILED, COMPILED, LOADED]


def test_a_broken_entry_is_dropped_and_compiled_anew():
    assert source() == COMPILED
    store = CompileCache()
    for path in store.entries():
        path.write_bytes(path.read_bytes()[:-9])
    assert [source(), source()] == [COMPILED, LOADED]


def test_an_entry_that_openvino_cannot_read_is_compiled_anew():
    assert source() == COMPILED
    store = CompileCache()
    for path in store.entries():
        store.put(path.stem, b"another version's")
    assert [source(), source()] == [COMPILED, LOADED]


def test_without_a_cache_nothing_is_kept(folder):
    entries = {"session.cache": "0"}
    assert [source(entries=entries) for _ in range(2)] == [COMPILED, COMPILED]
    assert not folder.exists()


def test_cache_dir_names_another_folder(tmp_path, folder):
    given = {"cache_dir": str(tmp_path / "mine")}
    assert [source(**given), source(**given)] == [COMPILED, LOADED]
    assert CompileCache(tmp_path / "mine").entries()
    assert not folder.exists()


def test_each_shape_of_a_static_program_is_kept():
    for _ in range(2):
        opened = session(dense(), disable_dynamic_shapes=True)
        for rows in (2, 5):
            (y,) = opened.run(None, {"x": X[:rows]})
            np.testing.assert_allclose(y, expected(X[:rows]), rtol=1e-4, atol=1e-4)
        assert len(CompileCache().entries()) == 2
