"""Teams: every part of every phase once, in order, whoever comes early, late or not."""

import threading

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import Frame, block, run_frame
from runtime_ep_cpu.codegen.builder import Function, Module
from runtime_ep_cpu.codegen.machine import Code, compiled
from runtime_ep_cpu.codegen.target import host
from runtime_ep_cpu.codegen.team import STATE_WORDS, own, team

PHASES = 100_000
PARTS = (1, 7, 1, 1, 12, 2, 1, 5)
"""Parts of the phases, over and over."""


@pytest.fixture(scope="module")
def kernel():
    """Return the code of members that count the parts that they run.

    A phase's parts are written down when the phase before is over. A part that begins
    before all of the phase before have run counts as wrong.
    """
    module = Module()
    f = Function(
        module, "member", [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
    )
    arguments, chunk, _ = f.parameters
    state, cancelled, counts, wrong, table = (
        f.field(arguments, i, "ptr") for i in range(5)
    )
    members, phases = f.field(arguments, 5), f.field(arguments, 6)

    def has(phase):
        return f.field(table.at(phase % len(PARTS), "i64"), 0)

    def parts(phase):
        return f.maximum(f.load(own(state, phase), "i64"), f.value(1, "i64"))

    def add(place):
        f.emit(f"atomicrmw add ptr {place.name}, i64 1 seq_cst", "i64")

    def run(phase, part):
        add(counts.at(phase, "i64"))
        before = f.maximum(phase - 1, f.value(0, "i64"))
        ready = f.field(counts.at(before, "i64"), 0).equals(has(before))
        with f.when(~(ready | phase.equals(0))):
            add(wrong)

    def following(phase):
        after = phase + 1
        f.store(has(after), own(state, after))
        return after

    team(
        f,
        host(),
        state,
        (chunk * 2) >= members,
        phases,
        cancelled,
        parts,
        run,
        following,
    )
    f.ret()
    return Code(host(), compiled(module.text(), host()))


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_every_part_of_every_phase_runs_once(kernel, threads):
    state, cancelled = block([0] * STATE_WORDS), block([0])
    counts, wrong = np.zeros(PHASES, np.int64), np.zeros(1, np.int64)
    table = np.array(PARTS)
    arguments = block([state, cancelled, counts, wrong, table, threads, PHASES])
    stop = threading.Timer(60, lambda: cancelled.__setitem__(0, 1))
    stop.start()
    try:
        run_frame(Frame(kernel.address("member"), arguments, threads, threads=threads))
    finally:
        stop.cancel()
    assert not cancelled[0], "members wait for parts that nobody runs"
    np.testing.assert_array_equal(counts, np.resize(PARTS, PHASES))
    assert wrong[0] == 0
