"""Where the provider, its evaluator and a compile cache of their own lie.

What needs coremltools begins with ``pytest.importorskip`` and is run by ``nox -s coreml``;
the rest runs everywhere, from this checkout and without anything installed.
"""

import sys
from pathlib import Path

import pytest
from runtime.explain import forget_warnings

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "plugins/ep-coreml")]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "compile-cache"
    monkeypatch.setenv("RUNTIME_CACHE_DIR", str(folder))
    forget_warnings()
