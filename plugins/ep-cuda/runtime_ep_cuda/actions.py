"""What a plan is made of: actions over tensors, and what all plans of a program share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from runtime.graph import Node, Value
from runtime.plugin import Unsupported

from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.driver import Candidate, Properties
from runtime_ep_cuda.dtypes import Dtype
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.operations import Call, Operation
from runtime_ep_cuda.tensor import Buffer, Tensor
from runtime_ep_cuda.weights import Weights

Array = np.ndarray[Any, Any]


class Unplannable(Exception):
    """These shapes cannot be planned; says why."""


@contextmanager
def handing_on(nodes: Node | Sequence[Node]) -> Iterator[None]:
    """Have nodes that cannot be planned go to the next provider, with the reason."""
    try:
        yield
    except Unplannable as error:
        told = [nodes] if isinstance(nodes, Node) else nodes
        raise Unsupported(str(error), told) from error


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """Work of an operator without a kernel of its own, done by the array namespace.

    ``run`` takes arrays of the driver's `xp` and returns as many as there are results.
    """

    run: Callable[..., Any]
    inputs: tuple[Tensor | Array | None, ...]
    results: tuple[Tensor | None, ...]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What lies on the device."""
        both = (*self.inputs, *self.results)
        return tuple(t for t in both if isinstance(t, Tensor))


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """A library's work with the way it shall be done."""

    call: Call
    candidate: Candidate

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What is read, and the result last."""
        return (*self.call.tensors, self.call.result)


@dataclass(frozen=True, slots=True, eq=False)
class Action:
    """One thing a plan does, and the group it does it for."""

    work: Launch | Chosen | Tail
    group: Group | None

    @property
    def buffers(self) -> list[Buffer]:
        """The buffers it touches."""
        return [tensor.buffer for tensor in self.work.tensors]


class Chooser(Protocol):
    """What finds the way in which a library does an operation."""

    def choose(self, operation: Operation) -> Candidate | None:
        """Return it, or ``None`` where no library can."""

    def may(self, operation: Operation) -> bool:
        """Whether it is worth asking: nothing is built."""


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What all plans of an executable share.

    ``storage`` tells in which type a value is kept where that is not its own;
    ``outputs`` are the partition's results. ``settled`` are the nodes whose results
    follow from shapes and constants, with the host's kernels that work them out while
    planning; ``operands`` are what each result of an element-wise node is made of.
    """

    weights: Weights
    chooser: Chooser
    properties: Properties
    storage: Mapping[Value, Dtype]
    outputs: tuple[Value, ...]
    settled: Mapping[Node, Callable[..., Any]]
    operands: Mapping[Value, Sequence[Value]]
    tf32: bool = False
    deterministic: bool = False
    channels_last: bool = True
