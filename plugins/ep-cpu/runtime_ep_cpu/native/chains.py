"""Finds convolutions that may run strip by strip, and decides which do for given shapes."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from math import prod

from runtime.graph import Value

from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.sequence import SPEC
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.planner import Planner, Step
from runtime_ep_cpu.native.steps.convolution import SlidingStep
from runtime_ep_cpu.native.strips import CACHE, Link, Strips

_MOST = 3
"""Convolutions that one strip goes through."""
_NEAR, _FAR = 1.3, 6.5
"""What writing and reading a byte costs beyond the second cache and beyond the third, in
multiplications."""
_WORTH = 1 / 16
"""Which part of the multiplications must be saved: fewer chunks are shared less evenly."""
_LAST_CACHE = 8 << 20
"""Bytes of an image that stay in the third cache, which others use too."""


class ChainStep:
    """Convolutions of which each alone reads what the one before makes."""

    specs: Sequence[Spec] = (SPEC,)

    def __init__(self, members: Sequence[SlidingStep]) -> None:
        self._members = members

    def plan(self, planner: Planner) -> None:
        """Plan some of them strip by strip, and each of the others by itself."""
        for links in self._divided(planner):
            strips = Strips.of(links) if len(links) > 1 else None
            if strips is None:
                planner.group = links[0].step.group
                links[0].step.plan(planner)
            else:
                strips.plan(planner)

    def _divided(self, planner: Planner) -> list[Sequence[Link]]:
        """Return the members in runs; those that save most are strips."""
        links = self._links(planner)
        best: list[tuple[float, list[Sequence[Link]]]] = [(0.0, [])]
        for end in range(1, len(links) + 1):
            choices = []
            for start in range(max(0, end - _MOST), end):
                run = links[start:end]
                saved = _saved(run)
                if saved >= 0:
                    before, runs = best[start]
                    choices.append((before + saved, [*runs, run]))
            best.append(max(choices, key=lambda choice: choice[0]))
        return best[-1][1]

    def _links(self, planner: Planner) -> list[Link]:
        shape = planner.layout(self._members[0].source).shape
        found = []
        for step in self._members:
            made, margins = step.extent(shape)
            found.append(Link(step, shape, margins, made))
            shape = made
        return found


def _saved(links: Sequence[Link]) -> float:
    """Return how many multiplications' time strips save; less than 0 forbids them."""
    costs = [_cost(4 * prod(link.source)) for link in links[1:]]
    if not costs:
        return 0.0
    strips = Strips.of(links) if all(costs) else None
    if strips is None:
        return -1.0
    work = sum(
        prod(link.shape) // link.step.count * link.step.weights for link in links
    )
    saved = sum(costs) - strips.repeated
    return saved if saved > _WORTH * work else -1.0


def _cost(size: int) -> float:
    """Return what an image of so many bytes costs where it leaves the second cache."""
    if size > _LAST_CACHE:
        return _FAR * size
    return _NEAR * max(0, size - CACHE)


def chained(
    groups: Sequence[Group],
    steps: Sequence[Step],
    apart: Container[Value],
) -> list[tuple[Group, Step]]:
    """Return groups and steps in the order to plan them, with chains at their last place.

    Values ``apart`` are made as a whole: others than native steps read them, or they are a
    part of another image.
    """
    fit = [s for s in steps if isinstance(s, SlidingStep) and _is_fit(s)]
    makers = {step.epilogue.result: step for step in fit}
    before: dict[Step, SlidingStep] = {}
    for reader in fit:
        maker = makers.get(reader.source)
        if maker is not None and reader.source not in apart and _alone(maker, reader):
            before[reader] = maker
    inner = set(before.values())
    found: list[tuple[Group, Step]] = []
    for group, step in zip(groups, steps, strict=True):
        if step not in inner:
            members = _chain(step, before)
            found.append((group, ChainStep(members) if members else step))
    return found


def _chain(last: Step, before: Mapping[Step, SlidingStep]) -> list[SlidingStep]:
    """Return the chain that ends with a step, or nothing where there is none."""
    members: list[SlidingStep] = []
    step = last
    while isinstance(step, SlidingStep):
        members.insert(0, step)
        if step not in before:
            break
        step = before[step]
    return members if len(members) > 1 else []


def _is_fit(step: SlidingStep) -> bool:
    """Whether a convolution has rows to be divided, none of them of padding alone."""
    windows = step.windows
    margins = windows.margins(None)
    return (
        len(windows.kernel) > 1
        and step.epilogue.element == "float"
        and (margins is None or max(margins[0]) < windows.reach[0])
    )


def _alone(maker: SlidingStep, reader: SlidingStep) -> bool:
    """Whether a convolution's result is read by another one, once, and by nobody else."""
    value = reader.source
    inside = set(reader.group.nodes)
    return (
        maker.group.results == [value]
        and all(user in inside for user in value.users)
        and value not in reader.epilogue.operands
    )
