"""The native walk over a plan: levels of chunks, claimed by the threads of a pool.

A *frame* is a block of 8-byte slots that one run owns; see `FRAME`. Every thread calls
``walk``, and claims chunks, level by level, until none is left::

    for level in levels:
        while (chunk = claim(level)) < level.chunks:
            step = the level's step that the chunk belongs to
            step.function(step.arguments, chunk within the step, scratch of the thread)
        wait until as many chunks of the level are done as it has

The first half of a level's chunks is claimed by threads of even number, the second by
the others, and what is left by whoever is done: so rows of an image that follow each
other stay in the cache of one processor from level to level. Each half has a counter of
its own, and each counter a cache line, which so stays with who claims: where processors
share no cache, a line takes as long from one to the other as many a chunk.

Which thread runs a chunk never changes its result, so neither does their number. Nobody
waits for a thread, only for chunks: one that the system holds up delays a run no longer
than by the chunk it is in. It may still look at a frame when the run is over. So claims
carry the number of the run: whoever finds another number leaves.

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
    "run": 9,
    "table": 10,
    "unlock": 11,
    "lock": 12,
    "truth": 13,
    "counts": 16,
}
"""Slots of a frame. ``counters`` points to `COUNTER_SLOTS` per level; ``stamps``, where
not null, to one slot more than there are levels, for the cycle counter. Where
``cancelled`` is set chunks are claimed, but nothing is done for them. ``table`` and the
three behind it are `codegen.binding`'s. From ``counts`` on kernels write how many rows
results have whose shapes depend on more than shapes."""

COUNTER_SLOTS: Final = 24
"""Of a level: the chunks taken of its first half, those of its second, and the chunks done,
each at the beginning of a cache line. Above the chunks taken is the number of the run."""

FRAME_SLOTS: Final = 32
LEVEL_SLOTS: Final = 3
"""A level: its first step, its steps' number, its chunks."""
STEP_SLOTS: Final = 3
"""A step: function, arguments, and the chunks of its level up to and with its own."""

POOL: Final = {
    "epoch": 0,
    "busy": 8,
    "frame": 16,
    "threads": 17,
    "quit": 18,
    "spins": 19,
    "sleepers": 24,
}
"""Slots of a pool. ``frame`` is null between runs; ``busy`` counts the workers that may
look at one."""

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

_BREATHE = """
{pause_declaration}
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
"""

_WALK = """
declare i64 @llvm.readcyclecounter()

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

define internal void @walk(ptr %frame, i64 %thread, i1 %alone, i64 %tag) nounwind {
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
  %parity = and i64 %thread, 1
  %odd = icmp ne i64 %parity, 0
  %timed = and i1 %timed0, %first
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
  %counter_row = mul i64 %level, {counter_slots}
  %counter = getelementptr i64, ptr %counters, i64 %counter_row
  %second_counter = getelementptr i64, ptr %counter, i64 8
  %done_place = getelementptr i64, ptr %counter, i64 16
  %odd_chunks = add i64 %chunks, 1
  %first_half = lshr i64 %odd_chunks, 1
  %second_half = sub i64 %chunks, %first_half
  br i1 %alone, label %serial, label %turn
serial:
  %one = phi i64 [0, %level_begin], [%one_next, %serial_next]
  %serial_left = icmp slt i64 %one, %chunks
  br i1 %serial_left, label %serial_check, label %level_stamp
serial_check:
  %stop1 = load atomic i64, ptr %cancelled monotonic, align 8
  %stopped1 = icmp ne i64 %stop1, 0
  br i1 %stopped1, label %level_stamp, label %serial_run
serial_run:
  call void @run_chunk(ptr %steps, i64 %one, ptr %scratch)
  br label %serial_next
serial_next:
  %one_next = add i64 %one, 1
  br label %serial
turn:
  %from = phi i1 [%odd, %level_begin], [%other, %turned]
  %turns = phi i64 [0, %level_begin], [1, %turned]
  %before_turn = phi i64 [0, %level_begin], [%so_far, %turned]
  %place_of_half = select i1 %from, ptr %second_counter, ptr %counter
  %start = select i1 %from, i64 %first_half, i64 0
  %size = select i1 %from, i64 %second_half, i64 %first_half
  %nothing = icmp eq i64 %size, 0
  br i1 %nothing, label %turned, label %claim
claim:
  %own = phi i64 [%before_turn, %turn], [%own, %try], [%own_next, %ran]
  %ticket = load atomic i64, ptr %place_of_half acquire, align 8
  %ticket_tag = and i64 %ticket, -4294967296
  %mine = icmp eq i64 %ticket_tag, %tag
  br i1 %mine, label %look, label %leave
look:
  %taken = and i64 %ticket, 4294967295
  %left = icmp slt i64 %taken, %size
  br i1 %left, label %try, label %turned
turned:
  %so_far = phi i64 [%before_turn, %turn], [%own, %look]
  %other = xor i1 %from, true
  %both = icmp ne i64 %turns, 0
  br i1 %both, label %claimed_all, label %turn
try:
  %chunk = add i64 %start, %taken
  %following = add i64 %ticket, 1
  %pair = cmpxchg ptr %place_of_half, i64 %ticket, i64 %following acq_rel monotonic
  %got = extractvalue { i64, i1 } %pair, 1
  br i1 %got, label %check, label %claim
check:
  %stop = load atomic i64, ptr %cancelled monotonic, align 8
  %stopped = icmp ne i64 %stop, 0
  br i1 %stopped, label %ran, label %work
work:
  call void @run_chunk(ptr %steps, i64 %chunk, ptr %scratch)
  br label %ran
ran:
  %own_next = add i64 %own, 1
  br label %claim
claimed_all:
  %any = icmp sgt i64 %so_far, 0
  br i1 %any, label %tell, label %wait
tell:
  %before = atomicrmw add ptr %done_place, i64 %so_far acq_rel
  br label %wait
wait:
  %round = phi i64 [0, %claimed_all], [0, %tell], [%round_next, %again]
  %done = load atomic i64, ptr %done_place acquire, align 8
  %all = icmp sge i64 %done, %chunks
  br i1 %all, label %level_stamp, label %still
still:
  %now = load atomic i64, ptr %counter monotonic, align 8
  %now_tag = and i64 %now, -4294967296
  %same = icmp eq i64 %now_tag, %tag
  br i1 %same, label %again, label %leave
again:
  call void @breathe(i64 %round)
  %round_next = add i64 %round, 1
  br label %wait
leave:
  ret void
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
  %busy = getelementptr i64, ptr %pool, i64 {busy}
  %frame_place = getelementptr i64, ptr %pool, i64 {frame}
  %threads_place = getelementptr i64, ptr %pool, i64 {threads}
  %quit_place = getelementptr i64, ptr %pool, i64 {quit}
  %spins_place = getelementptr i64, ptr %pool, i64 {spins}
  %sleepers = getelementptr i64, ptr %pool, i64 {sleepers}
  br label %wait
wait:
  %seen = phi i64 [0, %entry], [%now, %idle]
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
  %b1 = atomicrmw add ptr %busy, i64 1 seq_cst
  %address = load atomic i64, ptr %frame_place seq_cst, align 8
  %threads = load atomic i64, ptr %threads_place monotonic, align 8
  %given = icmp ne i64 %address, 0
  %counted = icmp slt i64 %thread, %threads
  %wanted = and i1 %given, %counted
  br i1 %wanted, label %work, label %idle
work:
  %frame = inttoptr i64 %address to ptr
  %run_place = getelementptr i64, ptr %frame, i64 {run}
  %run = load atomic i64, ptr %run_place acquire, align 8
  %tag = shl i64 %run, 32
  call void @walk(ptr %frame, i64 %thread, i1 false, i64 %tag)
  br label %idle
idle:
  %b2 = atomicrmw sub ptr %busy, i64 1 seq_cst
  br label %wait
out:
  ret void
}

define internal void @ready(ptr %frame, i64 %tag) nounwind {
entry:
  %levels = load i64, ptr %frame, align 8
  %place = getelementptr i64, ptr %frame, i64 {counters}
  %counters = load ptr, ptr %place, align 8
  br label %loop
loop:
  %level = phi i64 [0, %entry], [%next, %body]
  %more = icmp slt i64 %level, %levels
  br i1 %more, label %body, label %out
body:
  %row = mul i64 %level, {counter_slots}
  %counter = getelementptr i64, ptr %counters, i64 %row
  %second = getelementptr i64, ptr %counter, i64 8
  %done = getelementptr i64, ptr %counter, i64 16
  store atomic i64 0, ptr %done monotonic, align 8
  store atomic i64 %tag, ptr %second release, align 8
  store atomic i64 %tag, ptr %counter release, align 8
  %next = add i64 %level, 1
  br label %loop
out:
  ret void
}

define void @run_alone(ptr %frame) nounwind {
  call void @walk(ptr %frame, i64 0, i1 true, i64 0)
  ret void
}

define void @run(ptr %pool, ptr %frame, i64 %threads) nounwind {
  %epoch = getelementptr i64, ptr %pool, i64 {epoch}
  %frame_place = getelementptr i64, ptr %pool, i64 {frame}
  %threads_place = getelementptr i64, ptr %pool, i64 {threads}
  %sleepers = getelementptr i64, ptr %pool, i64 {sleepers}
  %run_place = getelementptr i64, ptr %frame, i64 {run}
  %last_run = load i64, ptr %run_place, align 8
  %after = add i64 %last_run, 1
  %run = and i64 %after, 2147483647
  %tag = shl i64 %run, 32
  call void @ready(ptr %frame, i64 %tag)
  store atomic i64 %run, ptr %run_place release, align 8
  store atomic i64 %threads, ptr %threads_place monotonic, align 8
  %address = ptrtoint ptr %frame to i64
  store atomic i64 %address, ptr %frame_place seq_cst, align 8
  %e = atomicrmw add ptr %epoch, i64 1 seq_cst
  %asleep = load atomic i64, ptr %sleepers seq_cst, align 8
  %any = icmp sgt i64 %asleep, 0
  br i1 %any, label %call, label %own
call:
  call void @wake(ptr %epoch)
  br label %own
own:
  call void @walk(ptr %frame, i64 0, i1 false, i64 %tag)
  store atomic i64 0, ptr %frame_place seq_cst, align 8
  ret void
}

define void @settle(ptr %pool) nounwind {
entry:
  %busy = getelementptr i64, ptr %pool, i64 {busy}
  br label %spin
spin:
  %round = phi i64 [0, %entry], [%next, %again]
  %b = load atomic i64, ptr %busy seq_cst, align 8
  %none = icmp eq i64 %b, 0
  br i1 %none, label %out, label %again
again:
  call void @breathe(i64 %round)
  %next = add i64 %round, 1
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
    """Return the module: ``worker``, ``run``, ``run_alone``, ``settle`` and ``stop``."""
    linux = "linux" in target.triple.partition("-")[2]
    known = target.is_x86 or _is_arm(target)
    sleep = _FUTEX.replace("{number}", "202" if target.is_x86 else "98")
    text = (sleep if linux and known else _POLL) + _WALK + _POOL
    words = {
        **FRAME,
        **POOL,
        "level_slots": LEVEL_SLOTS,
        "counter_slots": COUNTER_SLOTS,
        "step_slots": STEP_SLOTS,
    }
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", str(value))
    return breathing(target) + text


def breathing(target: Target) -> str:
    """Return ``breathe``, for loops that wait: a pause, and at times the processor."""
    kind = "x86" if target.is_x86 else "arm" if _is_arm(target) else "other"
    declaration, pause = _PAUSE[kind]
    text = _BREATHE.replace("{pause_declaration}", declaration)
    return _YIELD + text.replace("{pause}", pause)


def _is_arm(target: Target) -> bool:
    return target.triple.partition("-")[0] in ("aarch64", "arm64")
