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


@pytest.fixture
def card():
    """Have the provider open doubles in place of CUDA's devices; return a setting.

    ``card.memory`` may be changed before a device is opened.
    """
    from double.compiling import why_not

    if why_not():
        pytest.skip(why_not())
    from types import SimpleNamespace

    from double.host import HostDriver
    from runtime_ep_cuda import devices

    setting = SimpleNamespace(memory=1 << 30, capability=(9, 0), drivers=[])

    def open_double(index):
        made = HostDriver(index, setting.memory, setting.capability)
        setting.drivers.append(made)
        return made

    with devices.replaced(open_double):
        yield setting
    for made in setting.drivers:
        made.close()


@pytest.fixture
def cuda(card):
    """Have the provider on the double; return ``card``."""
    from on_the_double import registered

    with registered():
        yield card
