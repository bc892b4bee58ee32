"""What ran where and why: the record every stage writes to and `explain()` shows."""

from __future__ import annotations

import json
import logging
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from runtime.errors import FallbackWarning, ProviderUnavailable
from runtime.graph import Graph, Node, Value
from runtime.locks import ProcessLock
from runtime.valuetypes import describe

logger = logging.getLogger("runtime")
logger.addHandler(logging.NullHandler())

_warned: set[tuple[str, str]] = set()
_lock = ProcessLock()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that did not go as asked: which provider, at which stage, and why.

    ``stage`` is one of ``import``, ``probe``, ``get_capability``, ``compile``,
    ``data_transfer``, ``run``, ``ability``, ``hang``, ``cost``, ``placement`` or
    ``request``. ``fault`` tells what broke from what was declined with a reason.
    """

    provider: str
    stage: str
    reason: str
    remedy: str = ""
    nodes: tuple[str, ...] = ()
    fault: bool = True

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        count = len(self.nodes)
        scope = f" ({count} node{'s' * (count != 1)})" if count else ""
        return f"{self.provider} {_FAILED[self.stage]}{scope}: {self.reason}{remedy}"


_FAILED = {
    "request": "is not in use",
    "import": "is installed but failed to load",
    "probe": "is installed but not usable",
    "warm_up": "failed in warm_up",
    "get_capability": "failed in get_capability",
    "compile": "did not compile a partition",
    "data_transfer": "failed in data_transfer",
    "run": "failed while running",
    "ability": "breaks its promises",
    "hang": "may hang",
    "cost": "was not given an island",
    "placement": "took little of the model",
}


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One node of the simplified graph: who owns it, and what the others said.

    ``partition`` is the index in `Placement.partitions`; ``refusals`` maps a provider to
    its reason; ``origins`` are the node's names in the user's file; ``body`` is the path
    of the control-flow bodies it stands in, outermost first.
    """

    name: str
    op_type: str
    domain: str
    version: int
    provider: str
    partition: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    types: tuple[str, ...]
    refusals: dict[str, str]
    origins: tuple[str, ...]
    body: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PartitionRecord:
    """One partition: its provider and device, what it reads and makes, how long it took.

    ``boundary_bytes`` counts what crosses its edge in one run, at typical sizes; ``work``
    is its share of the model's estimated arithmetic, 0 to 1.
    """

    index: int
    provider: str
    device: str
    nodes: int
    op_types: dict[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    boundary_bytes: int = 0
    work: float = 0.0
    compile_seconds: float = 0.0
    weights: dict[str, int] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    body: tuple[str, ...] = ()


@dataclass(slots=True)
class Placement:
    """The whole story of one session; printable, JSON, or a page to open offline.

    ``requested`` are the providers asked for, ``providers`` those in use, in fallback
    order; ``components`` counts the connected pieces of each one's nodes. ``passes`` are
    (name, changes, seconds); ``transfers`` are (value, from, to).
    """

    model: str = ""
    requested: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    nodes: list[NodeRecord] = field(default_factory=list)
    partitions: list[PartitionRecord] = field(default_factory=list)
    transfers: list[tuple[str, str, str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    passes: list[tuple[str, int, float]] = field(default_factory=list)
    components: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def share(self, provider: str) -> float:
        """Return the provider's share of the estimated arithmetic, 0 to 1."""
        return sum(p.work for p in self.partitions if p.provider == provider)

    def counts(self) -> dict[str, int]:
        """Return how many nodes each provider owns, bodies included."""
        return dict(Counter(node.provider for node in self.nodes))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return asdict(self)

    def to_json(self, indent: int | None = 2) -> str:
        """Return everything as JSON."""
        return json.dumps(self.to_dict(), indent=indent, default=str)

    def save(self, path: str) -> None:
        """Write ``.html`` (one page, no network needed), ``.json`` or else text."""
        text = str(path)
        if text.endswith(".html"):
            from runtime.pages.placement import page

            content = page(self)
        else:
            content = self.to_json() if text.endswith(".json") else str(self) + "\n"
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _lines(placement: Placement) -> list[str]:
    counts = placement.counts()
    total = len(placement.nodes)
    lines = [f"{placement.model or 'model'}: {total} nodes"]
    for name in placement.providers:
        own = [p for p in placement.partitions if p.provider == name]
        lines.append(
            f"  {name}: {counts.get(name, 0)} nodes in {len(own)} "
            f"partition{'s' * (len(own) != 1)} ({placement.components.get(name, 0)} "
            f"connected), {placement.share(name):.0%} of the work"
        )
    for part in placement.partitions:
        ops = ", ".join(f"{op} x{n}" if n > 1 else op for op, n in _top(part.op_types))
        where = f" in {' > '.join(part.body)}" if part.body else ""
        lines.append(f"  [{part.index}] {part.provider} on {part.device}{where}: {ops}")
        lines.append(f"        in and out: about {part.boundary_bytes:,} bytes a run")
        for key, fact in part.facts.items():
            lines.append(f"        {key}: {fact}")
    if placement.transfers:
        lines.append(f"  {len(placement.transfers)} transfers between devices")
        for value, source, target in placement.transfers[:20]:
            lines.append(f"    {value}: {source} -> {target}")
    lines += _refusal_lines(placement)
    told = Counter(str(event) for event in placement.events)
    lines += [f"  ! {text}{_times(number)}" for text, number in told.items()]
    return lines


def _times(number: int) -> str:
    return f" ({number} times)" if number > 1 else ""


def _top(op_types: dict[str, int], limit: int = 8) -> list[tuple[str, int]]:
    ranked = sorted(op_types.items(), key=lambda item: -item[1])
    if len(ranked) <= limit:
        return ranked
    rest = sum(count for _, count in ranked[limit:])
    return [*ranked[:limit], ("others", rest)]


def _refusal_lines(placement: Placement) -> list[str]:
    reasons = Counter(
        (provider, node.op_type, reason)
        for node in placement.nodes
        for provider, reason in node.refusals.items()
    )
    return [
        f"  {provider} refused {op_type} x{count}: {reason}"
        for (provider, op_type, reason), count in reasons.most_common(20)
    ]


class Report:
    """Where the stages write; it turns into a `Placement` when the session is built."""

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.events: list[Event] = []
        self.refusals: dict[Node, dict[str, str]] = {}
        self.placement = Placement()

    def refuse(self, node: Node, provider: str, reason: str) -> None:
        """Remember why a provider does not run a node."""
        self.refusals.setdefault(node, {})[provider] = reason

    def note(self, event: Event) -> None:
        """Record something that is no fault, such as an island not worth a transfer."""
        self.events.append(event)
        logger.info("%s", event)

    def tell(self, event: Event) -> None:
        """Record something the user should see, though nothing failed."""
        self.events.append(event)
        warn_once(event)

    def fallback(self, event: Event, cause: BaseException | None = None) -> None:
        """Record a fault: warn once per provider and reason, or raise when strict."""
        if self.strict:
            raise ProviderUnavailable(str(event)) from cause
        self.events.append(event)
        warn_once(event)

    def describe(self, node: Node) -> str:
        """Return a node's signature with every provider's reason, for error messages."""
        types = ", ".join(
            describe(value.type) if value is not None else "none"
            for value in node.inputs
        )
        domain = node.domain or "ai.onnx"
        lines = [f"{node.label}: {domain}, opset {node.version}, inputs ({types})"]
        for provider, reason in self.refusals.get(node, {}).items():
            lines.append(f"    {provider}: {reason}")
        return "\n".join(lines)


def warn_once(event: Event) -> None:
    """Show a `FallbackWarning`, once per provider and reason in this process."""
    key = (event.provider, event.reason)
    with _lock:
        if key in _warned:
            return
        _warned.add(key)
    logger.warning("%s", event)
    warnings.warn(FallbackWarning(str(event)), stacklevel=_outside())


def tell_once(text: str) -> None:
    """Show a `RuntimeWarning`, once in this process."""
    with _lock:
        if ("", text) in _warned:
            return
        _warned.add(("", text))
    logger.warning("%s", text)
    warnings.warn(text, RuntimeWarning, stacklevel=_outside())


def forget_warnings() -> None:
    """Let every warning be shown again (tests and notebooks)."""
    with _lock:
        _warned.clear()


def _outside() -> int:
    """Return the stack level of the first caller that is not this package.

    Decorators that hold a context have a frame of `contextlib` in between.
    """
    import sys

    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith("runtime.") and name != "contextlib":
            return level
        frame, level = frame.f_back, level + 1
    return level


def value_label(value: Value, graph: Graph) -> str:
    """Return the name reports use for a value."""
    return value.name or f"a value of {graph.name or 'the graph'}"
