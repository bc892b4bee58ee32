"""Places boxes in layers, top to bottom along their edges, and routes the edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

SWEEPS = 4
MOST_BENDS = 30_000
"""Above this many, edges over several layers are drawn straight."""

BEND = 2.0
"""The width of a bend."""


Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything goes: left top corners, and the points each edge passes."""

    boxes: list[Point]
    paths: list[list[Point]]
    width: float
    height: float


@dataclass(slots=True)
class _Rows:
    """Items by layer: boxes are numbered as given, bends of long edges come after."""

    rows: list[list[int]]
    chains: list[list[int]]
    widths: list[float]
    above: list[list[int]] = field(default_factory=list)
    below: list[list[int]] = field(default_factory=list)


def arrange(
    sizes: Sequence[Point],
    edges: Sequence[tuple[int, int]],
    across: float = 28,
    down: float = 48,
) -> Layout:
    """Lay out boxes of the given sizes; ``across`` and ``down`` are the gaps.

    Edges that leave one box run together until they part. An edge that would close a
    cycle is drawn, but does not order its ends.
    """
    islands = _islands(len(sizes), edges)
    where = {
        item: (n, at)
        for n, island in enumerate(islands)
        for at, item in enumerate(island)
    }
    inner: list[list[tuple[int, int]]] = [[] for _ in islands]
    for source, target in edges:
        inner[where[source][0]].append((where[source][1], where[target][1]))
    layouts = [
        _arrange([sizes[item] for item in island], own, across, down)
        for island, own in zip(islands, inner, strict=True)
    ]
    corners, width, height = _shelves(layouts, across * 2, down)
    boxes = [
        _moved([layouts[n].boxes[at]], corners[n])[0]
        for _, (n, at) in sorted(where.items())
    ]
    paths = [iter(layout.paths) for layout in layouts]
    routed = [
        _moved(next(paths[n]), corners[n]) for n in (where[s][0] for s, _ in edges)
    ]
    return Layout(boxes, routed, width, height)


def _islands(count: int, edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the boxes that are connected with each other, each in its order."""
    root = list(range(count))

    def find(item: int) -> int:
        while root[item] != item:
            root[item] = item = root[root[item]]
        return item

    for source, target in edges:
        root[find(target)] = find(source)
    islands: dict[int, list[int]] = {}
    for item in range(count):
        islands.setdefault(find(item), []).append(item)
    return list(islands.values())


def _shelves(
    layouts: Sequence[Layout], across: float, down: float
) -> tuple[list[Point], float, float]:
    """Put islands side by side, a new shelf begun where the last grew too long."""
    area = sum((lay.width + across) * (lay.height + down) for lay in layouts)
    room = max([1.2 * area**0.5, *(lay.width for lay in layouts)], default=0)
    corners, x, y, tall, width = [], 0.0, 0.0, 0.0, 0.0
    for layout in layouts:
        if x and x + layout.width > room:
            x, y, tall = 0.0, y + tall + down, 0.0
        corners.append((x, y))
        width = max(width, x + layout.width)
        tall = max(tall, layout.height)
        x += layout.width + across
    return corners, width, y + tall


def _moved(points: Sequence[Point], corner: Point) -> list[Point]:
    return [(x + corner[0], y + corner[1]) for x, y in points]


def _arrange(
    sizes: Sequence[Point], edges: Sequence[tuple[int, int]], across: float, down: float
) -> Layout:
    """Lay out boxes that are all connected."""
    rows = _rows(sizes, edges, _layers(len(sizes), edges))
    _untangle(rows)
    centres = _spread(rows, across)
    bands, top = [], 0.0
    for row in rows.rows:
        tall = max((sizes[i][1] for i in row if i < len(sizes)), default=0.0)
        bands.append((top, top + tall))
        top += tall + down
    return _routed(rows, sizes, centres, bands)


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return each box's layer: the longest way to it, sources next to their readers."""
    after: list[list[int]] = [[] for _ in range(count)]
    waits = [0] * count
    for source, target in edges:
        after[source].append(target)
        waits[target] += 1
    layer, ready = [0] * count, [i for i in range(count) if not waits[i]]
    sources, order = list(ready), []
    left = set(range(count))
    while left:
        if not ready:
            ready.append(min(left))
        item = ready.pop()
        if item not in left:
            continue
        left.discard(item)
        order.append(item)
        for target in after[item]:
            if target in left:
                layer[target] = max(layer[target], layer[item] + 1)
                waits[target] -= 1
                if not waits[target]:
                    ready.append(target)
    for item in sources:
        if after[item]:
            layer[item] = max(0, min(layer[target] for target in after[item]) - 1)
    return layer


def _rows(
    sizes: Sequence[Point],
    edges: Sequence[tuple[int, int]],
    layer: Sequence[int],
) -> _Rows:
    """Put boxes in rows, and a bend in every row that the edges of a box pass."""
    made = _Rows([[] for _ in range(max(layer) + 1)], [], [w for w, _ in sizes])
    for item, at in enumerate(layer):
        made.rows[at].append(item)
    spans = ((source, layer[target] - layer[source]) for source, target in edges)
    longest: dict[int, int] = {}
    for source, span in spans:
        longest[source] = max(span, longest.get(source, 0))
    bent = sum(span - 1 for span in longest.values() if span > 1) <= MOST_BENDS
    bends: dict[tuple[int, int], int] = {}
    for source, target in edges:
        chain = [source]
        for at in range(layer[source] + 1, layer[target]) if bent else ():
            bend = bends.setdefault((source, at), len(made.widths))
            if bend == len(made.widths):
                made.rows[at].append(bend)
                made.widths.append(BEND)
            chain.append(bend)
        made.chains.append([*chain, target])
    links = dict.fromkeys(pair for chain in made.chains for pair in pairwise(chain))
    made.above = [[] for _ in made.widths]
    made.below = [[] for _ in made.widths]
    for one, other in links:
        made.below[one].append(other)
        made.above[other].append(one)
    return made


def _untangle(rows: _Rows) -> None:
    """Order every row by the middle of its neighbours, down and up a few times."""
    place = [0.0] * len(rows.widths)

    def number(row: list[int]) -> None:
        for index, item in enumerate(row):
            place[item] = index / max(len(row) - 1, 1) if len(row) > 1 else 0.5

    def middle(item: int, near: list[list[int]]) -> float:
        own = near[item]
        return sum(place[other] for other in own) / len(own) if own else place[item]

    for row in rows.rows:
        number(row)
    for sweep in range(SWEEPS * 2):
        down = sweep % 2 == 0
        near = rows.above if down else rows.below
        for row in rows.rows if down else reversed(rows.rows):
            keys = {item: middle(item, near) for item in row}
            row.sort(key=keys.__getitem__)
            number(row)


def _spread(rows: _Rows, across: float) -> list[float]:
    """Return every item's centre: near its neighbours, never closer than the gap."""
    centres = [0.0] * len(rows.widths)
    offsets = [_offsets(row, rows.widths, across) for row in rows.rows]
    for row, offset in zip(rows.rows, offsets, strict=True):
        for item, at in zip(row, offset, strict=True):
            centres[item] = at - offset[-1] / 2
    both = [[*up, *down] for up, down in zip(rows.above, rows.below, strict=True)]
    order = list(zip(rows.rows, offsets, strict=True))
    for near in (*[rows.above, rows.below] * SWEEPS, both, both):
        for row, offset in reversed(order) if near is rows.below else order:
            wanted = [
                sum(centres[o] for o in near[i]) / len(near[i])
                if near[i]
                else centres[i]
                for i in row
            ]
            weights = [4.0 if rows.widths[i] <= BEND else 1.0 for i in row]
            for item, x in zip(row, _apart(wanted, offset, weights), strict=True):
                centres[item] = x
    return centres


def _offsets(row: list[int], widths: list[float], across: float) -> list[float]:
    steps = (
        (widths[a] + widths[b]) / 2
        + (across if max(widths[a], widths[b]) > BEND else 14)
        for a, b in pairwise(row)
    )
    return list(accumulate(steps, initial=0.0))


def _apart(
    wanted: list[float], offset: list[float], weights: list[float]
) -> list[float]:
    """Return the positions nearest to those wanted that keep order and distance.

    Isotonic regression by pooling adjacent violators, after taking the distances out.
    """
    pools: list[list[float]] = []
    for want, shift, weight in zip(wanted, offset, weights, strict=True):
        pools.append([want - shift, weight, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, mass, count = pools.pop()
            last = pools[-1]
            last[0] = (last[0] * last[1] + mean * mass) / (last[1] + mass)
            last[1] += mass
            last[2] += count
    fitted = [mean for mean, _, count in pools for _ in range(int(count))]
    return [x + shift for x, shift in zip(fitted, offset, strict=True)]


def _routed(
    rows: _Rows,
    sizes: Sequence[Point],
    centres: list[float],
    bands: list[Point],
) -> Layout:
    """Return the layout, with the left edge at 0 and every edge as its points."""
    left = min(x - width / 2 for x, width in zip(centres, rows.widths, strict=True))
    centres = [x - left for x in centres]
    band = {item: bands[at] for at, row in enumerate(rows.rows) for item in row}
    boxes = [
        (centres[i] - width / 2, sum(band[i]) / 2 - height / 2)
        for i, (width, height) in enumerate(sizes)
    ]
    outs = _ports(rows.below, centres, sizes)
    ins = _ports(rows.above, centres, sizes)
    paths = []
    for first, second, *_ in rows.chains:
        paths.append([(outs[first, second], boxes[first][1] + sizes[first][1])])
    for points, chain in zip(paths, rows.chains, strict=True):
        for bend in chain[1:-1]:
            points += [(centres[bend], edge) for edge in band[bend]]
        points.append((ins[chain[-1], chain[-2]], boxes[chain[-1]][1]))
    width = max(x + wide / 2 for x, wide in zip(centres, rows.widths, strict=True))
    return Layout(boxes, paths, width, bands[-1][1])


def _ports(
    near: list[list[int]], centres: list[float], sizes: Sequence[Point]
) -> dict[tuple[int, int], float]:
    """Return where on a box's side each line to a neighbour ends: side by side."""
    ports = {}
    for box, (width, _) in enumerate(sizes):
        others = sorted(near[box], key=centres.__getitem__)
        room = min(width * 0.7, 26.0 * (len(others) - 1))
        for rank, other in enumerate(others):
            part = rank / (len(others) - 1) - 0.5 if len(others) > 1 else 0.0
            ports[box, other] = centres[box] + part * room
    return ports
