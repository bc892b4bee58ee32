"""The provider under test: how the kit names it, opens models on it and watches it."""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from runtime.abilities import Context
from runtime.api.call import bound_call
from runtime.build import Runnable, build
from runtime.calling import Placed
from runtime.errors import FallbackWarning, near
from runtime.explain import NodeRecord, Placement
from runtime.graph import Graph
from runtime.plugin import HOST, Device, ProviderInfo
from runtime.providers import HOST_ALIAS, Installed, Request, registry, resolve
from runtime.settings import Settings


class NotUsable(Exception):
    """The provider under test is not there, or cannot run here; says why."""


def find(spec: str) -> Installed:
    """Return a provider by name, alias, or ``module:attribute`` of a provider object.

    Raises `NotUsable` with the near match, or the reason and the remedy.
    """
    if ":" in spec:
        spec = _register(spec)
    entry = resolve(spec)
    if entry is None:
        names = [name for e in registry.all().values() for name in _names(e)]
        raise NotUsable(
            f"there is no execution provider {spec!r}{near(spec, names)}; installed: "
            f"{', '.join(registry.all())}"
        )
    return entry


def _register(spec: str) -> str:
    module, _, name = spec.partition(":")
    try:
        provider = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise NotUsable(f"{spec}: {error}") from error
    info = getattr(provider, "info", None)
    named = info.name if isinstance(info, ProviderInfo) else type(provider).__name__
    known = registry.all().get(named)
    if known is None or known.object is not provider:
        registry.register(provider, info, named)
    return str(named)


def _names(entry: Installed) -> tuple[str, ...]:
    return (entry.name, *entry.info.aliases)


@dataclass(frozen=True, eq=False)
class Subject:
    """The providers asked for, in fallback order; the first is under test.

    The host's provider comes last, as in any session. ``options`` are the first one's.
    """

    specs: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @functools.cached_property
    def entries(self) -> tuple[Installed, ...]:
        """The providers; raises `NotUsable` for one that is not there."""
        found = [find(spec) for spec in (*self.specs, HOST_ALIAS)]
        return tuple({entry.name: entry for entry in found}.values())

    @property
    def entry(self) -> Installed:
        """The provider under test."""
        return self.entries[0]

    @property
    def name(self) -> str:
        """The name of the provider under test."""
        return self.entry.name

    @property
    def info(self) -> ProviderInfo:
        """What the provider under test says of itself."""
        return self.entry.info

    @property
    def order(self) -> list[str]:
        """Every provider's name, in fallback order."""
        return [entry.name for entry in self.entries]

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices of the provider under test that are not the host's memory."""
        return tuple(d for d in self.entry.probe().devices if d.kind != HOST.kind)

    def check(self) -> None:
        """Raise `NotUsable` where the provider under test cannot run here."""
        probe = self.entry.probe()
        if not probe.usable:
            remedy = f"; {probe.remedy}" if probe.remedy else ""
            reason = probe.reason or "its probe found no device"
            raise NotUsable(f"{self.name} is not usable here: {reason}{remedy}")

    def requests(self) -> list[Request]:
        """Return the providers as a session is asked for them."""
        first, *others = self.order
        return [Request(first, self.options), *map(Request, others)]

    def open(
        self,
        model: bytes | str,
        before: Sequence[str] = (),
        dry: bool = False,
        **settings: Any,
    ) -> Opened:
        """Divide and compile a model; ``before`` are providers asked first.

        The cost rule is off: what is claimed is run, however small.
        """
        requests = [*map(Request, before), *self.requests()]
        return self._open(model, requests, dry, settings)

    def alone(self, model: bytes | str, **settings: Any) -> Opened:
        """Open a model on the host's provider and nothing else."""
        return self._open(model, [Request(self.order[-1])], False, settings)

    def _open(
        self,
        model: bytes | str,
        requests: list[Request],
        dry: bool,
        settings: dict[str, Any],
    ) -> Opened:
        wanted = replace(Settings(cost_rule=False), **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FallbackWarning)
            return Opened(build(model, requests, wanted, dry=dry), self.name)


class Opened:
    """A model made ready, seen from the provider under test."""

    def __init__(self, runnable: Runnable, name: str) -> None:
        self.runnable = runnable
        self.name = name
        self._call = bound_call(runnable)

    def __call__(self, feed: Mapping[str, Any]) -> list[Any]:
        """Run once, as a session would, and return every output."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FallbackWarning)
            return self._call(None, feed)

    @property
    def call(self) -> Any:
        """The bare call, for many threads: ``call(None, feed)``."""
        return self._call

    @property
    def placement(self) -> Placement:
        """What ran where."""
        return self.runnable.placement

    @property
    def nodes(self) -> list[NodeRecord]:
        """Every node, those of bodies included."""
        return self.placement.nodes

    @property
    def owned(self) -> list[NodeRecord]:
        """The nodes of the provider under test."""
        return [node for node in self.nodes if node.provider == self.name]

    @property
    def placed(self) -> list[Placed]:
        """The partitions of the provider under test, with their executables."""
        sections = self.runnable.section.sections()
        placed = [item for section in sections for item in section.placed]
        return [item for item in placed if item.partition.provider == self.name]

    @property
    def graphs(self) -> Iterator[Graph]:
        """The graph and its bodies, as they are executed."""
        return self.runnable.graph.all_graphs()

    @property
    def faults(self) -> list[str]:
        """What went wrong with the provider under test; refusals are no faults."""
        told = [e for e in self.placement.events if e.provider == self.name]
        return [str(e) for e in told if e.fault and e.stage != "placement"]

    @property
    def refusals(self) -> list[str]:
        """What the provider under test refused and why, each once."""
        events = [e for e in self.placement.events if e.provider == self.name]
        told = [
            f"{node.op_type}: {node.refusals[self.name]}"
            for node in self.nodes
            if self.name in node.refusals
        ]
        told += [str(e) for e in events if not e.fault]
        return list(dict.fromkeys(told))

    def claims(self) -> list[Any]:
        """Ask the provider under test once more, for the main graph; return the answers."""
        providers = self.runnable.providers
        groups = providers.call(
            "get_capability",
            self.name,
            graph=self.runnable.graph,
            nodes=tuple(self.runnable.graph),
            settings=providers.settings(self.name),
        )
        return [answer for group in groups for answer in group or ()]

    def up(self, value: Any, device: Device) -> Any:
        """Copy a host value to a device."""
        return self.runnable.providers.transfer(HOST, device)(value)

    def down(self, value: Any, device: Device) -> Any:
        """Copy a device's value to the host."""
        return self.runnable.providers.transfer(device, HOST)(value)


def run_alone(opened: Opened, item: Placed, inputs: Sequence[Any]) -> list[Any]:
    """Run one executable by itself on host arrays, and return host arrays."""
    device = item.partition.device
    given = [opened.up(value, device) for value in inputs]
    nothing = (None,) * len(item.partition.outputs)
    return [opened.down(v, device) for v in item.run(given, nothing, Context())]
