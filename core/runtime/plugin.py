"""The provider API: three hooks, and the few types they exchange.

A provider is any object whose methods carry `hookimpl`, published as an entry point of
group ``runtime.ep`` whose name is the provider's name::

    [project.entry-points."runtime.ep"]
    NpuExecutionProvider = "acme_npu.provider:provider"

An optional second entry point of the same name in group ``runtime.ep_info`` points to a
`ProviderInfo` in a module that imports nothing heavy: listing, options and availability
are then known without loading the provider. Hooks may take fewer arguments than shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import pluggy

from runtime.abilities import Context
from runtime.graph import Graph, Node, Value
from runtime.settings import Settings

__all__ = [
    "HOST",
    "Claim",
    "Device",
    "Executable",
    "Option",
    "Partition",
    "Probe",
    "ProviderInfo",
    "ProviderSpec",
    "Refusal",
    "Unsupported",
    "hookimpl",
]

API_VERSION = (1, 0)
hookspec = pluggy.HookspecMarker("runtime")
hookimpl = pluggy.HookimplMarker("runtime")
"""Marks a method as one of the provider's hooks."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where a value lives, e.g. ``Device("cuda", 1)``."""

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}"


HOST = Device("cpu")
"""The machine's own memory; values there are NumPy arrays, lists, dicts or ``None``."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a provider: its type, default and meaning.

    ``type`` is ``bool``, ``int``, ``float``, ``str`` or a tuple of the admitted
    spellings. ``aliases`` maps old spellings of the value to the present one.
    ``check`` may raise ``ValueError`` for a value that has the type but cannot be.
    """

    type: type | tuple[str, ...]
    default: Any
    help: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Any], None] | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether a provider can run here: its devices, or the reason and the remedy."""

    devices: tuple[Device, ...] = ()
    reason: str = ""
    remedy: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether there is a device and nothing stands against using it."""
        return bool(self.devices) and not self.reason


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """What is known of a provider without importing its heavy part.

    ``api`` is the range of API versions it was written for, lowest and highest major and
    minor. ``probe`` is called at most once per process, takes at most 50 ms and leaves
    nothing behind that a fork would inherit. ``flops``, ``bandwidth`` (bytes per second
    to and from the host) and ``overhead`` (seconds per call) feed the cost rule; 0 means
    not declared, and without ``flops`` the rule leaves the provider alone.
    """

    name: str
    aliases: tuple[str, ...] = ()
    vendor: str = ""
    description: str = ""
    url: str = ""
    version: str = ""
    api: tuple[tuple[int, int], tuple[int, int]] = ((1, 0), (1, 999))
    options: Mapping[str, Option] = field(default_factory=dict)
    device_kinds: tuple[str, ...] = ("cpu",)
    install: str = ""
    probe: Callable[[], Probe] = lambda: Probe((HOST,))
    flops: float = 0.0
    bandwidth: float = 0.0
    overhead: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """Nodes a provider offers to run on one of its devices.

    A ``fused`` claim is taken whole or not at all and must be convex; the nodes of any
    other claim may be taken singly. ``body_host`` marks a node with bodies (If, Loop,
    Scan) whose bodies the core shall plan, on any mix of providers; the executable then
    receives them as callables. ``cost`` is the estimated seconds of one run, where the
    provider knows better than the core's rule.

    A device's provider that plans by shapes may read some values on the host:
    ``host_inputs``, which the core leaves or brings there. ``shapes`` says that it works
    out itself what nodes compute from shapes alone; others leave those to the host.
    """

    nodes: Sequence[Node]
    device: Device = HOST
    fused: bool = False
    body_host: bool = False
    cost: float | None = None
    host_inputs: frozenset[Value] = frozenset()
    shapes: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node the provider will not run, and why: ``"int4 is not supported"``."""

    node: Node
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """Nodes, in topological order, that one provider compiles into one executable.

    ``inputs`` are the values given at each run, in order; ``constants`` are initializers
    the nodes read, known now and never passed again. ``shape_only`` are inputs of which
    nothing but shape and element type is read, ``host_inputs`` those that are given as
    NumPy arrays, as a claim asked. ``bodies`` holds, for each node claimed
    with ``body_host`` and each graph attribute, a function ``(inputs, captured, context)
    -> outputs``, where ``captured`` are the values of ``node.captures`` in order.
    """

    provider: str
    device: Device
    graph: Graph
    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    constants: tuple[Value, ...] = ()
    shape_only: frozenset[Value] = frozenset()
    host_inputs: frozenset[Value] = frozenset()
    bodies: Mapping[tuple[Node, str], Callable[..., Any]] = field(default_factory=dict)


class Unsupported(Exception):
    """Raised to hand a partition to the next provider, with the reason.

    By ``compile``, or by a run for what only its shapes have shown. Where ``nodes`` are
    given, those alone are handed on, and the rest is compiled again without them.
    """

    def __init__(self, reason: str = "", nodes: Sequence[Node] = ()) -> None:
        super().__init__(reason)
        self.nodes = tuple(nodes)


@runtime_checkable
class Executable(Protocol):
    """The full form of what ``compile`` returns; a plain function of arrays also does.

    Optional abilities are the protocols of `runtime.abilities`, looked up once.
    """

    def run(
        self, inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> Sequence[Any]:
        """Run once.

        ``outputs[i]`` is a buffer to fill, of the right shape and element type, or
        ``None``: then the executable allocates, and neither keeps nor reuses what it
        returns. Returns every output in order, the filled buffers included. ``inputs``
        are never written. Must be safe to call from several threads at once unless the
        executable's ``concurrent`` is false.
        """


class ProviderSpec:
    """The hooks of an execution provider."""

    @hookspec
    def get_capability(
        self, graph: Graph, nodes: Sequence[Node], settings: Settings
    ) -> Iterable[Claim | Refusal]:
        """Offer to run some of ``nodes``, the part of ``graph`` still free.

        Called before anything is compiled, possibly several times; must be pure and
        deterministic. A node not mentioned counts as refused without a reason.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def compile(
        self, partition: Partition, settings: Settings
    ) -> Executable | Callable[..., Any]:
        """Turn a partition into an executable.

        Raises `Unsupported` with the reason to hand it to the next provider; any other
        exception does the same and is reported as a failure of this provider.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def data_transfer(
        self, source: Device, target: Device
    ) -> Callable[[Any], Any] | None:
        """Return a function that copies one value from one device to another, or ``None``.

        The full form is an object with the methods of `runtime.abilities.Transfer`. Where
        both are one device, its ``copy`` fills memory that a caller has bound.
        """
