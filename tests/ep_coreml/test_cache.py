"""Packages go through the runtime's compile cache, whatever system they are made on."""

import numpy as np
import pytest

pytest.importorskip("coremltools")

from dataclasses import replace

from coreml_models import RNG, X, dense, expected, subject
from runtime.cache import CompileCache
from runtime_ep_coreml import build

COMPILED, LOADED = "compiled", "loaded from the compile cache"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNTIME_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def source(model=None, cache=True, weight=None, **options):
    """Open a session, check what it answers, and tell where its package came from."""
    given = dense() if weight is None else dense(weight=weight)
    opened = subject(**options).open(model or given, cache=cache)
    wanted = expected() if weight is None else expected(weight=weight)
    limit = {"rtol": 5e-2, "atol": 1.0} if options else {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(opened({"x": X})[0], wanted, **limit)
    (placed,) = opened.placed
    return placed.executable.facts["source"]


def test_it_is_on_by_default_and_the_second_session_converts_nothing():
    assert [source(), source(), source()] == [COMPILED, LOADED, LOADED]


@pytest.mark.parametrize(
    "other",
    [
        {"Precision": "FP16"},
        {"WeightCompression": "int8"},
        {"MinimumDeploymentTarget": "macOS15"},
    ],
    ids=str,
)
def test_what_is_in_a_package_is_part_of_its_key(other):
    assert [source(), source(**other), source(**other)] == [COMPILED, COMPILED, LOADED]


def test_other_weights_are_another_entry():
    weight = RNG.standard_normal((64, 64)).astype(np.float32)
    assert [source(), source(weight=weight)] == [COMPILED, COMPILED]


def test_where_it_runs_is_not_part_of_the_key():
    units = {"MLComputeUnits": "CPUOnly", "ProfileComputePlan": "1"}
    assert [source(), source(**units)] == [COMPILED, LOADED]


def test_a_broken_entry_is_made_anew():
    assert source() == COMPILED
    for path in CompileCache().entries():
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(RuntimeWarning, match="checksum"):
        assert source() == COMPILED
    assert source() == LOADED


def test_an_entry_that_is_whole_and_no_package_is_made_anew():
    assert source() == COMPILED
    store = CompileCache()
    for path in store.entries():
        store.put(path.stem, b"not a package")
    assert [source(), source()] == [COMPILED, LOADED]


@pytest.mark.parametrize("whose", ["info", "host"])
def test_another_version_makes_its_own_packages(whose, monkeypatch):
    assert source() == COMPILED
    newer = replace(getattr(build, whose), version="1.0.1")
    monkeypatch.setattr(build, whose, newer)
    assert [source(), source()] == [COMPILED, LOADED]


def test_each_macos_keeps_a_compiled_model_of_its_own(monkeypatch, folder):
    names = []
    for version in ("14.7", "15.1"):
        monkeypatch.setattr(build, "system", lambda version=version: version)
        names.append(build.compiled(CompileCache(), "abc"))
    assert [name.name for name in names] == [
        "abc-macOS-14.7.mlmodelc",
        "abc-macOS-15.1.mlmodelc",
    ]
    assert build.compiled(CompileCache(enabled=False), "abc") is None


def test_a_folder_of_its_own_is_used_even_where_the_cache_is_off(tmp_path, folder):
    given = {"ModelCacheDirectory": str(tmp_path / "mine")}
    assert source(cache=False) == COMPILED
    assert [source(cache=False, **given), source(cache=False, **given)] == [
        COMPILED,
        LOADED,
    ]
    assert CompileCache(tmp_path / "mine").entries()
    assert not folder.exists()
