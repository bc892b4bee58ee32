"""Runs a model by native code and by NumPy's kernels, and says where they differ."""

from __future__ import annotations

import numpy as np
import pytest
import runtime as ort
from runtime_ep_cpu.codegen.target import runnable
from runtime_ep_cpu.native.program import Program

CPU = "CPUExecutionProvider"
SMALLEST = {"float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
"""Differences allowed, as a part of the largest magnitude of a result."""


def opened(
    model, target="auto", native="required", threads=0, winograd="auto",
    strassen="auto", **entries,
):  # fmt: skip
    """Return a session; but for threads, what has a name is the provider's option.

    A test of a target that the processor lacks is skipped.
    """
    if target != "auto" and target not in runnable():
        pytest.skip(f"the processor runs no code for {target}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    for key, value in entries.items():
        setattr(options, key, value)
    data = model if isinstance(model, bytes) else model.SerializeToString()
    choice = {
        "native": native, "target": target, "winograd": winograd, "strassen": strassen
    }  # fmt: skip
    return ort.InferenceSession(data, options, providers=[(CPU, choice)])


def programs(session):
    """Return the native programs of a session's main graph."""
    steps = session._runnable.plan().steps
    placed = [step.placed for step in steps if step.placed is not None]
    found = [item.executable for item in placed]
    return [item for item in found if isinstance(item, Program)]


def roles(session):
    """Return who computes each operator: its name and role, in order."""
    found = []
    for program in programs(session):
        inside = {n for s in program.stages for n in s.extent.nodes}
        known = {n for s in program.stages for n in s.extent.known}
        for node in program.nodes:
            role = "native" if node in inside else "known" if node in known else "host"
            found.append((node.op_type, role))
    return found


def groups(session):
    """Return the labels of the groups of a session, stage by stage."""
    stages = [stage for program in programs(session) for stage in program.stages]
    return [group.label for stage in stages for group in stage.groups]


def kernels(session):
    """Return the families of the kernels that the latest runs called, level by level."""
    found = []
    for program in programs(session):
        for stage in program.stages:
            known = stage._engine.library._addresses.items()
            names = {address: spec.family for spec, address in known}
            found += [names[step.address] for step in stage._latest[1].steps]
    return found


def same(got, want, tolerance=None, least=1e-30):
    """Assert that results are alike: exactly, or within a part of the largest.

    ``least`` is the size of numbers they were made from, where those cancelled out.
    """
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    if got.dtype.name not in SMALLEST:
        np.testing.assert_array_equal(got, want)
        return
    tolerance = SMALLEST[got.dtype.name] if tolerance is None else tolerance
    got, want = got.astype(np.float64), want.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    whole = np.isfinite(want)
    np.testing.assert_array_equal(got[~whole], want[~whole])
    largest = np.abs(want[whole]).max(initial=0.0)
    worst = np.abs(got[whole] - want[whole]).max(initial=0.0)
    assert worst <= tolerance * max(largest, least), f"{worst} of {largest}"


def checked(
    model,
    *feeds,
    target="auto",
    tolerance=None,
    least=1e-30,
    threads=0,
    moves=False,
    **entries,
):
    """Run feeds both ways; native code takes every run, or none if it ``moves``.

    With ``moves=None`` either will do. Returns the session with native code.
    """
    fast = opened(model, target, threads=threads, **entries)
    plain = opened(model, native="off", **entries)
    assert programs(fast), f"nothing is native: {fast.explain()}"
    for feed in feeds:
        before = [program.moved for program in programs(fast)]
        got = fast.run(None, feed)
        want = plain.run(None, feed)
        after = [program.moved for program in programs(fast)]
        reasons = [stage.refused for p in programs(fast) for stage in p.stages]
        if moves is not None:
            assert (after != before) is moves, f"NumPy takes the run: {reasons}"
        for one, other in zip(got, want, strict=True):
            same(one, other, tolerance, least)
    return fast
