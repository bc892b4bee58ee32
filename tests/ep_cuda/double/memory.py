"""The double's device memory: between pages that trap, poisoned, and gone once freed."""

from __future__ import annotations

import bisect
import ctypes
import mmap
from collections import deque
from typing import NamedTuple

from runtime_ep_cuda.driver import OutOfMemory

PAGE = mmap.PAGESIZE
ALIGNMENT = 256
POISON, FENCE = 0xFF, 0xA5
"""What new memory holds (NaN in every float), and what lies around it."""
QUARANTINED = 256
"""Freed allocations whose addresses are kept from being given out again."""

_PROT_NONE, _PROT_BOTH, _PRIVATE_ANONYMOUS = 0, 3, 0x22
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_long]
)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class Block(NamedTuple):
    """One allocation: where it is, how large, and the pages it lies in."""

    address: int
    size: int
    base: int
    pages: int

    @property
    def end(self) -> int:
        """The address behind its last byte."""
        return self.address + self.size

    def fences(self) -> list[tuple[int, int]]:
        """Return the bytes around it that nobody may write: begin and length."""
        begin, end = self.base + PAGE, self.base + self.pages - PAGE
        return [(begin, self.address - begin), (self.end, end - self.end)]


class HostMemory:
    """Allocations of a device with so many bytes."""

    def __init__(self, total: int):
        self.total = total
        self.used = 0
        self.most = 0
        self._blocks: dict[int, Block] = {}
        self._order: list[int] = []
        self._freed: deque[Block] = deque()

    def allocate(self, size: int) -> int:
        """Return new poisoned memory whose last page ends where it ends."""
        if size < 0:
            raise RuntimeError(f"allocate: a size of {size} bytes")
        room = max(ALIGNMENT, -(-size // ALIGNMENT) * ALIGNMENT)
        if self.used + room > self.total:
            free = self.total - self.used
            raise OutOfMemory(f"{size} bytes were asked for, {free} are free")
        inner = -(-room // PAGE) * PAGE
        base = _libc.mmap(None, inner + 2 * PAGE, 0, _PRIVATE_ANONYMOUS, -1, 0)
        if base in (None, ctypes.c_void_p(-1).value):
            raise OutOfMemory(f"the host has no {size} bytes")
        _libc.mprotect(base + PAGE, inner, _PROT_BOTH)
        address = base + PAGE + inner - room
        block = Block(address, size, base, inner + 2 * PAGE)
        ctypes.memset(address, POISON, size)
        for begin, length in block.fences():
            ctypes.memset(begin, FENCE, length)
        self._blocks[address] = block
        bisect.insort(self._order, address)
        self.used += room
        self.most = max(self.most, self.used)
        return address

    def free(self, address: int) -> Block:
        """Take memory back; whoever touches it later is stopped by the processor."""
        block = self._blocks.pop(address, None)
        if block is None:
            raise RuntimeError(f"free: {address:#x} is no allocation, or freed already")
        self._intact(block)
        self._order.remove(address)
        self.used -= max(ALIGNMENT, -(-block.size // ALIGNMENT) * ALIGNMENT)
        _libc.mprotect(block.base, block.pages, _PROT_NONE)
        self._freed.append(block)
        if len(self._freed) > QUARANTINED:
            self._unmap(self._freed.popleft())
        return block

    def block_of(self, address: int, size: int = 0) -> Block:
        """Return the allocation that so many bytes lie in; raises for any other."""
        place = bisect.bisect_right(self._order, address) - 1
        block = self._blocks[self._order[place]] if place >= 0 else None
        if block is None or address > block.end or address + size > block.end:
            raise RuntimeError(self._nowhere(address, size))
        return block

    def check(self, address: int) -> None:
        """Raise where something was written beside the allocation of an address."""
        self._intact(self.block_of(address))

    def close(self) -> None:
        """Give everything back to the host."""
        for block in (*self._blocks.values(), *self._freed):
            self._unmap(block)
        self._blocks.clear()
        self._order.clear()
        self._freed.clear()
        self.used = 0

    def live(self) -> list[Block]:
        """Return what is allocated now."""
        return list(self._blocks.values())

    def _intact(self, block: Block) -> None:
        for begin, length in block.fences():
            found = ctypes.string_at(begin, length)
            if found.strip(bytes([FENCE])):
                first = next(i for i, byte in enumerate(found) if byte != FENCE)
                raise RuntimeError(
                    f"something was written {begin + first - block.address:+} bytes from "
                    f"the beginning of an allocation of {block.size}"
                )

    def _nowhere(self, address: int, size: int) -> str:
        for block in self._freed:
            if block.address <= address < block.end:
                return f"{address:#x} lies in {block.size} bytes that have been freed"
        if not address:
            return f"{size} bytes at address 0: a buffer that has no place yet"
        return f"{size} bytes at {address:#x} are not within one allocation"

    def _unmap(self, block: Block) -> None:
        _libc.munmap(block.base, block.pages)
