"""The public names of onnxruntime, found by looking at the module that is installed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any

CAPI = "capi.onnxruntime_pybind11_state"
MODULES = ("capi", "onnxruntime_validation")
"""The modules among the names of the module; others are there only once imported."""

SUBMODULES = ("backend", "datasets")
"""Modules of the package whose own names are public as well."""


def names(package: str = "onnxruntime") -> list[str]:
    """Return every public name: of the module, of the extension module, and members.

    A member follows its class: ``IOBinding.bind_input``; what only the extension module
    has begins with ``capi.``, what a sub-module has with that one's name.
    """
    top = import_module(package)
    inner = import_module(f"{package}.{CAPI}")
    found = [*_of(top, "")]
    for module in SUBMODULES:
        found += _of(import_module(f"{package}.{module}"), f"{module}.")
    outer = {*public(top)}
    found += [
        f"capi.{name}"
        for own in public(inner)
        if own not in outer
        for name in _with_members(inner, own)
    ]
    return found


def _of(module: Any, prefix: str) -> Iterator[str]:
    for name in public(module):
        if inspect.ismodule(getattr(module, name)) and name not in MODULES:
            continue
        yield from (prefix + each for each in _with_members(module, name))


def _with_members(module: Any, name: str) -> Iterator[str]:
    yield name
    value = getattr(module, name)
    if inspect.isclass(value) and not issubclass(value, Exception):
        for member in public(value):
            yield f"{name}.{member}"


def public(thing: Any) -> list[str]:
    """Return the attributes that do not begin with an underscore."""
    return [name for name in dir(thing) if not name.startswith("_")]
