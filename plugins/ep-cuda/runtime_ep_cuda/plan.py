"""A plan: what a partition does for given shapes, in one arena, ready to be replayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from runtime.graph import Value

from runtime_ep_cuda.actions import Action, Chosen, Tail
from runtime_ep_cuda.arena import aligned, lay_out
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.driver import Driver, Function, Recording, Stream
from runtime_ep_cuda.memory import Pool
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.tensor import Tensor
from runtime_ep_cuda.weights import Weights

Addresses = tuple[int, ...]

MOST_RECORDINGS = 4
"""Sets of callers' addresses for which a plan is recorded."""

MOST_MISSES = 16
"""Runs at addresses that were not recorded, after which a plan has memory of its own."""


@dataclass(eq=False)
class Plan:
    """Actions over buffers that have their places, but for inputs and outputs.

    ``arena`` is the bytes of everything in between, ``workspace`` those of the libraries'
    scratch memory behind it.
    """

    actions: list[Action]
    constants: Weights
    inputs: dict[Value, Tensor]
    outputs: dict[Value, Tensor]
    offsets: Mapping[Any, int]
    arena: int
    workspace: int
    recordings: dict[Addresses, Recording] = field(default_factory=dict)
    seen: dict[Addresses, int] = field(default_factory=dict)
    bound: Addresses = ()
    base: int = 0
    home: int = 0
    misses: int = 0
    temporaries: Pool | None = None
    """Memory in which the array namespace works."""
    is_static: bool = field(init=False)
    """Whether everything can be recorded: nothing is left to the array namespace."""

    def __post_init__(self) -> None:
        tails = (isinstance(action.work, Tail) for action in self.actions)
        self.is_static = not any(tails)

    @classmethod
    def of(cls, planner: Planner, outputs: Sequence[Value]) -> Plan:
        """Lay out what a planner has collected."""
        touched = [action.buffers for action in planner.actions]
        offsets, size = lay_out(touched)
        scratch = max(
            (a.work.candidate.workspace for a in planner.actions if _is_chosen(a)),  # type: ignore[union-attr]
            default=0,
        )
        return cls(
            planner.actions,
            planner.constants,
            planner.inputs,
            {value: planner.outputs[value] for value in outputs},
            offsets,
            aligned(size),
            aligned(scratch),
        )

    @property
    def size(self) -> int:
        """Bytes of working memory."""
        return self.arena + self.workspace

    def place(self, base: int) -> None:
        """Put the working memory at an address."""
        if base == self.base:
            return
        self.forget()
        self.base = base
        for buffer, offset in self.offsets.items():
            buffer.address = base + offset

    def bind(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Say where inputs and outputs lie in the coming run."""
        for tensor, address in zip(self.inputs.values(), inputs, strict=True):
            tensor.buffer.address = address
        for tensor, address in zip(self.outputs.values(), outputs, strict=True):
            tensor.buffer.address = address
        self.bound = (*inputs, *outputs)

    def sees(self, addresses: Addresses) -> bool:
        """Note addresses of a run; tell whether it is time to record them.

        That is when they come for the second time, and a few have not been recorded;
        those of the plan's own memory are recorded besides.
        """
        inside, outside = self.at_home()
        own = bool(self.home) and addresses == (*inside, *outside)
        self.misses += not own
        self.seen[addresses] = self.seen.get(addresses, 0) + 1
        room = len(self.recordings) < MOST_RECORDINGS
        return self.seen[addresses] > 1 and (own or room)

    @property
    def is_restless(self) -> bool:
        """Whether callers' memory lies elsewhere in nearly every run."""
        return self.misses >= MOST_MISSES

    @property
    def home_size(self) -> int:
        """Bytes of memory for inputs and outputs of the plan's own."""
        both = (*self.inputs.values(), *self.outputs.values())
        return sum(aligned(tensor.nbytes) for tensor in both)

    def at_home(self) -> tuple[list[int], list[int]]:
        """Return where inputs and outputs lie in the plan's own memory."""
        places, offset = [], self.home
        for tensor in (*self.inputs.values(), *self.outputs.values()):
            places.append(offset)
            offset += aligned(tensor.nbytes)
        return places[: len(self.inputs)], places[len(self.inputs) :]

    def issue(
        self, driver: Driver, functions: Mapping[str, Function], stream: Stream
    ) -> None:
        """Begin every action, in order."""
        for action in self.actions:
            self.begin(driver, functions, action, stream)

    def begin(
        self,
        driver: Driver,
        functions: Mapping[str, Function],
        action: Action,
        stream: Stream,
    ) -> None:
        """Begin one action."""
        match action.work:
            case Launch() as launch:
                arguments = [
                    a.address if isinstance(a, Tensor) else a for a in launch.arguments
                ]
                function = functions[launch.kernel.name]
                driver.launch(
                    function,
                    launch.grid,
                    launch.block,
                    launch.shared,
                    arguments,
                    stream,
                )
            case Chosen() as chosen:
                pointers = [tensor.address for tensor in chosen.tensors]
                chosen.candidate.run(pointers, self.base + self.arena, stream)
            case Tail() as tail:
                _run_tail(driver, tail, stream, self.temporaries)

    def forget(self) -> None:
        """Drop recordings: what they point at has moved."""
        for recording in self.recordings.values():
            recording.close()
        self.recordings.clear()
        self.seen.clear()
        self.misses = 0


def _is_chosen(action: Action) -> bool:
    return isinstance(action.work, Chosen)


def _run_tail(driver: Driver, tail: Tail, stream: Stream, memory: Pool | None) -> None:
    """Run an operator by its array kernel, and copy the results where they belong."""
    with driver.using(stream, memory):
        arrays = [
            _seen(driver, each) if isinstance(each, Tensor) else each
            for each in tail.inputs
        ]
        made = tail.run(*arrays)
        results = made if type(made) is tuple else (made,)
        for tensor, result in zip(tail.results, results, strict=False):
            if tensor is not None:
                _seen(driver, tensor)[...] = result


def _seen(driver: Driver, tensor: Tensor) -> Any:
    """Return a tensor as an array of the driver's namespace, strides and all."""
    if tensor.is_dense():
        return driver.view(tensor.address, tensor.shape, tensor.dtype)
    low, high = _extent(tensor)
    flat = driver.view(
        tensor.address + low * tensor.dtype.itemsize, (high - low + 1,), tensor.dtype
    )
    steps = tuple(step * tensor.dtype.itemsize for step in tensor.strides)
    stride_tricks = driver.xp.lib.stride_tricks
    if low == 0:
        return stride_tricks.as_strided(flat, tensor.shape, steps)
    return stride_tricks.as_strided(flat[-low:], tensor.shape, steps)


def _extent(tensor: Tensor) -> tuple[int, int]:
    """Return the lowest and highest element a view reaches, from its first one."""
    steps = np.array(tensor.strides, np.int64) * (np.array(tensor.shape) - 1)
    return int(steps[steps < 0].sum()), int(steps[steps > 0].sum())
