"""Models of the zoo at full size, planned in every precision: what came of it, in numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from unittest import mock

from on_the_double import opened, programs, registered
from runtime_ep_cuda import devices
from runtime_ep_cuda.actions import Chosen, Tail
from runtime_ep_cuda.codegen import movement
from runtime_ep_cuda.codegen.kernel import Kernel, Launch
from runtime_ep_cuda.operations import Operation
from runtime_ep_cuda.weights import Weights
from zoo.planning import PlanningDriver

from benchmarks.zoo import ZOO, Entry

TURING, HOPPER = (7, 5), (9, 0)
"""Plans differ between these two; all that is newer than 8.0 has the latter's."""

PRECISIONS = {TURING: ("fp32", "fp16"), HOPPER: ("fp32", "tf32", "fp16", "bf16")}
"""Libraries have neither TF32 nor bfloat16 before 8.0."""

BATCHES = (1, 8)


@dataclass(frozen=True, slots=True)
class Numbers:
    """What was planned for one combination of shapes, all partitions together.

    ``copies`` are launches that only move elements to another place, or convert them.
    ``seconds`` are of the processor, ``forming`` those of them in which weights got the
    types and orders that plans read.
    """

    model: str
    precision: str
    dims: str
    partitions: int
    launches: int
    calls: int
    tails: int
    copies: int
    arena: int
    weights: int
    seconds: float
    forming: float

    @property
    def actions(self) -> int:
        """All that a run begins."""
        return self.launches + self.calls + self.tails

    @property
    def planning(self) -> float:
        """Seconds of planning alone."""
        return self.seconds - self.forming


@dataclass(slots=True)
class Planned:
    """All plans of some models for one capability."""

    numbers: list[Numbers] = field(default_factory=list)
    kernels: dict[str, Kernel] = field(default_factory=dict)
    operations: dict[Operation, str] = field(default_factory=dict)
    """With the model that asked for it first."""


@cache
def planned(name: str, capability: tuple[int, int] = HOPPER) -> Planned:
    """Return the plans of a model in every precision, for every case of its dims."""
    found = Planned()
    entry = ZOO[name]
    source = entry.build("full").SerializeToString()
    for precision in PRECISIONS[capability]:
        driver = PlanningDriver(0, capability)
        with devices.replaced(lambda index, made=driver: made), registered():
            session = opened(source, precision=precision, enable_cuda_graph=False)
            for dims in cases(entry):
                feed = entry.feeds("full", **dims)
                found.numbers.append(_numbers(name, precision, dims, session, feed))
        for kernel in driver.kernels.values():
            assert found.kernels.setdefault(kernel.name, kernel) == kernel
        found.operations |= dict.fromkeys(driver.operations, name)
    return found


def all_planned(capability: tuple[int, int]) -> Planned:
    """Return the plans of the whole zoo; one kernel's name is one text in all of it."""
    found = Planned()
    for name in ZOO:
        model = planned(name, capability)
        found.numbers += model.numbers
        for kernel in model.kernels.values():
            assert found.kernels.setdefault(kernel.name, kernel) == kernel
        found.operations = model.operations | found.operations
    return found


def cases(entry: Entry) -> list[dict[str, int]]:
    """Return the lengths that benchmarks have, each in batches of one and of eight."""
    found = [
        {**dims, "batch": batch} for dims in entry.cases("full") for batch in BATCHES
    ]
    return list({tuple(dims.items()): dims for dims in found}.values())


def _numbers(
    name: str, precision: str, dims: dict[str, int], session: Any, feed: Any
) -> Numbers:
    """Plan by a first run; what a second one takes is not planning."""
    with _forming() as formed:
        first = _seconds(session, feed)
    again = _seconds(session, feed)
    held = [(each, list(each._plans.values())[-1]) for each in programs(session)]
    assert held, f"{name} in {precision} is left to the host"
    works = [action.work for _, plan in held for action in plan.actions]
    return Numbers(
        name,
        precision,
        "·".join(map(str, dims.values())),
        len(held),
        sum(isinstance(work, Launch) for work in works),
        sum(isinstance(work, Chosen) for work in works),
        sum(isinstance(work, Tail) for work in works),
        sum(isinstance(work, Launch) and is_copy(work) for work in works),
        sum(plan.arena for _, plan in held),
        sum(program.memory()["weights"] for program, _ in held),
        max(first - again, 0.0),
        formed[0],
    )


def _seconds(session: Any, feed: Any) -> float:
    began = time.thread_time()
    session.run(None, feed)
    return time.thread_time() - began


@contextmanager
def _forming() -> Iterator[list[float]]:
    """Count the seconds in which weights are brought into forms."""
    spent, inner = [0.0], Weights.get

    def get(*arguments: Any, **options: Any) -> Any:
        began = time.thread_time()
        try:
            return inner(*arguments, **options)
        finally:
            spent[0] += time.thread_time() - began

    with mock.patch.object(Weights, "get", get):
        yield spent


def is_copy(launch: Launch) -> bool:
    """Whether a launch is what `movement.copy` makes of its tensors."""
    if len(launch.tensors) != 2 or launch.tensors[0].shape != launch.tensors[1].shape:
        return False
    (copy,) = movement.copy(*launch.tensors) or [None]
    return copy is not None and copy.kernel.name == launch.kernel.name


def table(numbers: list[Numbers]) -> str:
    """Return the numbers as lines of Markdown."""
    head = (
        "model", "precision", "dims", "launches", "calls", "tails", "copies",
        "arena MB", "weights MB", "planning s", "forming s",
    )  # fmt: skip
    lines = [head, tuple("---" for _ in head)]
    lines += [
        (
            each.model, each.precision, each.dims, each.launches, each.calls, each.tails,
            each.copies, f"{each.arena / 1e6:.1f}", f"{each.weights / 1e6:.1f}",
            f"{each.planning:.2f}", f"{each.forming:.2f}",
        )
        for each in numbers
    ]  # fmt: skip
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
