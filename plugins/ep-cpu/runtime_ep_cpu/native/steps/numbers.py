"""Numbers as the words of a kernel's arguments."""

from __future__ import annotations

import struct


def double_bits(number: float) -> int:
    """Return a float64's pattern."""
    return int(struct.unpack("<q", struct.pack("<d", number))[0])
