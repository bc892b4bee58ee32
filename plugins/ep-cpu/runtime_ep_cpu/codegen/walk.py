"""The native walk over a plan: levels of chunks, claimed by the threads of a pool.

A *frame* is a block of 8-byte slots that one run owns; see `FRAME`. Every thread calls
``walk``: level by level it claims chunks until none is left and waits for the others::

    for level in levels:
        while (chunk = claim(level)) < level.chunks and not cancelled:
            step = the level's step that the chunk belongs to
            step.function(step.arguments, chunk within the step, scratch of the thread)
        barrier

Which thread runs a chunk never changes its result, so neither does their number.
Workers live in ``worker``: they spin a while after a run and then sleep until the next.
"""

from __future__ import annotations

from typing import Final

from runtime_ep_cpu.codegen.target import Target

FRAME: Final = {
    "levels": 0,
    "level_table": 1,
    "step_table": 2,
    "counters": 3,
    "scratch": 4,
    "scratch_stride": 5,
    "cancelled": 6,
    "failed": 7,
    "stamps": 8,
    "arrived": 16,
    "generation": 24,
}
"""Slots of a frame. ``counters`` points to one zero per level; ``stamps``, where not
null, to one slot more than there are levels, for the cycle counter."""

FRAME_SLOTS: Final = 32
LEVEL_SLOTS: Final = 3
"""A level: its first step, its steps' number, its chunks."""
STEP_SLOTS: Final = 3
"""A step: function, arguments, and the chunks of its level up to and with its own."""

POOL: Final = {
    "epoch": 0,
    "done": 8,
    "frame": 16,
    "threads": 17,
    "quit": 18,
    "spins": 19,
    "sleepers": 24,
}
POOL_SLOTS: Final = 32

_PAUSE = {
    "x86": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "arm": (
        "declare void @llvm.aarch64.hint(i32)",
        "call void @llvm.aarch64.hint(i32 1)",
    ),
    "other": ("", ""),
}

_FUTEX = """
declare i64 @syscall(i64, ...)
define internal void @sleep_until(ptr %word, i64 %seen) nounwind {
  %low = trunc i64 %seen to i32
  %r = call i64 (i64, ...) @syscall(
    i64 {number}, ptr %word, i64 128, i32 %low, ptr null, ptr null, i64 0)
  ret void
}
define internal void @wake(ptr %word) nounwind {
  %r = call i64 (i64, ...) @syscall(
    i64 {number}, ptr %word, i64 129, i32 2147483647, ptr null, ptr null, i64 0)
  ret void
}
"""

_POLL = """
declare i32 @usleep(i32)
define internal void @sleep_until(ptr %word, i64 %seen) nounwind {
  %r = call i32 @usleep(i32 50)
  ret void
}
define internal void @wake(ptr %word) nounwind {
  ret void
}
"""

_YIELD = """
declare i32 @sched_yield()
define internal void @give_way() nounwind {
  %r = call i32 @sched_yield()
  ret void
}
"""

_WALK = """
{pause_declaration}
declare i64 @llvm.readcyclecounter()

define internal void @breathe(i64 %round) alwaysinline nounwind {
  {pause}
  %low = and i64 %round, 511
  %full = icmp eq i64 %low, 511
  br i1 %full, label %give, label %out
give:
  call void @give_way()
  br label %out
out:
  ret void
}

define internal void @barrier(ptr %frame, i64 %threads, ptr %counter) nounwind {
  %arrived = getelementptr i64, ptr %frame, i64 {arrived}
  %generation = getelementptr i64, ptr %frame, i64 {generation}
  %before = load atomic i64, ptr %generation acquire, align 8
  %place = atomicrmw add ptr %arrived, i64 1 acq_rel
  %others = sub i64 %threads, 1
  %last = icmp eq i64 %place, %others
  br i1 %last, label %release, label %wait
release:
  store atomic i64 0, ptr %counter monotonic, align 8
  store atomic i64 0, ptr %arrived monotonic, align 8
  %after = add i64 %before, 1
  store atomic i64 %after, ptr %generation release, align 8
  br label %out
wait:
  %round = phi i64 [0, %0], [%next, %again]
  %now = load atomic i64, ptr %generation acquire, align 8
  %moved = icmp ne i64 %now, %before
  br i1 %moved, label %out, label %again
again:
  call void @breathe(i64 %round)
  %next = add i64 %round, 1
  br label %wait
out:
  ret void
}

define internal void @run_chunk(ptr %steps, i64 %chunk, ptr %scratch) nounwind {
entry:
  br label %seek
seek:
  %step = phi ptr [%steps, %entry], [%following, %more]
  %start = phi i64 [0, %entry], [%end, %more]
  %end_place = getelementptr i64, ptr %step, i64 2
  %end = load i64, ptr %end_place, align 8
  %here = icmp slt i64 %chunk, %end
  br i1 %here, label %found, label %more
more:
  %following = getelementptr i64, ptr %step, i64 {step_slots}
  br label %seek
found:
  %function = load ptr, ptr %step, align 8
  %arguments_place = getelementptr i64, ptr %step, i64 1
  %arguments = load ptr, ptr %arguments_place, align 8
  %own = sub i64 %chunk, %start
  call void %function(ptr %arguments, i64 %own, ptr %scratch)
  ret void
}

define void @walk(ptr %frame, i64 %thread, i64 %threads) nounwind {
entry:
  %levels = load i64, ptr %frame, align 8
  %p1 = getelementptr i64, ptr %frame, i64 {level_table}
  %level_table = load ptr, ptr %p1, align 8
  %p2 = getelementptr i64, ptr %frame, i64 {step_table}
  %step_table = load ptr, ptr %p2, align 8
  %p3 = getelementptr i64, ptr %frame, i64 {counters}
  %counters = load ptr, ptr %p3, align 8
  %p4 = getelementptr i64, ptr %frame, i64 {scratch}
  %scratch_base = load ptr, ptr %p4, align 8
  %p5 = getelementptr i64, ptr %frame, i64 {scratch_stride}
  %stride = load i64, ptr %p5, align 8
  %shift = mul i64 %stride, %thread
  %scratch = getelementptr i8, ptr %scratch_base, i64 %shift
  %cancelled = getelementptr i64, ptr %frame, i64 {cancelled}
  %p8 = getelementptr i64, ptr %frame, i64 {stamps}
  %stamps = load ptr, ptr %p8, align 8
  %timed0 = icmp ne ptr %stamps, null
  %first = icmp eq i64 %thread, 0
  %timed = and i1 %timed0, %first
  %alone = icmp eq i64 %threads, 1
  br i1 %timed, label %stamp_first, label %begin
stamp_first:
  %t0 = call i64 @llvm.readcyclecounter()
  store i64 %t0, ptr %stamps, align 8
  br label %begin
begin:
  %none = icmp eq i64 %levels, 0
  br i1 %none, label %out, label %level_begin
level_begin:
  %level = phi i64 [0, %begin], [%next_level, %level_done]
  %row = mul i64 %level, {level_slots}
  %place = getelementptr i64, ptr %level_table, i64 %row
  %first_step = load i64, ptr %place, align 8
  %chunks_place = getelementptr i64, ptr %place, i64 2
  %chunks = load i64, ptr %chunks_place, align 8
  %step_row = mul i64 %first_step, {step_slots}
  %steps = getelementptr i64, ptr %step_table, i64 %step_row
  %counter = getelementptr i64, ptr %counters, i64 %level
  br label %claim
claim:
  %serial = phi i64 [0, %level_begin], [%serial_next, %ran]
  %stop = load atomic i64, ptr %cancelled monotonic, align 8
  %stopped = icmp ne i64 %stop, 0
  br i1 %stopped, label %level_end, label %take
take:
  br i1 %alone, label %check, label %take_shared
take_shared:
  %shared = atomicrmw add ptr %counter, i64 1 monotonic
  br label %check
check:
  %chunk = phi i64 [%serial, %take], [%shared, %take_shared]
  %left = icmp slt i64 %chunk, %chunks
  br i1 %left, label %ran, label %level_end
ran:
  call void @run_chunk(ptr %steps, i64 %chunk, ptr %scratch)
  %serial_next = add i64 %serial, 1
  br label %claim
level_end:
  br i1 %alone, label %level_stamp, label %meet
meet:
  call void @barrier(ptr %frame, i64 %threads, ptr %counter)
  br label %level_stamp
level_stamp:
  %next_level = add i64 %level, 1
  br i1 %timed, label %stamp, label %level_done
stamp:
  %t = call i64 @llvm.readcyclecounter()
  %stamp_place = getelementptr i64, ptr %stamps, i64 %next_level
  store i64 %t, ptr %stamp_place, align 8
  br label %level_done
level_done:
  %more = icmp slt i64 %next_level, %levels
  br i1 %more, label %level_begin, label %out
out:
  ret void
}
"""

_POOL = """
define void @worker(ptr %pool, i64 %thread) nounwind {
entry:
  %epoch = getelementptr i64, ptr %pool, i64 {epoch}
  %done = getelementptr i64, ptr %pool, i64 {done}
  %frame_place = getelementptr i64, ptr %pool, i64 {frame}
  %threads_place = getelementptr i64, ptr %pool, i64 {threads}
  %quit_place = getelementptr i64, ptr %pool, i64 {quit}
  %spins_place = getelementptr i64, ptr %pool, i64 {spins}
  %sleepers = getelementptr i64, ptr %pool, i64 {sleepers}
  br label %wait
wait:
  %seen = phi i64 [0, %entry], [%now, %idle], [%now, %finished]
  %limit = load atomic i64, ptr %spins_place monotonic, align 8
  br label %spin
spin:
  %round = phi i64 [0, %wait], [%round_next, %again], [%round_next, %slept]
  %now = load atomic i64, ptr %epoch acquire, align 8
  %changed = icmp ne i64 %now, %seen
  br i1 %changed, label %called, label %tired
tired:
  %round_next = add i64 %round, 1
  %over = icmp sgt i64 %round_next, %limit
  br i1 %over, label %park, label %again
again:
  call void @breathe(i64 %round)
  br label %spin
park:
  %s1 = atomicrmw add ptr %sleepers, i64 1 seq_cst
  %latest = load atomic i64, ptr %epoch seq_cst, align 8
  %still = icmp eq i64 %latest, %seen
  br i1 %still, label %sleep, label %slept
sleep:
  call void @sleep_until(ptr %epoch, i64 %seen)
  br label %slept
slept:
  %s2 = atomicrmw sub ptr %sleepers, i64 1 seq_cst
  br label %spin
called:
  %quit = load atomic i64, ptr %quit_place acquire, align 8
  %leave = icmp ne i64 %quit, 0
  br i1 %leave, label %out, label %join
join:
  %threads = load atomic i64, ptr %threads_place monotonic, align 8
  %wanted = icmp slt i64 %thread, %threads
  br i1 %wanted, label %work, label %idle
idle:
  br label %wait
work:
  %frame = load ptr, ptr %frame_place, align 8
  call void @walk(ptr %frame, i64 %thread, i64 %threads)
  %d = atomicrmw add ptr %done, i64 1 release
  br label %finished
finished:
  br label %wait
out:
  ret void
}

define void @run(ptr %pool, ptr %frame, i64 %threads) nounwind {
entry:
  %alone = icmp sle i64 %threads, 1
  br i1 %alone, label %solo, label %fork
solo:
  call void @walk(ptr %frame, i64 0, i64 1)
  ret void
fork:
  %epoch = getelementptr i64, ptr %pool, i64 {epoch}
  %done = getelementptr i64, ptr %pool, i64 {done}
  %frame_place = getelementptr i64, ptr %pool, i64 {frame}
  %threads_place = getelementptr i64, ptr %pool, i64 {threads}
  %sleepers = getelementptr i64, ptr %pool, i64 {sleepers}
  store ptr %frame, ptr %frame_place, align 8
  store atomic i64 %threads, ptr %threads_place monotonic, align 8
  store atomic i64 0, ptr %done monotonic, align 8
  %e = atomicrmw add ptr %epoch, i64 1 seq_cst
  %asleep = load atomic i64, ptr %sleepers seq_cst, align 8
  %any = icmp sgt i64 %asleep, 0
  br i1 %any, label %call, label %own
call:
  call void @wake(ptr %epoch)
  br label %own
own:
  call void @walk(ptr %frame, i64 0, i64 %threads)
  %others = sub i64 %threads, 1
  br label %spin
spin:
  %round = phi i64 [0, %own], [%round_next, %again]
  %d = load atomic i64, ptr %done acquire, align 8
  %all = icmp eq i64 %d, %others
  br i1 %all, label %out, label %again
again:
  call void @breathe(i64 %round)
  %round_next = add i64 %round, 1
  br label %spin
out:
  ret void
}

define void @stop(ptr %pool) nounwind {
  %quit = getelementptr i64, ptr %pool, i64 {quit}
  store atomic i64 1, ptr %quit release, align 8
  %epoch = getelementptr i64, ptr %pool, i64 {epoch}
  %e = atomicrmw add ptr %epoch, i64 1 seq_cst
  call void @wake(ptr %epoch)
  ret void
}
"""


def walk_text(target: Target) -> str:
    """Return the module with ``walk``, ``worker``, ``run`` and ``stop``."""
    machine, _, system = target.triple.partition("-")
    arm = machine in ("aarch64", "arm64")
    declaration, pause = _PAUSE["x86" if target.is_x86 else "arm" if arm else "other"]
    linux = "linux" in system and (target.is_x86 or arm)
    sleep = _FUTEX.replace("{number}", "202" if target.is_x86 else "98")
    text = _YIELD + (sleep if linux else _POLL) + _WALK + _POOL
    words = {
        **FRAME,
        **POOL,
        "level_slots": LEVEL_SLOTS,
        "step_slots": STEP_SLOTS,
        "pause_declaration": declaration,
        "pause": pause,
    }
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", str(value))
    return text
