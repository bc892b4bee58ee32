"""How option values are written: devices, shapes, layouts, files of properties."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

from runtime.errors import near

DEVICES = ("CPU", "GPU", "NPU")
TOGETHER = ("AUTO", "HETERO", "MULTI", "BATCH")

_ONE = re.compile(r"(CPU|[GN]PU(\.\w+)*)(\(\d+\))?")
_OLD = re.compile(r"(.+)_(FP32|FP16)")


class Target(NamedTuple):
    """A device by OpenVINO's name, and the precision that an old name implies."""

    device: str
    precision: str = ""

    @property
    def members(self) -> list[str]:
        """The single devices, e.g. ``GPU.1`` and ``CPU`` of ``AUTO:GPU.1,CPU``."""
        mode, colon, listed = self.device.partition(":")
        names = listed.split(",") if colon else [] if mode in TOGETHER else [mode]
        return [name.strip().partition("(")[0] for name in names if name[:1] != "-"]


def read_device(text: str) -> Target:
    """Read ``CPU``, ``GPU.1``, ``AUTO:GPU,CPU`` or the old ``CPU_FP32``.

    Raises ``ValueError`` with the near match for anything else.
    """
    mode, colon, listed = text.partition(":")
    if mode in TOGETHER:
        names = listed.split(",") if colon else []
        target = Target(text)
    else:
        old = _OLD.fullmatch(text)
        target = Target(old[1], old[2]) if old else Target(text)
        names = [target.device]
    for name in names:
        if not _ONE.fullmatch(name.strip().removeprefix("-")):
            raise ValueError(
                f"{name!r} is no device; there are {', '.join(DEVICES)}, these with a "
                f"number (GPU.1), and {', '.join(TOGETHER)} with a list (AUTO:GPU,CPU)"
                f"{near(name.partition('_')[0], (*DEVICES, *TOGETHER))}"
            )
    return target


def read_config(path: str) -> dict[str, dict[str, object]]:
    """Read a file of properties by device.

    Raises ``ValueError`` for a file that is missing or is no such table.
    """
    if not path:
        return {}
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"the file is no JSON: {error}") from error
    if not isinstance(found, dict) or not all(
        isinstance(entry, dict) for entry in found.values()
    ):
        raise ValueError('the file is to hold {"CPU": {"PROPERTY": value, ...}, ...}')
    return found


_ENTRY = re.compile(r"\s*([^\[\],]+)\[([^\]]*)\]\s*")
_DIM = re.compile(r"(?:\?|-1|(\d+)|(\d*)\.\.(\d*))")


def read_shapes(text: str) -> dict[str, list[tuple[int, int]]]:
    """Read ``x[1,3,60..100,?]`` as input to bounds of each dim; -1 is no bound.

    Raises ``ValueError`` where the text is not of that form.
    """
    shapes = {}
    for name, dims in _entries(text):
        bounds = []
        for dim in dims.split(",") if dims.strip() else []:
            match = _DIM.fullmatch(dim.replace(" ", ""))
            if match is None:
                raise ValueError(
                    f"{dim!r} of {name!r} is no size, ? or range like 1..9"
                )
            size, low, high = match.groups()
            bounds.append((int(size or low or 0), int(size or high or -1)))
        shapes[name] = bounds
    return shapes


def read_layouts(text: str) -> dict[str, str]:
    """Read ``x[NCHW],y[NC]`` as value to layout; ``ValueError`` for another form."""
    return {name: layout.strip() for name, layout in _entries(text)}


def _entries(text: str) -> list[tuple[str, str]]:
    found, end = [], 0
    while end < len(text):
        match = _ENTRY.match(text, end)
        if match is None:
            raise ValueError(f"expected name[...],name[...], found {text[end:]!r}")
        found.append((match[1].strip(), match[2]))
        end = match.end()
        if end < len(text) and text[end] != ",":
            raise ValueError(f"expected a comma before {text[end:]!r}")
        end += 1
    return found
