"""The host double in place of a device, and a compile cache of the tests' own."""

import sys
from pathlib import Path

import pytest
from runtime.explain import forget_warnings

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "plugins/ep-cuda")]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "compile-cache"
    monkeypatch.setenv("RUNTIME_CACHE_DIR", str(folder))
    forget_warnings()


@pytest.fixture
def driver():
    """Return a fresh device that is the host."""
    from double.compiling import why_not

    if why_not():
        pytest.skip(why_not())
    from double.host import HostDriver

    device = HostDriver()
    yield device
    device.close()
