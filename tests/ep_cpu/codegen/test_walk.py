"""The walk: every chunk once, levels in order, whoever helps, stopped when asked."""

import ctypes
import threading

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import block
from runtime_ep_cpu import pool as pools
from runtime_ep_cpu.codegen.machine import Code, compiled
from runtime_ep_cpu.codegen.target import host
from runtime_ep_cpu.codegen.walk import (
    COUNTER_SLOTS,
    FRAME,
    FRAME_SLOTS,
    walk_text,
)

KERNELS = """
define void @count(ptr %arguments, i64 %chunk, ptr %scratch) nounwind {
  %counts = load ptr, ptr %arguments, align 8
  %place = getelementptr i64, ptr %counts, i64 %chunk
  %before = atomicrmw add ptr %place, i64 1 seq_cst
  ret void
}
define void @check(ptr %arguments, i64 %chunk, ptr %scratch) nounwind {
entry:
  %counts = load ptr, ptr %arguments, align 8
  %p1 = getelementptr i64, ptr %arguments, i64 1
  %number = load i64, ptr %p1, align 8
  %p2 = getelementptr i64, ptr %arguments, i64 2
  %seen = load ptr, ptr %p2, align 8
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %sum = phi i64 [0, %entry], [%more, %loop]
  %place = getelementptr i64, ptr %counts, i64 %i
  %one = load i64, ptr %place, align 8
  %more = add i64 %sum, %one
  %next = add i64 %i, 1
  %left = icmp slt i64 %next, %number
  br i1 %left, label %loop, label %out
out:
  %there = getelementptr i64, ptr %seen, i64 %chunk
  store i64 %more, ptr %there, align 8
  ret void
}
define void @mark(ptr %arguments, i64 %chunk, ptr %scratch) nounwind {
  %users = load ptr, ptr %arguments, align 8
  %address = ptrtoint ptr %scratch to i64
  %place = getelementptr i64, ptr %users, i64 %chunk
  store i64 %address, ptr %place, align 8
  ret void
}
"""


@pytest.fixture(scope="module")
def kernels():
    return Code(host(), compiled(KERNELS, host()))


class Frame:
    """A plan of several levels; each is a list of (function, arguments, chunks)."""

    def __init__(self, levels, threads=1, scratch=0):
        steps, rows, self.kept = [], [], []
        for level in levels:
            chunks, first = 0, len(steps) // 3
            for function, arguments, count in level:
                chunks += count
                made = block(arguments)
                self.kept += [made, arguments]
                steps += [function, made.ctypes.data, chunks]
            rows += [first, len(level), chunks]
        self.steps, self.levels = block(steps), block(rows)
        self.counters = pools.aligned(COUNTER_SLOTS * max(1, len(levels)))
        self.scratch = pools.aligned(scratch * threads + 64, np.uint8)
        self.slots = pools.aligned(FRAME_SLOTS)
        for name, value in (
            ("levels", len(levels)),
            ("level_table", self.levels.ctypes.data),
            ("step_table", self.steps.ctypes.data),
            ("counters", self.counters.ctypes.data),
            ("scratch", self.scratch.ctypes.data),
            ("scratch_stride", scratch),
        ):
            self.slots[FRAME[name]] = value

    def run(self, threads=1):
        pools.shared(max(threads, 1), host()).run(self.slots.ctypes.data, threads)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_every_chunk_of_every_step_runs_once(kernels, threads):
    sizes = (1, 17, 300)
    counts = [np.zeros(size, np.int64) for size in sizes]
    count = kernels.address("count")
    frame = Frame([[(count, [c], len(c)) for c in counts], [(count, [counts[0]], 1)]])
    for _ in range(50):
        frame.run(threads)
    assert counts[0].tolist() == [100]
    assert all((c == 50).all() for c in counts[1:])


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_level_begins_when_the_one_before_is_done(kernels, threads):
    counts, seen = np.zeros(200, np.int64), np.zeros(64, np.int64)
    levels = [
        [(kernels.address("count"), [counts], 200)],
        [(kernels.address("check"), [counts, 200, seen], 64)],
    ]
    frame = Frame(levels)
    for run in range(1, 100):
        seen[:] = 0
        frame.run(threads)
        assert (seen == 200 * run).all()


def test_levels_without_chunks_and_plans_without_levels_end(kernels):
    counts = np.zeros(3, np.int64)
    for threads in (1, 2):
        Frame([]).run(threads)
        Frame([[(kernels.address("count"), [counts], 0)]]).run(threads)
    assert not counts.any()


def test_each_thread_has_scratch_of_its_own_aligned(kernels):
    users = np.zeros(4000, np.int64)
    frame = Frame([[(kernels.address("mark"), [users], 4000)]], 3, 128)
    for _ in range(20):
        frame.run(3)
    start = frame.scratch.ctypes.data
    assert set(users - start) <= {0, 128, 256}
    assert not (users % 64).any()


def test_a_cancelled_frame_does_nothing_more_and_ends(kernels):
    counts = np.zeros(100, np.int64)
    frame = Frame([[(kernels.address("count"), [counts], 100)]] * 3)
    frame.slots[FRAME["cancelled"]] = 1
    for threads in (1, 2):
        frame.run(threads)
    assert not counts.any()
    frame.slots[FRAME["cancelled"]] = 0
    frame.run(2)
    assert (counts == 3).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_stamps_are_taken_before_the_first_level_and_after_each(kernels, threads):
    counts = np.zeros(10, np.int64)
    frame = Frame([[(kernels.address("count"), [counts], 10)]] * 4)
    stamps = np.zeros(5, np.int64)
    frame.slots[FRAME["stamps"]] = stamps.ctypes.data
    frame.run(threads)
    assert (stamps > 0).all()
    assert (np.diff(stamps) >= 0).all()


def test_the_number_of_a_run_survives_its_wrapping_round(kernels):
    counts = np.zeros(50, np.int64)
    frame = Frame([[(kernels.address("count"), [counts], 50)]])
    frame.slots[FRAME["run"]] = (1 << 31) - 3
    for _ in range(6):
        frame.run(2)
    assert (counts == 6).all()
    assert frame.slots[FRAME["run"]] == 3


def test_runs_of_several_callers_at_once_are_all_whole(kernels):
    count = kernels.address("count")
    arrays = [np.zeros(500, np.int64) for _ in range(6)]

    def work(counts):
        frame = Frame([[(count, [counts], 500)]], 2)
        for _ in range(60):
            frame.run(2)
        kept.append(frame)

    kept = []
    threads = [threading.Thread(target=work, args=(counts,)) for counts in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((counts == 60).all() for counts in arrays)
    pools.shared(2, host()).retire(kept)


def test_a_pool_that_is_closed_sends_its_workers_home(kernels):
    counts = np.zeros(10, np.int64)
    frame = Frame([[(kernels.address("count"), [counts], 10)]])
    pool = pools.Pool(3, host())
    pool.run(frame.slots.ctypes.data, 3)
    workers = list(pool._workers)
    assert len(workers) == 2
    pool.close()
    assert not any(worker.is_alive() for worker in workers)
    pool.run(frame.slots.ctypes.data, 3)
    assert (counts == 2).all()
    pool.close()


def test_nothing_is_left_unfilled_in_the_text():
    import re

    for words in (walk_text(host()),):
        assert not re.findall(r"\{[a-z_]+\}", words)


def test_a_native_call_releases_the_interpreters_lock(kernels):
    from runtime_ep_cpu.codegen.machine import function

    made = function(kernels.address("count"), ctypes.c_void_p, ctypes.c_int64)
    assert not made._flags_ & ctypes._FUNCFLAG_PYTHONAPI
