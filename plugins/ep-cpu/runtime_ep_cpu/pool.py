"""The threads that run plans: one pool per process, leased whole to one run at a time."""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime_ep_cpu.codegen.binding import Caller, binding_text
from runtime_ep_cpu.codegen.library import Store, library
from runtime_ep_cpu.codegen.machine import function
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.walk import POOL, POOL_SLOTS, walk_text

SPINS = 8000
"""Rounds a worker waits for the next run before it sleeps: 100 microseconds where a pause
takes 45 cycles (Zen 4), 400 where it takes 140 (Intel's since Skylake)."""

_Address = ctypes.c_void_p
_Number = ctypes.c_int64


def aligned(count: int, dtype: Any = np.int64, to: int = 64) -> np.ndarray[Any, Any]:
    """Return zeros whose memory begins at a multiple of ``to`` bytes."""
    size = count * np.dtype(dtype).itemsize
    raw = np.zeros(size + to, np.uint8)
    start = -raw.ctypes.data % to
    return raw[start : start + size].view(dtype)


class Pool:
    """Worker threads that wait for plans.

    ``run`` executes a frame (see `codegen.walk`) with up to ``threads`` threads, the
    caller's included. Only one run at a time has the workers; another that comes while
    they are busy is executed by its caller alone, with the same result. A worker may look
    at a frame when its run is over: memory of frames is given back by `retire`.
    """

    def __init__(self, threads: int, target: Target, store: Store | None = None):
        self.threads = threads
        # Where a Python has its objects' fields is part of the text, hence of its name.
        name = f"walk_{object.__basicsize__}"
        self._code = library(target).code([name], [lambda: _text(target)], store)
        self._run: Any = self._function("run", _Address, _Address, _Number)
        self._run_alone: Any = self._function("run_alone", _Address)
        bind = self._code.address("bind")
        self.bind: Any = ctypes.CFUNCTYPE(None, _Address, _Address)(bind)
        self.caller = Caller(self._code.address("call"))
        self._stop: Any = self._function("stop", _Address)
        self._settle: Any = self._function("settle", _Address)
        self.begin()

    def begin(self) -> None:
        """Start without workers; also in a child process, where the parent's are gone."""
        self._block = aligned(POOL_SLOTS)
        self._block[POOL["spins"]] = SPINS
        self._address = self._block.ctypes.data
        self._lease = threading.Lock()
        self._retired: deque[Any] = deque()
        self._workers: list[threading.Thread] = []

    def _function(self, name: str, *parameters: type) -> Any:
        return function(self._code.address(name), *parameters)

    def run(self, frame: int, threads: int) -> None:
        """Execute the frame at an address; returns when every level is done."""
        if threads <= 1 or not self._lease.acquire(blocking=False):
            self._run_alone(frame)
            return
        try:
            if not self._workers:
                self._hire()
            self._run(self._address, frame, min(threads, self.threads))
        finally:
            self._lease.release()
        if self._retired:
            self._let_go()

    def _hire(self) -> None:
        work: Any = self._function("worker", _Address, _Number)
        block = self._block  # kept alive by each thread that reads it
        for index in range(1, self.threads):
            name = f"runtime-cpu-{index}"
            thread = threading.Thread(
                target=_work, args=(work, block, index), name=name, daemon=True
            )
            thread.start()
            self._workers.append(thread)

    def retire(self, frames: Sequence[Any]) -> None:
        """Let go of frames whose runs are over, once no worker may look at them.

        Called when plans are collected, which may be at any moment, also while this
        thread holds the lease: it waits for no run. Whoever has the lease does the rest.
        """
        self._retired.append(frames)
        self._let_go()

    def _let_go(self) -> None:
        while self._retired and self._lease.acquire(blocking=False):
            try:
                old = [self._retired.popleft() for _ in range(len(self._retired))]
                if self._workers:
                    self._settle(self._address)
            finally:
                self._lease.release()
            del old

    def close(self) -> None:
        """Send the workers home; for pools that belong to one session."""
        with self._lease:
            if self._workers:
                self._stop(self._address)
            for thread in self._workers:
                thread.join()
            self._workers = []


def _text(target: Target) -> str:
    return walk_text(target) + binding_text()


def _work(work: Any, block: np.ndarray[Any, Any], index: int) -> None:
    work(block.ctypes.data, index)


_shared: dict[tuple[int, Target], Pool] = {}
_guard = threading.Lock()


def shared(threads: int, target: Target, store: Store | None = None) -> Pool:
    """Return the process's pool of so many threads, made on first use.

    ``store`` is where the code of the walk is looked for, and kept.
    """
    with _guard:
        pool = _shared.get((threads, target))
        if pool is None:
            pool = _shared[threads, target] = Pool(threads, target, store)
        return pool


def is_shared(threads: int, target: Target) -> bool:
    """Whether the process has a pool of so many threads."""
    return (threads, target) in _shared


def _after_fork() -> None:
    """Leave the parent's pools behind: their workers do not exist in a child."""
    global _guard
    _guard = threading.Lock()
    for pool in _shared.values():
        pool.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
