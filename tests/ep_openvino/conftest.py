"""A compile cache of their own for the tests of the OpenVINO provider."""

import sys
from pathlib import Path

import pytest
from runtime.explain import forget_warnings

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "compile-cache"
    monkeypatch.setenv("RUNTIME_CACHE_DIR", str(folder))
    forget_warnings()
