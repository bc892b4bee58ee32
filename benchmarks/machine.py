"""The machine's own limits: multiply-adds in registers, and bytes read from memory.

Both are measured by small loops of LLVM IR, on as many threads as the models use; without
llvmlite they are unknown (None).
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from benchmarks.quiet import Gate

CHAINS = 12
"""Accumulators of a loop, enough to hide an instruction's latency."""

FMA_LOOPS = 200_000
"""Of a burst: a third of a millisecond, beside which it is short that threads start one
after the other."""

BURSTS = 3
"""Of a reading, the best of which counts: the first one wakes the processors up."""


def _accumulators(kind: str, step: Callable[[int], list[str]]) -> str:
    """Return a loop over %n with `CHAINS` accumulators; ``step`` makes %y from %x."""
    start = "zeroinitializer"
    phis = [
        f"%x{i} = phi {kind} [{start}, %entry], [%y{i}, %loop]" for i in range(CHAINS)
    ]
    steps = [line for i in range(CHAINS) for line in step(i)]
    total = [f"%s0 = fadd {kind} %y0, %y1"]
    total += [f"%s{i} = fadd {kind} %s{i - 1}, %y{i + 1}" for i in range(1, CHAINS - 1)]
    return "\n".join(
        [
            "entry: br label %loop",
            "loop: %i = phi i64 [0, %entry], [%next, %loop]",
            *phis,
            *steps,
            "%next = add i64 %i, 1",
            "%more = icmp slt i64 %next, %n",
            "br i1 %more, label %loop, label %done",
            "done:",
            *total,
            f"store {kind} %s{CHAINS - 2}, ptr %out, align 4",
            "ret void",
        ]
    )


def _text(width: int) -> str:
    kind = f"<{width} x float>"
    half = f"<{', '.join(['float 0.5'] * width)}>"

    def multiply(i: int) -> list[str]:
        call = f"call {kind} @llvm.fma.v{width}f32"
        return [f"%y{i} = {call}({kind} %x{i}, {kind} {half}, {kind} {half})"]

    def read(i: int) -> list[str]:
        return [
            f"%a{i} = mul i64 %i, {CHAINS}",
            f"%b{i} = add i64 %a{i}, {i}",
            f"%p{i} = getelementptr {kind}, ptr %data, i64 %b{i}",
            f"%v{i} = load {kind}, ptr %p{i}, align 4",
            f"%y{i} = fadd {kind} %x{i}, %v{i}",
        ]

    head = "(ptr %data, i64 %n, ptr %out) {\n"
    return (
        f"declare {kind} @llvm.fma.v{width}f32({kind}, {kind}, {kind})\n"
        f"define void @multiply{head}{_accumulators(kind, multiply)}\n}}\n"
        f"define void @read{head}{_accumulators(kind, read)}\n}}\n"
    )


class Loops:
    """The two loops as native functions; raises ImportError without llvmlite."""

    def __init__(self) -> None:
        from llvmlite import binding

        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        features = binding.get_host_cpu_features()
        wide = 16 if features.get("avx512f") else 8 if features.get("avx") else 4
        self.width = wide
        target = binding.Target.from_default_triple().create_target_machine(
            cpu=binding.get_host_cpu_name(), features=features.flatten(), opt=2
        )
        module = binding.parse_assembly(_text(wide))
        self._engine: Any = binding.create_mcjit_compiler(module, target)
        self._engine.finalize_object()
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
        self.multiply = kind(self._engine.get_function_address("multiply"))
        self.read = kind(self._engine.get_function_address("read"))


@cache
def loops() -> Loops | None:
    """Return the loops, None where llvmlite cannot be loaded."""
    try:
        return Loops()
    except (ImportError, OSError):
        return None


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def _together(work: list[Callable[[], Any]]) -> float:
    """Run every piece on a thread of its own; return the seconds of the slowest."""

    def timed(piece: Callable[[], Any]) -> float:
        began = time.perf_counter()
        piece()
        return time.perf_counter() - began

    return max(_pool(len(work)).map(timed, work))


def multiply_rate(threads: int) -> float:
    """Return FLOP/s of one short burst, of NumPy's product where there is no llvmlite."""
    native = loops()
    if native is None:
        square = np.ones((256, 256), np.float32)
        pieces = [lambda: square @ square for _ in range(threads)]
        return threads * 2 * 256**3 / _together(pieces)
    outs = np.zeros((threads, 64), np.float32)
    pieces = [
        lambda i=i: native.multiply(None, FMA_LOOPS, outs[i].ctypes.data)  # type: ignore[misc]
        for i in range(threads)
    ]
    flops = 2 * native.width * CHAINS * FMA_LOOPS * threads
    return flops / _together(pieces)


OF_ONE = 0.6
"""What part of one processor's rate each of several reaches at least, as their clocks may
fall. Where it is half, a hypervisor runs two of them on one core."""


def gate(threads: int) -> Gate:
    """Return a gate that knows the machine, for measurements with so many threads."""
    alone = max(multiply_rate(1) for _ in range(60))
    least = OF_ONE * threads * alone if threads > 1 else 0.0
    found = Gate(
        lambda: max(multiply_rate(threads) for _ in range(BURSTS)), least=least
    )
    for _ in range(50):
        found.reading()
    return found


def peak(threads: int, tries: int = 60) -> float | None:
    """Return the FMA peak in FLOP/s, the best of several bursts."""
    if loops() is None:
        return None
    return max(multiply_rate(threads) for _ in range(tries))


def bandwidth(threads: int, size: int, tries: int = 8) -> float | None:
    """Return bytes a second read from a buffer of that size, the best of several passes.

    A model's weights come from wherever a buffer as large as they are comes from, so the
    size matters: it is at least 1 MB and at most 512 MB here.
    """
    native = loops()
    if native is None:
        return None
    line = 4 * native.width * CHAINS
    each = min(max(size, 2**20), 2**29) // (threads * line)
    data = np.ones(threads * each * line // 4, np.float32)
    outs = np.zeros((threads, 64), np.float32)
    parts = np.split(data, threads)
    pieces = [
        lambda i=i: native.read(parts[i].ctypes.data, each, outs[i].ctypes.data)  # type: ignore[misc]
        for i in range(threads)
    ]
    return data.nbytes / min(_together(pieces) for _ in range(tries))
