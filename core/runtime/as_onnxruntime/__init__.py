"""Lets ``import onnxruntime`` mean this runtime, in this process only.

It is libraries that import onnxruntime, more often than users do::

    import runtime
    runtime.as_onnxruntime()
    import skl2onnx.helpers.onnx_helper   # its `import onnxruntime` finds us

``python -m runtime.as_onnxruntime prog.py`` does so before a program begins. Nothing is
written anywhere, and an onnxruntime that is installed stays as it is. Its tools in Python,
such as ``onnxruntime.quantization``, are taken from there and run sessions of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder
from importlib.util import find_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

from runtime.api.package import PARITY

NAME = "onnxruntime"
TOOLS = ("quantization", "tools", "transformers")
"""Sub-packages in plain Python that an installed onnxruntime lends."""


class _StandIn(ModuleType):
    """A module of onnxruntime's name whose attributes are those of one of ours."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_behind"], name)

    def __dir__(self) -> list[str]:
        return dir(self.__dict__["_behind"])


class _Told(Distribution):
    """What ``importlib.metadata`` tells of onnxruntime: the release we stand in for."""

    def read_text(self, filename: str) -> str | None:
        if filename != "METADATA":
            return None
        return f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {PARITY}\n"

    def locate_file(self, path: Any) -> Any:
        return Path(import_module("runtime").__file__ or "").parent / path


class _Finder(MetaPathFinder, Loader):
    """Finds onnxruntime's modules among ours."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        root, _, rest = fullname.partition(".")
        if root != NAME:
            return None
        if rest.partition(".")[0] in TOOLS:
            return _lent(fullname)
        if rest and find_spec(f"runtime.{rest}") is None:
            return None
        return spec_from_loader(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the stand-in for one of our modules."""
        behind = import_module(spec.name.replace(NAME, "runtime", 1))
        made = _StandIn(spec.name, behind.__doc__)
        made.__dict__["_behind"] = behind
        if hasattr(behind, "__all__"):
            made.__dict__["__all__"] = list(behind.__all__)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Give the package what must be onnxruntime's own: its name and its version."""
        if module.__name__ == NAME:
            module.__dict__.update(
                __version__=PARITY,
                version=PARITY,
                package_name=NAME,
                get_version_string=lambda: PARITY,
            )

    def find_distributions(
        self, context: DistributionFinder.Context | None = None
    ) -> Iterable[Distribution]:
        """Tell of onnxruntime's distribution, when that is asked for by its name."""
        if context is not None and context.name == NAME:
            yield _Told()


def _lent(fullname: str) -> ModuleSpec | None:
    """Return a module of an installed onnxruntime's tools."""
    installed = PathFinder.find_spec(NAME)
    places = installed.submodule_search_locations if installed else None
    for part in fullname.split(".")[1:-1]:
        places = [str(Path(place) / part) for place in places or ()]
    return PathFinder.find_spec(fullname, places) if places else None


def as_onnxruntime() -> None:
    """Answer for ``import onnxruntime`` from now on, in this process.

    Raises ``RuntimeError`` where onnxruntime itself was imported before: what holds it
    would go on using it.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    if NAME in sys.modules:
        raise RuntimeError(
            "onnxruntime is imported already; call runtime.as_onnxruntime() before "
            "whatever imports it, or start with python -m runtime.as_onnxruntime"
        )
    sys.meta_path.insert(0, _Finder())


class _Callable(ModuleType):
    """This module, which is the function of its name too."""

    def __call__(self) -> None:
        as_onnxruntime()


sys.modules[__name__].__class__ = _Callable
