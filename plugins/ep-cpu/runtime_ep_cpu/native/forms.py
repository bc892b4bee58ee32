"""Forms that save multiplications: what the options say of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Forms(NamedTuple):
    """The values of the options `winograd` and `strassen`."""

    winograd: str = "auto"
    strassen: str = "auto"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Forms:
        """Return what a session's options say."""
        return cls(*(options.get(name, "auto") for name in cls._fields))
