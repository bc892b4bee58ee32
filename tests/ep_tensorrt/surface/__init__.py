"""What the real bindings of TensorRT 10 and 11 offer, read from the committed dumps."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
VERSIONS = (10, 11)


class Surface:
    """The classes of one version, with inherited methods and properties."""

    def __init__(self, described: dict[str, Any]) -> None:
        self.version: str = described["version"]
        self.functions: dict[str, list[list[str]]] = described["functions"]
        self._classes: dict[str, Any] = described["classes"]

    def __contains__(self, name: str) -> bool:
        return name in self._classes

    def _found(self, name: str, kind: str) -> dict[str, Any]:
        entry = self._classes[name]
        found: dict[str, Any] = {}
        for base in entry.get("bases", ()):
            if base in self._classes:
                found |= self._found(base, kind)
        return found | entry.get(kind, {})

    def methods(self, name: str) -> dict[str, list[list[str]]]:
        """Return the overloads of each method: parameters, a default after ``=``."""
        return self._found(name, "methods")

    def properties(self, name: str) -> dict[str, str]:
        """Return ``read`` or ``read and write`` for each property."""
        return self._found(name, "properties")

    def members(self, name: str) -> dict[str, int]:
        """Return the members of an enumeration."""
        return self._found(name, "members")

    def overrides(self, name: str) -> list[str]:
        """Return the methods of a class that the library calls on a class of Python."""
        found: list[str] = self._classes[name].get("overrides", [])
        return found

    def accepts(self, name: str, method: str, count: int, keywords: set[str]) -> bool:
        """Whether some overload takes so many positional arguments and these keywords."""
        return any(
            _fits(overload, count, keywords)
            for overload in self.methods(name).get(method, ())
        )


def _fits(overload: list[str], count: int, keywords: set[str]) -> bool:
    names = [parameter.partition("=")[0] for parameter in overload]
    needed = {name for name, p in zip(names, overload, strict=True) if "=" not in p}
    given = set(names[:count]) | keywords
    apart = not set(names[:count]) & keywords
    return count <= len(names) and apart and needed <= given <= set(names)


@cache
def surface(major: int) -> Surface:
    """Return the committed surface of TensorRT 10 or 11."""
    return Surface(json.loads((HERE / f"api_{major}.json").read_text("utf-8")))
