"""Repeats other kernels' calls: the native loop behind Loop and Scan.

A round is some levels, each of them some calls whose chunks may run side by side, as in a
plan. Before the first round the calls' arguments are copied to where they may change;
after a round those that point to a slice move on to the next one, and those that point to
a state turn to its other half::

    begin:   copy all arguments; the limit of rounds; no round at all, or the first level
    repeat:  for round in range(limit):
                 for level: for call of the level: call.kernel(arguments, chunk, scratch)
                 move arguments; stop where the condition does not hold
             for level of those at the end: the same

The chunks of a level are shared by the members of a team (`team`), so that threads do not
go back to the walk in between. No arithmetic is done here: results are those of the
kernels that are called.
"""

from __future__ import annotations

from typing import Final

from runtime_ep_cpu.codegen.builder import Function, Module, Val
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.team import STATE_WORDS, team

STATE: Final = STATE_WORDS + 16
"""Words of a loop's state: the team's, then those of `ROUND`, `LIMIT` and `GOING`."""
ROUND: Final = STATE_WORDS
"""The word with the number of the round: what Loop's body is given."""
LIMIT: Final = STATE_WORDS + 1
"""The word with the number of rounds, at most."""
GOING: Final = STATE_WORDS + 8
"""The word whose first byte the body's condition is written to."""

BEGIN_FIELDS: Final = ("state", "live", "words", "limit", "trips", "condition")
"""Arguments of ``begin``: where state and live arguments lie; how many of these follow
behind the fields; rounds at most; where a number of rounds, i64, and a condition, a byte,
are given, which may be null."""

FIELDS: Final = (
    "state", "live", "levels", "inner", "calls", "moves", "moving", "obeyed", "members",
    "ends", "cancelled",
)  # fmt: skip
"""Arguments of ``repeat``.

``levels`` points to `LEVEL_FIELDS` of each level, of which ``inner`` are a round's and
``ends`` come at the end; ``calls`` to `CALL_FIELDS` of each call; ``moves`` to
`MOVE_FIELDS` of each of ``moving`` arguments. Where ``obeyed`` is not zero the byte at
`GOING` tells whether another round follows.
"""
LEVEL_FIELDS: Final = ("first", "chunks")
"""Of a level: its first call, and the chunks of all its calls."""
CALL_FIELDS: Final = ("kernel", "words", "end")
"""Of a call: the kernel's address, the place of its first argument among the live ones,
and the chunks of its level up to and with its own."""
MOVE_FIELDS: Final = ("slot", "move", "flip")
"""Of an argument that moves: its place, by how many bytes it moves after every round, and
by how many after the first, the third and so on, back after the others."""

_END: Final = 1 << 31
"""The first phase behind all rounds."""

BEGIN: Final = Spec.of("repeat_begin")
REPEAT: Final = Spec.of("repeat")


def _parameters() -> list[tuple[str, str]]:
    return [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]


@family("repeat_begin")
def begin(module: Module, target: Target, name: str) -> None:
    """Write the kernel of one chunk that makes a loop ready for a run."""
    f = Function(module, name, _parameters())
    arguments = f.parameters[0]
    pointers = ("state", "live", "trips", "condition")
    field = {
        word: f.field(arguments, i, "ptr" if word in pointers else "i64")
        for i, word in enumerate(BEGIN_FIELDS)
    }
    state, live = field["state"], field["live"]
    given = arguments.at(len(BEGIN_FIELDS), "i64")
    with f.loop(0, field["words"]) as loop:
        f.store(f.field(given.at(loop.index, "i64"), 0), live.at(loop.index, "i64"))
    with f.loop(0, STATE, runs=True) as loop:
        f.store(f.value(0, "i64"), state.at(loop.index, "i64"))
    (trips,) = f.choose(
        field["trips"].differs(0),
        lambda: [f.minimum(f.field(field["trips"], 0), field["limit"])],
        lambda: [field["limit"]],
    )
    (going,) = f.choose(
        field["condition"].differs(0),
        lambda: [f.load(field["condition"], "i8").differs(0)],
        lambda: [f.value(True, "i1")],
    )
    f.store(trips, state.at(LIMIT, "i64"))
    some = going & (trips > 0)
    first = f.select(some, f.value(0, "i64"), f.value(_END, "i64"))
    f.store(first << 32, state)
    f.ret()


@family("repeat")
def repeat(module: Module, target: Target, name: str) -> None:
    """Write the loop; each chunk is a member of its team."""
    f = Function(module, name, _parameters())
    arguments, chunk, scratch = f.parameters
    pointers = ("state", "live", "levels", "calls", "moves", "cancelled")
    field = {
        word: f.field(arguments, i, "ptr" if word in pointers else "i64")
        for i, word in enumerate(FIELDS)
    }
    inner = field["inner"]

    def level(phase: Val) -> Val:
        behind = phase >= _END
        number = f.select(behind, inner + (phase - _END), phase % inner)
        return field["levels"].at(number * len(LEVEL_FIELDS), "i64")

    def parts(phase: Val) -> Val:
        return f.field(level(phase), LEVEL_FIELDS.index("chunks"))

    def run(phase: Val, part: Val) -> None:
        first = f.field(level(phase), LEVEL_FIELDS.index("first"))
        _call(f, field["calls"], field["live"], first, part, scratch)

    def following(phase: Val) -> Val:
        after = phase + 1
        last = (phase < _END) & (after % inner).equals(0)
        return f.choose(last, lambda: [_next(f, field, after)], lambda: [after])[0]

    team(
        f,
        target,
        field["state"],
        (chunk * 2) >= field["members"],
        field["ends"] + _END,
        field["cancelled"],
        parts,
        run,
        following,
    )
    f.ret()


def _call(
    f: Function, calls: Val, live: Val, first: Val, chunk: Val, scratch: Val
) -> None:
    """Write the search for the call that a chunk of a level belongs to, and the call."""
    seek, found, more = f.fresh("seek"), f.fresh("found"), f.fresh("more")
    entered = f.block
    start = calls.at(first * len(CALL_FIELDS), "i64")
    f.jump(seek)
    f.label(seek)
    call, begun = Val(f, "ptr", f"%{f.fresh()}"), Val(f, "i64", f"%{f.fresh()}")
    after, end = Val(f, "ptr", f"%{f.fresh()}"), f"%{f.fresh()}"
    f.line(f"{call.name} = phi ptr [{start.name}, %{entered}], [{after.name}, %{more}]")
    f.line(f"{begun.name} = phi i64 [0, %{entered}], [{end}, %{more}]")
    place = call.at(CALL_FIELDS.index("end"), "i64")
    f.line(f"{end} = load i64, ptr {place.name}, align 8")
    f.branch(chunk < Val(f, "i64", end), found, more)
    f.label(more)
    f.line(f"{after.name} = getelementptr i64, ptr {call.name}, i64 {len(CALL_FIELDS)}")
    f.jump(seek)
    f.label(found)
    kernel = f.field(call, CALL_FIELDS.index("kernel"), "ptr")
    words = f.field(call, CALL_FIELDS.index("words"))
    f.call_pointer(kernel, "void", live.at(words, "i64"), chunk - begun, scratch)


def _next(f: Function, field: dict[str, Val], after: Val) -> Val:
    """Write the end of a round; return the phase that follows."""
    state, live = field["state"], field["live"]
    number = f.field(state, ROUND)
    odd = (number & 1).differs(0)
    with f.loop(0, field["moving"]) as loop:
        move = field["moves"].at(loop.index * len(MOVE_FIELDS), "i64")
        slot, step, flip = (f.field(move, i) for i in range(len(MOVE_FIELDS)))
        place = live.at(slot, "i64")
        turn = f.select(odd, 0 - flip, flip)
        f.store(f.field(place, 0) + step + turn, place)
    done = number + 1
    f.store(done, state.at(ROUND, "i64"))
    going = f.load(state.at(GOING, "i64"), "i8").differs(0)
    more = (done < f.field(state, LIMIT)) & (field["obeyed"].equals(0) | going)
    # Phases are told apart by 32 bits: before they come to the end they begin anew.
    wraps = (after + field["inner"]) >= _END
    again = f.select(wraps, f.value(0, "i64"), after)
    return f.select(more, again, f.value(_END, "i64"))
