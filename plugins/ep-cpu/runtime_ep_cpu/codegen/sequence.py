"""Sequences: calls of other kernels, one after the other, as one chunk of a step.

What they hand on to each other lies in the scratch of the thread that runs the chunk, so
that it stays in a cache::

    for call in calls of the chunk:
        copy its arguments to scratch; add the address of scratch to some of them
        for part in its chunks: call.kernel(arguments, part, rest of scratch)

No arithmetic is done here: results are those of the kernels that are called.
"""

from __future__ import annotations

from typing import Final

from runtime_ep_cpu.codegen.builder import Function, Module
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.target import Target

FIELDS: Final = ("firsts", "calls", "shifted", "room")
"""First arguments of a sequence; those of the calls follow, one block behind the other.

``firsts`` points to the number of each chunk's first call, and to that of all calls;
``calls`` to `CALL_FIELDS` of each. ``shifted`` points to the slots, in the block of a
call, that hold distances in bytes from where scratch begins. The scratch of the kernels
that are called begins ``room`` bytes from there.
"""
CALL_FIELDS: Final = (
    "kernel", "first_word", "words", "chunks", "first_shifted", "shifted",
)  # fmt: skip
"""Of a call: its kernel's address; where among the arguments its block begins, and how
long it is; its chunks; the first of its ``shifted`` slots, and their number."""

SPEC: Final = Spec.of("sequence")


@family("sequence")
def sequence(module: Module, target: Target, name: str) -> None:
    """Write the kernel; see the module's text."""
    parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
    f = Function(module, name, parameters)
    arguments, chunk, scratch = f.parameters
    firsts, calls, shifted = (f.field(arguments, i, "ptr") for i in range(3))
    rest = scratch.at(f.field(arguments, FIELDS.index("room")), "i8")
    base = f.emit(f"ptrtoint ptr {scratch.name} to i64", "i64")
    here = firsts.at(chunk, "i64")
    with f.loop(f.field(here, 0), f.field(here, 1)) as loop:
        call = calls.at(loop.index * len(CALL_FIELDS), "i64")
        kernel = f.field(call, 0, "ptr")
        first, words, chunks, first_slot, slots = (
            f.field(call, i) for i in range(1, len(CALL_FIELDS))
        )
        block = arguments.at(first, "i64")
        with f.loop(0, words) as word:
            f.store(
                f.load(block.at(word.index, "i64"), "i64"),
                scratch.at(word.index, "i64"),
            )
        with f.loop(first_slot, first_slot + slots) as number:
            slot = f.load(shifted.at(number.index, "i64"), "i64")
            place = scratch.at(slot, "i64")
            f.store(f.load(place, "i64") + base, place)
        with f.loop(0, chunks) as part:
            f.call_pointer(kernel, "void", scratch, part.index, rest)
    f.ret()
