"""Phases of work that threads share inside one step, without going back to the walk.

A step whose work is a long row of small phases, each of which needs the one before, has
some *members*: chunks that all do the same, for as long as there are phases left::

    while the phase is none of those behind the last:
        while (part = claim(phase)) < parts of the phase: run(phase, part)
        whoever finishes the phase's last part says which phase is next

Nobody waits for a thread, only for parts that are being worked on: one member alone goes
through all phases, those that come late join where the others are, and those that come
when all is over leave at once. Which member runs a part changes no result. The first half
of the members prefers the first half of the parts, the others the second, so that what a
part reads stays in the cache of one processor from phase to phase.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from runtime_ep_cpu.codegen.builder import Function, Val
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.walk import breathing

STATE_WORDS: Final = 16
"""Words of 8 bytes that a team shares, all zeros when it begins.

The first is the phase, above the parts taken of its second half and of its first, 16
bits each; the second the members that take part. The ninth, in a cache line of its own,
are the parts that are done, and the next two are the kernel's: `own`.
"""
_PRESENT, _DONE, _OWN = 1, 8, 9
MOST_PARTS: Final = 1 << 15
"""Parts a phase may have."""


def team(
    f: Function,
    target: Target,
    state: Val,
    second: Val,
    phases: Val,
    cancelled: Val,
    parts: Callable[[Val], Val],
    run: Callable[[Val, Val], None],
    following: Callable[[Val], Val],
) -> None:
    """Write what a member does.

    ``second`` is whether the member is of the second half. ``parts(phase)`` gives how
    many parts a phase has, one at least, ``run(phase, part)`` writes the work, and
    ``following(phase)`` what one member does alone when a phase is over; it gives the
    next. Phases from ``phases`` on end it, and so does a word at ``cancelled`` that is
    not zero.
    """
    f.module.add_text("breathe", breathing(target))
    present = state.at(_PRESENT, "i64")
    f.emit(f"atomicrmw add ptr {present.name}, i64 1 acq_rel", "i64")
    begin, look, claim, work, last, wait, out = (
        f.fresh(word)
        for word in ("begin", "look", "claim", "work", "last", "wait", "out")
    )
    done_place = state.at(_DONE, "i64")
    entered = f.block
    f.jump(begin)
    f.label(begin)
    rounds, waited = f.fresh("rounds"), f.fresh("waited")
    waiting = Val(f, "i64", f"%{waited}")
    f.line(
        f"%{rounds} = phi i64 [0, %{entered}], [0, %{claim}], [0, %{last}_after], "
        f"[0, %{work}_done], [%{waited}, %{wait}]"
    )
    ticket = f.emit(f"load atomic i64, ptr {state.name} acquire, align 8", "i64")
    stop = f.emit(f"load atomic i64, ptr {cancelled.name} monotonic, align 8", "i64")
    phase = f.emit(f"lshr i64 {ticket.name}, 32", "i64")
    f.branch((phase >= phases) | stop.differs(0), out, look)
    f.label(look)
    count = parts(phase)
    part, unit, any_left = _next_part(f, ticket, second, count)
    following_ticket = ticket + unit
    f.branch(any_left, claim, wait)
    f.label(wait)
    f.line(f"call void @breathe(i64 %{rounds})")
    f.line(f"{waiting.name} = add i64 %{rounds}, 1")
    f.jump(begin)
    f.label(claim)
    pair = f.emit(
        f"cmpxchg ptr {state.name}, i64 {ticket.name}, i64 {following_ticket.name} "
        "acq_rel monotonic",
        "{ i64, i1 }",
    )
    got = f.emit(f"extractvalue {pair!r}, 1", "i1")
    f.branch(got, work, begin)
    f.label(work)
    run(phase, part)
    before = f.emit(f"atomicrmw add ptr {done_place.name}, i64 1 acq_rel", "i64")
    f.jump(f"{work}_done")
    f.label(f"{work}_done")
    f.branch((before + 1).equals(count), last, begin)
    f.label(last)
    then = following(phase)
    ticket = then << 32
    f.line(f"store atomic i64 0, ptr {done_place.name} monotonic, align 8")
    f.line(f"store atomic i64 {ticket.name}, ptr {state.name} release, align 8")
    f.jump(f"{last}_after")
    f.label(f"{last}_after")
    f.jump(begin)
    f.label(out)
    f.emit(f"atomicrmw sub ptr {present.name}, i64 1 acq_rel", "i64")


def own(state: Val, phase: Val) -> Val:
    """Return the place of a word that is the kernel's as long as a phase lasts.

    ``following`` may write the next phase's, and ``parts`` read its own, where phases
    follow one another without gaps. Two phases never share a word: a member that comes
    late reads what its phase had, so that a part it does not have is never claimed.
    """
    return state.at((phase & 1) + _OWN, "i64")


def members(f: Function, state: Val) -> Val:
    """Return how many members take part at present."""
    place = state.at(_PRESENT, "i64")
    return f.emit(f"load atomic i64, ptr {place.name} monotonic, align 8", "i64")


def _next_part(
    f: Function, ticket: Val, second: Val, count: Val
) -> tuple[Val, Val, Val]:
    """Return the part to claim, what claiming adds to the ticket, and if one is left."""
    near = f.emit(f"lshr i64 {(count + 1).name}, 1", "i64")
    far = count - near
    near_taken = ticket & 65535
    far_taken = f.emit(f"lshr i64 {ticket.name}, 16", "i64") & 65535
    near_left, far_left = near_taken < near, far_taken < far
    takes_far = far_left & (second | ~near_left)
    part = f.select(takes_far, near + far_taken, near_taken)
    unit = f.select(takes_far, f.value(65536, "i64"), f.value(1, "i64"))
    return part, unit, near_left | far_left
