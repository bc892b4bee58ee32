"""Writes down who owns what, once a model is divided, for `explain()`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from runtime.calling import Placed
from runtime.cost import boundary_bytes, components, work
from runtime.explain import (
    Event,
    NodeRecord,
    PartitionRecord,
    Report,
    value_label,
)
from runtime.graph import Graph, Node
from runtime.partition import Assignment
from runtime.plan import Plan
from runtime.plugin import Partition
from runtime.providers import HOST_ALIAS, Providers
from runtime.valuetypes import describe


class Section(Protocol):
    """A divided graph, as `runtime.build` keeps it."""

    graph: Graph
    path: tuple[str, ...]
    partitions: list[Partition]
    placed: list[Placed]
    assignment: Assignment

    def plan(self) -> Plan:
        """Return the plan with everything on the host."""


def record(
    report: Report, providers: Providers, sections: Sequence[Section], path: str
) -> None:
    """Fill the report's placement from the divided graphs, the main one first."""
    placement = report.placement
    placement.model = os.path.basename(path)
    placement.providers = tuple(providers.names)
    placement.nodes.clear()
    placement.partitions.clear()
    placement.transfers.clear()
    parts = [p for s in sections for p in components(s.graph, s.assignment.owners)]
    placement.components = dict(Counter(part.provider for part in parts))
    total = sum(work(n, s.graph.bounds) for s in sections for n in s.graph) or 1.0
    for section in sections:
        _section(report, section, total)
        if section.placed:
            placement.transfers += section.plan().transfers


LITTLE = 0.5
"""The share of the work left to it below which a provider asked for took little."""


def tell_little(report: Report, providers: Providers) -> None:
    """Say in one line which provider took little of what was left to it, and why."""
    placement = report.placement
    silent = {event.provider for event in report.events if event.stage != "cost"}
    nodes, left = len(placement.nodes), 1.0
    for name in providers.names:
        share, count = placement.share(name), placement.counts().get(name, 0)
        offered, nodes = nodes, nodes - count
        part, left = share / left if left > 0 else 1.0, left - share
        expected = name in silent or HOST_ALIAS in providers.info(name).aliases
        if expected or not offered or part >= LITTLE:
            continue
        refused = Counter(
            (node.op_type, node.refusals[name])
            for node in placement.nodes
            if name in node.refusals
        )
        top = ", ".join(
            f"{op} x{number} ({reason})"
            for (op, reason), number in refused.most_common(3)
        )
        reason = (
            f"{count} of {offered} nodes, {part:.0%} of the work; refused most: "
            f"{top or 'nothing'}"
        )
        remedy = "session.explain() tells who runs what and why"
        report.tell(Event(name, "placement", reason, remedy))


def _section(report: Report, section: Section, total: float) -> None:
    placed: Sequence[Placed | None] = section.placed or [None] * len(section.partitions)
    parts = [p.partition for p in section.placed] or section.partitions
    for part, item in zip(parts, placed, strict=True):
        index = len(report.placement.partitions)
        bounds = section.graph.bounds
        report.placement.partitions.append(
            PartitionRecord(
                index,
                part.provider,
                str(part.device),
                len(part.nodes),
                dict(Counter(node.op_type for node in part.nodes)),
                tuple(value_label(v, part.graph) for v in part.inputs),
                tuple(value_label(v, part.graph) for v in part.outputs),
                boundary_bytes((*part.inputs, *part.outputs), bounds),
                sum(work(node, bounds) for node in part.nodes) / total,
                item.seconds if item is not None else 0.0,
                dict(Counter(item.weights.values())) if item is not None else {},
                dict(item.facts) if item is not None else {},
                section.path,
            )
        )
        for node in part.nodes:
            report.placement.nodes.append(
                _node(report, node, part, index, section.path)
            )


def _node(
    report: Report, node: Node, part: Partition, index: int, path: tuple[str, ...]
) -> NodeRecord:
    reads = [value for value in node.inputs if value is not None]
    return NodeRecord(
        node.name or node.label,
        node.op_type,
        node.domain,
        node.version,
        part.provider,
        index,
        tuple(value_label(value, part.graph) for value in reads),
        tuple(value.name for value in node.outputs),
        tuple(describe(value.type) for value in node.outputs),
        report.refusals.get(node, {}),
        node.origins,
        path,
    )
