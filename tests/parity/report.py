"""Puts names, probes and rows together: what each name of onnxruntime comes to here.

usage: python tests/parity/report.py    prints the names whose row is not true
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import of_modules
import of_sessions
import of_values
from better import ITEMS
from names import names
from outcomes import Outcome, Probe, outcome, plain
from rows import OTHERWISE, judge

PROBES: dict[str, Probe] = of_sessions.PROBES | of_values.PROBES | of_modules.PROBES


def probe_of(name: str, theirs: Any) -> Probe | None:
    """Return the probe of a name; ``None`` where none was written."""
    return PROBES.get(name) or of_modules.generic(name, theirs)


def fault(name: str, ours: Outcome, theirs: Outcome) -> str:
    """Return why a name's row is not true of what both did; ``""`` where it is."""
    kind = judge(name).kind
    if kind == "refused":
        told = ours.error == "NotImplemented" and "is not offered" in ours.text
        return "" if told else "it is not refused with its reason"
    if name in OTHERWISE:
        return "it does the same" if ours.same_as(theirs) else ""
    if kind == "accepted" and ours.error:
        return "it is not accepted"
    return "" if ours.same_as(theirs) else "it does something else"


def faults() -> list[str]:
    """Return every row that is not true, with what both runtimes did."""
    import onnxruntime
    import runtime

    found = []
    for name in names():
        probe = probe_of(name, onnxruntime)
        if probe is None:
            found.append(f"{name}: it has no probe")
            continue
        ours, theirs = outcome(probe, runtime), outcome(probe, onnxruntime)
        told = fault(name, ours, theirs)
        if told:
            found.append(f"{name}: {told}\n  ours   {ours}\n  theirs {theirs}")
    return found


def unimproved() -> list[str]:
    """Return what is said to be better and is not: it fails here or passes there."""
    import onnxruntime
    import runtime

    found = []
    for item in ITEMS:
        wanted = plain(item.wanted)
        ours = outcome(item.probe, runtime)
        theirs = outcome(item.probe, onnxruntime)
        if ours.error or ours.value != wanted:
            found.append(f"{item.name}: {item.what}: fails here: {ours}")
        if not theirs.error and theirs.value == wanted:
            found.append(f"{item.name}: {item.what}: onnxruntime does it too: {theirs}")
    return found


if __name__ == "__main__":
    print("\n".join([*faults(), *unimproved()]) or "every row is true")
