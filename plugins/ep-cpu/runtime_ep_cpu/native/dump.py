"""Writes what became of a partition into files: its groups, LLVM's text, assembly.

``RUNTIME_DUMP=groups,ir,asm`` asks for it, ``RUNTIME_DUMP_DIR`` names the folder. Files are
numbered by partition, from 1 in each process: ``cpu-1.groups``, ``cpu-1.ll``, ``cpu-1.s``.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from runtime.explain import Event, warn_once
from runtime.graph import Node

from runtime_ep_cpu.codegen.library import USUAL, Spec, written
from runtime_ep_cpu.codegen.machine import assembly
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.info import info
from runtime_ep_cpu.native.program import Program
from runtime_ep_cpu.native.stage import Stage

_numbers = itertools.count(1)


def dump(program: Program, target: Target) -> list[Path]:
    """Write what ``RUNTIME_DUMP`` asks for and return the files, none if it is not set.

    A name that is none of `WINDOWS`, or a folder that cannot be written, costs a warning.
    """
    wanted = os.environ.get("RUNTIME_DUMP", "").replace(",", " ").split()
    if not wanted:
        return []
    stem = f"cpu-{next(_numbers)}"
    folder = Path(os.environ.get("RUNTIME_DUMP_DIR") or ".")
    made = []
    for name in wanted:
        if name not in WINDOWS:
            reason = f"RUNTIME_DUMP knows no {name!r}"
            _warn(reason, f"it knows {', '.join(WINDOWS)}")
            continue
        suffix, write = WINDOWS[name]
        path = folder / f"{stem}.{suffix}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(write(program, target), encoding="utf-8")
        except OSError as error:
            _warn(f"RUNTIME_DUMP cannot write {path} ({error.strerror})", _REMEDY)
            continue
        made.append(path)
    return made


_REMEDY = "set RUNTIME_DUMP_DIR to a folder that can be written"


def _warn(reason: str, remedy: str) -> None:
    warn_once(Event(info.name, "compile", reason, remedy))


def _groups(program: Program, target: Target) -> str:
    """Return the groups of each stage, with the kernels made for them."""
    facts = ", ".join(f"{name} {value}" for name, value in program.facts.items())
    lines = [facts]
    inside: set[Node] = set()
    for number, stage in enumerate(program.stages, 1):
        inside.update(stage.extent.nodes, stage.extent.known)
        lines += ["", *_stage(number, stage)]
    if host := [node for node in program.nodes if node not in inside]:
        lines += ["", f"NumPy's kernels: {_names(host)}"]
    return "\n".join(lines) + "\n"


def _stage(number: int, stage: Stage) -> Iterator[str]:
    extent = stage.extent
    inputs = ", ".join(value.name for value in extent.inputs)
    outputs = ", ".join(value.name for value in extent.outputs)
    yield f"stage {number}: {inputs} -> {outputs}"
    if extent.known:
        yield f"  known when planned: {_names(extent.known)}"
    for group, step in zip(stage.groups, stage.steps, strict=True):
        results = ", ".join(value.name for value in group.results)
        yield f"  {group.kind}: {_names(group.nodes)} -> {results}"
        if own := {spec.symbol for spec in step.specs if spec.family not in USUAL}:
            yield f"    {' '.join(sorted(own))}"


def _names(nodes: list[Node] | tuple[Node, ...]) -> str:
    return " ".join(node.label for node in nodes)


def _specs(program: Program) -> list[Spec]:
    found = {spec for stage in program.stages for spec in stage.specs}
    return sorted(found, key=lambda spec: spec.symbol)


def _ir(program: Program, target: Target) -> str:
    """Return LLVM's text of every kernel, as it was generated."""
    return written(_specs(program), target)


def _asm(program: Program, target: Target) -> str:
    """Return the assembly of every kernel, as it runs."""
    return assembly(_ir(program, target), target)


WINDOWS: dict[str, tuple[str, Callable[[Program, Target], str]]] = {
    "groups": ("groups", _groups),
    "ir": ("ll", _ir),
    "asm": ("s", _asm),
}
"""What can be looked at: the file's ending and what writes it."""
