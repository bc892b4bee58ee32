"""Runs one kernel over NumPy arrays: every chunk, by one thread or several."""

import ctypes
import mmap
import struct

import numpy as np
from runtime_ep_cpu import pool as pools
from runtime_ep_cpu.codegen.library import library
from runtime_ep_cpu.codegen.target import host
from runtime_ep_cpu.codegen.walk import COUNTER_SLOTS, FRAME, FRAME_SLOTS

PAGE = mmap.PAGESIZE


def slot(value):
    """Return what an argument's 8 bytes hold: an address, an integer, or float32 bits."""
    if isinstance(value, np.ndarray):
        return value.ctypes.data
    if isinstance(value, float):
        return int.from_bytes(struct.pack("<f", value), "little")
    return int(value)


def block(values):
    """Return an argument block."""
    arguments = pools.aligned(max(1, len(values)))
    arguments[: len(values)] = [slot(value) for value in values]
    return arguments


def run(spec, values, chunks, scratch=0, threads=1, target=None):
    """Run all chunks of a kernel whose arguments are arrays, integers and floats."""
    target = target or host()
    kernels = library(target)
    kernels.load([spec])
    run_frame(
        Frame(kernels.address(spec), block(values), chunks, scratch, threads), target
    )


class Frame:
    """A plan of one level with one step, kept alive with what it points to."""

    def __init__(self, address, arguments, chunks, scratch=0, threads=1):
        self.threads = threads
        self.arguments = arguments
        self.step = block([address, arguments, chunks])
        self.level = block([0, 1, chunks])
        self.counters = pools.aligned(COUNTER_SLOTS)
        stride = -(-scratch // 64) * 64
        self.scratch = pools.aligned(stride * threads + 64, np.uint8)
        self.slots = pools.aligned(FRAME_SLOTS)
        for name, value in (
            ("levels", 1),
            ("level_table", slot(self.level)),
            ("step_table", slot(self.step)),
            ("counters", slot(self.counters)),
            ("scratch", slot(self.scratch)),
            ("scratch_stride", stride),
        ):
            self.slots[FRAME[name]] = value


def run_frame(frame, target=None):
    """Execute a frame by the process's pool of as many threads."""
    pool = pools.shared(frame.threads, target or host())
    pool.run(frame.slots.ctypes.data, frame.threads)


def guarded(array, front=False):
    """Return a copy that ends (or begins) where memory that nobody may touch begins."""
    array = np.ascontiguousarray(array)
    pages = -(-max(array.nbytes, 1) // PAGE)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for place in (0, (pages + 1) * PAGE):
        if protect(start + place, PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = PAGE if front else (pages + 1) * PAGE - array.nbytes
    copy = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy
