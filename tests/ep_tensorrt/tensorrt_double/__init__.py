"""TensorRT's API without TensorRT: what its real bindings offer, computed by the CPU provider.

The surface lies within that of the bindings, as a test proves. What the real library
refuses is refused: operators outside the parser's list, several floating types at one
operator, open shapes without a profile, shapes outside of it, addresses that were not
bound, two runs at once in one context, plans of another version or GPU. What it computes
is computed on the host double of the CUDA provider's driver, in the order of streams.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from runtime_ep_tensorrt import adapter
from surface import surface

VERSIONS = {10: "10.16.1.11", 11: "11.4.0.106"}
ENUMERATIONS = (
    "BuilderFlag", "DataType", "DeviceType", "ExecutionContextAllocationStrategy",
    "HardwareCompatibilityLevel", "MemoryPoolType", "NetworkDefinitionCreationFlag",
    "PreviewFeature", "ProfilingVerbosity", "TacticSource", "TensorIOMode",
    "TensorLocation",
)  # fmt: skip


class Double:
    """One version of the API over one device.

    ``counts`` has ``builds``, ``loads``, ``contexts``, ``runs``, ``asked`` (how often the
    parser was) and ``timed`` (tactics). ``refuses`` are operators that the parser takes
    by its list and refuses nevertheless; ``fails`` is why no engine can be built;
    ``largest`` is how many bytes a model as protobuf may have, ``working`` in how many the
    next engine works; ``asks_for_nothing``, whether memory is asked for where an output has
    no elements. ``raised`` is what calls of Python's have raised, which they must not.
    """

    def __init__(self, major: int, driver: Callable[[], Any]) -> None:
        self.major = major
        self.version = VERSIONS[major]
        self.driver = driver
        self.counts: Counter[str] = Counter()
        self.refuses: set[str] = set()
        self.fails = ""
        self.largest = 1 << 31
        self.working = 4096
        self.asks_for_nothing = True
        self.raised: list[BaseException] = []
        self.last: Any = None
        self.module = self._module()

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Note what is raised meanwhile by classes that Python has lent."""
        try:
            yield
        except BaseException as error:
            self.raised.append(error)
            raise

    def _module(self) -> ModuleType:
        from tensorrt_double import building, classes, running
        from tensorrt_double.enumerations import enumeration

        module = ModuleType("tensorrt")
        found: dict[str, Any] = {"__version__": self.version}
        for name in ENUMERATIONS:
            members = surface(self.major).members(name)
            found[name] = enumeration(name, members)
        for source in (classes, building, running):
            for name in source.__all__:
                found[name] = type(name, (getattr(source, name),), {"_double": self})
        found["init_libnvinfer_plugins"] = classes.init_libnvinfer_plugins
        found["get_plugin_registry"] = found["IPluginRegistry"]
        vars(module).update(found)
        return module


@contextmanager
def installed(double: Double) -> Iterator[Double]:
    """Have the double imported as TensorRT meanwhile."""
    before = sys.modules.get("tensorrt")
    sys.modules["tensorrt"] = double.module
    adapter.opened.cache_clear()
    try:
        yield double
    finally:
        adapter.opened.cache_clear()
        if before is None:
            del sys.modules["tensorrt"]
        else:
            sys.modules["tensorrt"] = before
