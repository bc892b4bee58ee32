"""Enumerations with the members that the real bindings have."""

from __future__ import annotations

from enum import Enum
from typing import Any


def enumeration(name: str, members: dict[str, int]) -> Any:
    """Return an enumeration whose members are turned into numbers by ``int`` alone.

    Those of the bindings are no numbers either: they cannot be added or shifted.
    """
    found = Enum(name, members)
    found.__int__ = lambda self: self.value
    found.__index__ = lambda self: self.value
    return found
