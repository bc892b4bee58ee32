"""Draws the partitions of a placement, and what passes between them, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from runtime.explain import PartitionRecord, Placement
from runtime.pages import escape, plural, short
from runtime.pages.layers import Layout, arrange

BOX = (248, 78)
PILL_HEIGHT = 26
PALETTE = 8
"""Number of provider colours in ``style.css``; later providers share the last."""

_BUTTON = ' role="button" tabindex="0" aria-pressed="false"'

Path = tuple[str, ...]


@dataclass(slots=True)
class _Edge:
    """Everything that passes from one item to another; items are numbered."""

    source: int
    target: int
    values: list[str] = field(default_factory=list)
    devices: tuple[str, str] = ("", "")

    @property
    def copies(self) -> bool:
        """Whether the values change device on their way."""
        return "" not in self.devices and self.devices[0] != self.devices[1]


@dataclass(slots=True)
class _Section:
    """One graph of the model: its partitions, then pills for what enters and leaves."""

    path: Path
    parts: list[PartitionRecord]
    pills: list[tuple[str, list[str]]] = field(default_factory=list)
    edges: list[_Edge] = field(default_factory=list)


def colour(placement: Placement, provider: str) -> int:
    """Return which of the page's colours a provider has, by its place in the order."""
    names = list(dict.fromkeys([*placement.providers, *placement.counts()]))
    at = names.index(provider) if provider in names else PALETTE
    return min(at, PALETTE - 1)


def drawings(placement: Placement, buttons: bool = True) -> list[tuple[Path, str]]:
    """Return, for the main graph and every body, its path and its drawing.

    ``buttons`` is for pages with a script that listens to them.
    """
    types = value_types(placement)
    sections: dict[Path, list[PartitionRecord]] = {}
    for part in placement.partitions:
        sections.setdefault(part.body, []).append(part)
    made = []
    for path, parts in sorted(sections.items(), key=lambda item: len(item[0])):
        section = _connect(path, parts, _read_elsewhere(placement, path))
        svg = _svg(section, placement, types)
        made.append((path, svg if buttons else svg.replace(_BUTTON, ' role="img"')))
    return made


def value_types(placement: Placement) -> dict[str, str]:
    """Return the type of every value that a node makes."""
    return {
        name: kind
        for node in placement.nodes
        for name, kind in zip(node.outputs, node.types, strict=False)
    }


def _read_elsewhere(placement: Placement, path: Path) -> set[str]:
    """Return the values that bodies within a graph read from it."""
    inner = (p for p in placement.partitions if len(p.body) > len(path))
    return {name for p in inner if p.body[: len(path)] == path for name in p.inputs}


def _connect(path: Path, parts: list[PartitionRecord], captured: set[str]) -> _Section:
    section = _Section(path, parts)
    maker = {name: at for at, part in enumerate(parts) for name in part.outputs}
    edges: dict[tuple[int, int], _Edge] = {}
    outside: dict[str, list[int]] = {}
    read: set[str] = set()
    for at, part in enumerate(parts):
        for name in part.inputs:
            source = maker.get(name, at)
            if source == at:
                outside.setdefault(name, []).append(at)
                continue
            read.add(name)
            edge = edges.setdefault((source, at), _Edge(source, at))
            edge.values.append(name)
            edge.devices = (parts[source].device, part.device)
    section.edges = list(edges.values())
    _add_inputs(section, outside)
    for at, part in enumerate(parts):
        kinds: tuple[tuple[str, list[str]], ...] = (
            ("output", [n for n in part.outputs if n not in read | captured]),
            ("to bodies", [n for n in part.outputs if n in captured]),
        )
        for kind, names in kinds:
            if names:
                section.edges.append(_Edge(at, _pill(section, kind, names), names))
    return section


def _add_inputs(section: _Section, outside: dict[str, list[int]]) -> None:
    """Give the inputs that the same partitions read one pill together."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, readers in outside.items():
        groups.setdefault(tuple(readers), []).append(name)
    for together, names in groups.items():
        pill = _pill(section, "input", names)
        for reader in together:
            section.edges.append(_Edge(pill, reader, names))


def _pill(section: _Section, kind: str, names: list[str]) -> int:
    section.pills.append((kind, names))
    return len(section.parts) + len(section.pills) - 1


def _svg(section: _Section, placement: Placement, types: dict[str, str]) -> str:
    count = len(section.parts)
    labels = [_pill_text(kind, names) for kind, names in section.pills]
    sizes = [BOX] * count + [(24 + 7 * len(text), PILL_HEIGHT) for text in labels]
    layout = arrange(sizes, [(e.source, e.target) for e in section.edges], down=54)
    taken: dict[tuple[int, bool], list[str]] = {}
    body = [
        *(
            _edge(edge, points, _label(edge, points, layout, count, taken), types)
            for edge, points in zip(section.edges, layout.paths, strict=True)
        ),
        *(
            _box(part, layout.boxes[at], colour(placement, part.provider))
            for at, part in enumerate(section.parts)
        ),
        *(
            _pill_box(label, pill, sizes[count + at], layout.boxes[count + at], types)
            for at, (label, pill) in enumerate(zip(labels, section.pills, strict=True))
        ),
    ]
    return _frame(layout, "".join(body), section, placement)


def _frame(layout: Layout, body: str, section: _Section, placement: Placement) -> str:
    width, height = layout.width + 24, layout.height + 24
    where = " > ".join(section.path) or placement.model or "the model"
    about = f"{plural(len(section.parts), 'partition')} of {where}, in execution order"
    return (
        f'<svg class="drawing" role="group" aria-label="{escape(about)}" '
        f'viewBox="-12 -12 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}">{body}</svg>'
    )


def _box(part: PartitionRecord, corner: tuple[float, float], tone: int) -> str:
    width, height = BOX
    share = max(0.0, min(1.0, part.work))
    ops, device = operators(part.op_types), escape(clip(part.device, 9))
    size = f"{plural(part.nodes, 'node')} · {part.work:.0%} of work"
    spoken = (
        f"Partition {part.index}, {part.provider} on {part.device}, "
        f"{plural(part.nodes, 'node')}, {part.work:.0%} of the work: {ops}"
    )
    return (
        f'<g class="part c{tone}" data-part="{part.index}"{_BUTTON} '
        f'aria-label="{escape(spoken)}" '
        f'transform="translate({corner[0]:.1f} {corner[1]:.1f})">'
        f"<title>{escape(spoken)}</title>"
        f'<rect class="box" width="{width}" height="{height}" rx="8"/>'
        f'<path class="edge" d="M0 8a8 8 0 0 1 6-7.7V{height - 0.3}a8 8 0 0 1-6-7.7z"/>'
        f'<text class="head" x="18" y="23">{part.index} · '
        f"{escape(clip(short(part.provider), 18))}</text>"
        f'<text class="side" x="{width - 14}" y="23">{device}</text>'
        f'<text x="18" y="42">{size}</text>'
        f'<text class="ops" x="18" y="59">{escape(clip(ops, 32))}</text>'
        f'<rect class="track" x="18" y="67" width="{width - 32}" height="3" rx="1.5"/>'
        f'<rect class="fill" x="18" y="67" width="{(width - 32) * share:.1f}" '
        'height="3" rx="1.5"/></g>'
    )


def _pill_box(
    label: str,
    pill: tuple[str, list[str]],
    size: tuple[float, float],
    corner: tuple[float, float],
    types: dict[str, str],
) -> str:
    return (
        f'<g class="pill" transform="translate({corner[0]:.1f} {corner[1]:.1f})">'
        f"<title>{escape(_listed(pill[1], types))}</title>"
        f'<rect width="{size[0]}" height="{size[1]}" rx="{size[1] / 2}"/>'
        f'<text x="{size[0] / 2}" y="17">{escape(label)}</text></g>'
    )


def _label(
    edge: _Edge,
    points: list[tuple[float, float]],
    layout: Layout,
    count: int,
    taken: dict[tuple[int, bool], list[str]],
) -> str:
    """Name what passes between two partitions, where the edge leaves the first."""
    if edge.source >= count or edge.target >= count:
        return ""
    (x, y), centre = points[0], layout.boxes[edge.source][0] + BOX[0] / 2
    left = x < centre - 1
    several = len(edge.values) > 1
    text = plural(len(edge.values), "value") if several else clip(edge.values[0], 22)
    if edge.copies:
        text = f"{edge.devices[0]} → {edge.devices[1]}: {text}"
    side = taken.setdefault((edge.source, left), [])
    if text in side or len(side) == 3:
        return ""
    side.append(text)
    anchor = ' class="left"' if left else ""
    at = x - 7 if left else x + 7
    return f'<text{anchor} x="{at:.1f}" y="{y + 5 + 13 * len(side):.1f}">{escape(text)}</text>'


def _edge(
    edge: _Edge, points: list[tuple[float, float]], label: str, types: dict[str, str]
) -> str:
    told = _listed(edge.values, types)
    if edge.copies:
        told = f"copied {edge.devices[0]} → {edge.devices[1]}\n{told}"
    kind = "flow copies" if edge.copies else "flow"
    end_x, end_y = points[-1]
    return (
        f'<g class="{kind}"><title>{escape(told)}</title><path d="{curve(points)}"/>'
        f'<path class="tip" d="M{end_x - 4:.1f} {end_y - 7:.1f}h8l-4 7z"/>{label}</g>'
    )


def curve(points: Sequence[tuple[float, float]]) -> str:
    """Return an SVG path that leaves and enters every point vertically."""
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x, y), (to_x, to_y) in pairwise(points):
        if abs(x - to_x) < 0.5:
            parts.append(f"L{to_x:.1f} {to_y:.1f}")
        else:
            half = (y + to_y) / 2
            parts.append(
                f"C{x:.1f} {half:.1f} {to_x:.1f} {half:.1f} {to_x:.1f} {to_y:.1f}"
            )
    return "".join(parts)


def operators(op_types: dict[str, int]) -> str:
    """Return ``Conv ×53`` for each operator, the most frequent first."""
    ranked = sorted(op_types.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{op} ×{count}" if count > 1 else op for op, count in ranked)


def clip(text: str, length: int) -> str:
    """Return text cut to a length, with an ellipsis where it was."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _pill_text(kind: str, names: list[str]) -> str:
    more = f" +{len(names) - 1}" if len(names) > 1 else ""
    return f"{kind}: {clip(names[0], 24)}{more}"


def _listed(names: list[str], types: dict[str, str]) -> str:
    lines = [f"{name}: {types[name]}" if name in types else name for name in names[:30]]
    more = [f"and {len(names) - 30} more"] if len(names) > 30 else []
    return "\n".join([*lines, *more])
