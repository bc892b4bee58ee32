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
    str(ROOT / "tests/ep_cuda"),
    *(str(ROOT / f"plugins/ep-{name}") for name in ("tensorrt", "cuda")),
]


def pytest_collection_modifyitems(items):
    """Have it be an error when another provider answers and nobody expects it to."""
    warning = "runtime.errors.FallbackWarning"
    loud = pytest.mark.filterwarnings(f"error:TensorrtExecutionProvider:{warning}")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(loud, append=False)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("RUNTIME_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    forget_warnings()


@pytest.fixture(scope="session")
def bindings():
    """Return the folder with the real bindings of both versions, which nox makes."""
    folder = os.environ.get("RUNTIME_TENSORRT_BINDINGS")
    if not folder:
        pytest.skip("TensorRT's bindings are installed by nox -s tensorrt")
    return Path(folder)


@pytest.fixture
def card():
    """Have host doubles in place of CUDA's devices; return a setting.

    ``card.capability`` may be changed before a device is opened.
    """
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


@pytest.fixture(params=[10, 11], ids=["TensorRT 10", "TensorRT 11"])
def trt(request, card):
    """Have the provider here, over the double of one version and the host's device."""
    from on_the_double import registered
    from tensorrt_double import Double, installed
    from trt_sessions import driver
    from trt_sessions import registered as ours

    double = Double(request.param, driver)
    with installed(double), registered(), ours():
        yield double
