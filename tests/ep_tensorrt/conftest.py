"""Where the provider, its double and a compile cache of their own lie.

None of this needs TensorRT. What imports its bindings over stub libraries is run by
``nox -s tensorrt``; what needs the vendor's libraries and a GPU is marked ``tensorrt``.
"""

import os
import sys
from pathlib import Path

import pytest
from runtime.explain import forget_warnings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [
    str(HERE),
    *(str(ROOT / f"plugins/ep-{x}") for x in ("tensorrt", "cuda")),
]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "compile-cache"
    monkeypatch.setenv("RUNTIME_CACHE_DIR", str(folder))
    forget_warnings()


@pytest.fixture(scope="session")
def bindings():
    """Return the folder with the real bindings of both versions, which nox makes."""
    folder = os.environ.get("RUNTIME_TENSORRT_BINDINGS")
    if not folder:
        pytest.skip("TensorRT's bindings are installed by nox -s tensorrt")
    return Path(folder)
