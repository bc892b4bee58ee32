"""Rewrites forests into thresholds alone, in the memory that native walks read.

Whatever a node asks, it is asked by nodes of one kind: ``x[column] <= split`` leads to the
left, anything else, no number included, to the right. Less than is at most the number
below; greater is the same with the children exchanged; equal is both, one after the other;
membership is a search among the values. Where no number is to go to the left, the node
asks for a column in which it has become -∞. So the standard's eight modes, and where a
missing value goes, cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from runtime_ep_cpu.codegen.trees import FORMATS, WALKS, Format
from runtime_ep_cpu.ops._forest import LEAF, MEMBER, Forest

Array = np.ndarray[Any, Any]

_LEQ, _LT, _GTE, _GT, _EQ, _NEQ = range(MEMBER)
_MOST_MEMBERS = 1 << 12
_RAW, _LOWERED, _LOWEST = range(3)
"""Kinds of columns: as given, with -∞ for no number, -∞ throughout."""


class Unsuitable(Exception):
    """A forest that native walks do not take; NumPy's do."""


@dataclass(frozen=True, slots=True)
class FlatForest:
    """A forest as memory, and the columns it asks for.

    ``nodes`` are bytes in one of the two formats; ``roots`` has the offset and the depth of
    each tree, ``groups`` the offsets of some trees and their largest depth, per group.
    ``columns`` are features, the plain ones first, then the lowered ones from ``plain`` on;
    one of -∞ follows.
    """

    element: str
    nodes: Array
    roots: Array
    groups: Array
    columns: Array
    plain: int

    @property
    def trees(self) -> int:
        """How many trees there are."""
        return len(self.roots)


class _Nodes(NamedTuple):
    """Thresholds: kind of column and feature, split, children; a leaf is its own child."""

    kinds: Array
    features: Array
    splits: Array
    left: Array
    right: Array

    def joined(self, rows: Sequence[tuple[int, int, Any, int, int]]) -> _Nodes:
        """Return these nodes and further ones."""
        if not rows:
            return self
        more = zip(*rows, strict=True)
        return _Nodes(
            *(
                np.concatenate([column, np.array(part, column.dtype)])
                for column, part in zip(self, more, strict=True)
            )
        )


def flat(forest: Forest, element: str, votes: Array) -> FlatForest:
    """Lay a forest out for features of a type, ``float`` or ``double``.

    ``votes`` has, for each of the forest's nodes that is a leaf, the number of its row of
    votes. Raises `Unsuitable` for what has too many members.
    """
    nodes = _thresholds(
        forest, np.dtype(np.float32 if element == "float" else np.float64)
    )
    order = _placed(forest.roots, nodes)
    columns, plain, numbers = _columns(nodes)
    form = FORMATS[element]
    reach = int(np.abs(order.distances).max(initial=0))
    if element == "float" and (len(columns) + 1 > form.columns or reach >= form.reach):
        return flat(forest, "double", votes)
    memory = _written(form, nodes, order, numbers, votes)
    offsets = order.roots * form.bytes
    roots = np.stack([offsets, order.depths], axis=1)
    return FlatForest(element, memory, roots, _groups(roots), columns, plain)


def _thresholds(forest: Forest, dtype: Any) -> _Nodes:
    """Ask everything by thresholds of a type."""
    count = len(forest.modes)
    modes, own = forest.modes, np.arange(count)
    no, yes = forest.children[0::2], forest.children[1::2]
    missing = np.zeros(count, bool) if forest.missing is None else forest.missing
    wide = forest.splits.astype(np.float64)
    floor, below = _floor(wide, dtype), _below(wide, dtype)
    strict = (modes == _LT) | (modes == _GTE)
    turned = (modes == _GTE) | (modes == _GT)
    never = np.isnan(wide) | (strict & (wide == -np.inf))
    always = never & (modes == _GTE) & ~np.isnan(wide)
    lowered = (missing != turned) & ~never
    split = np.where(strict, below, floor)
    split[never] = np.inf
    left = np.where(turned, no, yes)
    right = np.where(turned, yes, no)
    left = np.where(never, np.where(always, yes, no), left)
    right = np.where(never, np.where(missing, yes, no), right)
    leaf = modes == LEAF
    nodes = _Nodes(
        np.where(leaf, _LOWEST, np.where(lowered, _LOWERED, _RAW)),
        np.where(leaf, 0, forest.features),
        np.where(leaf, np.inf, split).astype(dtype),
        np.where(leaf, own, left),
        np.where(leaf, own, right),
    )
    return _expanded(nodes, forest, floor, below, missing)


def _floor(splits: Array, dtype: Any) -> Array:
    """Return the largest numbers of a type that are not above the splits."""
    with np.errstate(over="ignore"):
        near = splits.astype(dtype)
    lower = np.nextafter(near, dtype.type(-np.inf))
    return np.where(near.astype(np.float64) > splits, lower, near)


def _below(splits: Array, dtype: Any) -> Array:
    """Return the largest numbers of a type below the splits; NaN below -∞."""
    with np.errstate(over="ignore"):
        near = splits.astype(dtype)
    lower = np.nextafter(near, dtype.type(-np.inf))
    found = np.where(near.astype(np.float64) < splits, near, lower)
    found[splits == -np.inf] = np.nan
    return found


def _expanded(
    nodes: _Nodes, forest: Forest, floor: Array, below: Array, missing: Array
) -> _Nodes:
    """Put several nodes in the place of those that ask whether numbers are equal."""
    asking = np.flatnonzero((forest.modes >= _EQ) & (forest.modes <= MEMBER))
    more: list[tuple[int, int, Any, int, int]] = []
    dtype = nodes.splits.dtype
    values = _members(forest)

    def add(*row: Any) -> int:
        more.append(row)
        return len(nodes.kinds) + len(more) - 1

    for node in asking.tolist():
        mode, feature = forest.modes[node], forest.features[node]
        no, yes = forest.children[2 * node], forest.children[2 * node + 1]
        lacks = missing[node] or mode == _NEQ
        if mode == _NEQ:
            no, yes = yes, no
        if mode == MEMBER:
            wide = values.get(node, np.zeros(0))
            pairs = [(_below(wide[i : i + 1], dtype)[0], _floor(wide[i : i + 1], dtype)[0])
                     for i in range(len(wide))]  # fmt: skip
        else:
            pairs = [(below[node], floor[node])]
            if np.isnan(floor[node]):
                pairs = []
        root = _search(pairs, feature, no, yes, add)
        absent = forest.children[2 * node + 1] if lacks else forest.children[2 * node]
        for column, value in zip(
            nodes, (_RAW, feature, np.inf, root, absent), strict=True
        ):
            column[node] = value
    return nodes.joined(more)


def _search(
    pairs: Sequence[tuple[Any, Any]], feature: int, no: int, yes: int, add: Any
) -> int:
    """Return a node that leads to ``yes`` where a number is among some sorted ones.

    Of each the pair has the number below and the number itself.
    """
    if not pairs:
        return no
    middle = len(pairs) // 2
    if middle:
        first = _search(pairs[:middle], feature, no, yes, add)
        second = _search(pairs[middle:], feature, no, yes, add)
        return int(add(_RAW, feature, pairs[middle][0], first, second))
    below, number = pairs[0]
    inner = add(_RAW, feature, number, yes, no)
    return int(add(_RAW, feature, below, no, inner))


def _members(forest: Forest) -> dict[int, Array]:
    """Return each membership node's values, sorted."""
    if forest.members is None:
        return {}
    values, keys = forest.members.values, forest.members.keys
    if len(keys) > _MOST_MEMBERS:
        raise Unsuitable(f"{len(keys)} members")
    found: dict[int, list[float]] = {}
    for key in keys.tolist() if len(values) else []:
        found.setdefault(key // len(values), []).append(
            float(values[key % len(values)])
        )
    return {node: np.array(sorted(set(numbers))) for node, numbers in found.items()}


class _Order(NamedTuple):
    """Where nodes lie: of each place its node and the distance to that node's children."""

    nodes: Array
    distances: Array
    roots: Array
    depths: Array


def _placed(roots: Array, nodes: _Nodes) -> _Order:
    """Lay nodes out tree by tree, children side by side, and behind these the children
    of the heavier one, so that many steps stay within a cache line.

    A node several lead to is copied, but its children are not.
    """
    count = len(nodes.left)
    inner = nodes.left != np.arange(count)
    pairs, depths, shared = _pairs(roots, nodes, inner)
    starts = _preorder(pairs)
    order = np.argsort(starts, kind="stable")
    placed = np.stack([pairs.first, pairs.second], axis=1)[order].reshape(-1)
    target = 2 * starts[np.maximum(pairs.of[placed], 0)]
    distances = np.where(inner[placed], target - np.arange(len(placed)), 0)
    if shared:
        depths[:] = count
    return _Order(placed, distances, 2 * starts[: len(roots)], depths)


class _Pairs(NamedTuple):
    """Pairs of neighbours, level by level: roots with themselves, then children.

    ``of`` tells each node's pair of children, -1 for none; ``above`` the pair that the
    parent is in, ``bounds`` where levels begin.
    """

    first: Array
    second: Array
    above: Array
    of: Array
    bounds: Sequence[int]


def _pairs(roots: Array, nodes: _Nodes, inner: Array) -> tuple[_Pairs, Array, bool]:
    """Return all pairs, the trees' depths, and whether several lead to one node."""
    count = len(inner)
    of, inside = np.full(count, -1), np.zeros(count, np.int64)
    inside[roots] = np.arange(len(roots))
    tree = np.zeros(count, np.int64)
    tree[roots] = np.arange(len(roots))
    depths = np.zeros(len(roots), np.int64)
    firsts, seconds, above = [roots], [roots], [np.full(len(roots), -1)]
    made, level, bounds, shared = len(roots), roots, [0, len(roots)], False
    while True:
        fresh = level[inner[level]]
        unknown = fresh[of[fresh] < 0]
        found = np.unique(unknown)
        shared |= len(found) < len(fresh)
        if not len(found):
            break
        of[found] = np.arange(made, made + len(found))
        made += len(found)
        bounds.append(made)
        above.append(inside[found])
        depths[np.unique(tree[found])] += 1
        for children, own in (
            (nodes.left[found], firsts),
            (nodes.right[found], seconds),
        ):
            inside[children] = of[found]
            tree[children] = tree[found]
            own.append(children)
        level = np.concatenate([firsts[-1], seconds[-1]])
    first, second, parents = map(np.concatenate, (firsts, seconds, above))
    return _Pairs(first, second, parents, of, bounds), depths, shared


def _preorder(pairs: _Pairs) -> Array:
    """Return each pair's place: right behind its parent's, or behind its heavier twin's."""
    sizes = np.ones(len(pairs.first), np.int64)
    levels = [slice(*ends) for ends in pairwise(pairs.bounds)]
    for level in reversed(levels[1:]):
        np.add.at(sizes, pairs.above[level], sizes[level])
    starts = np.zeros(len(sizes), np.int64)
    starts[levels[0]] = np.cumsum(sizes[levels[0]]) - sizes[levels[0]]
    for level in levels[1:]:
        own = np.arange(level.start, level.stop)
        own = own[np.lexsort((-sizes[own], pairs.above[own]))]
        parents = pairs.above[own]
        is_second = np.concatenate([[False], parents[1:] == parents[:-1]])
        ahead = np.concatenate([[0], sizes[own][:-1]]) * is_second
        starts[own] = starts[parents] + 1 + ahead
    return starts


def _columns(nodes: _Nodes) -> tuple[Array, int, Array]:
    """Return the features asked for, how many are plain, and each node's column."""
    most = int(nodes.features.max(initial=0)) + 1
    keys = nodes.kinds * most + nodes.features
    found, numbers = np.unique(keys, return_inverse=True)
    plain = int((found < most).sum())
    asked = found[found < _LOWEST * most]
    return asked % most, plain, np.where(nodes.kinds == _LOWEST, len(asked), numbers)


def _written(
    form: Format, nodes: _Nodes, order: _Order, columns: Array, votes: Array
) -> Array:
    """Return the nodes' memory."""
    placed = order.nodes
    size = form.bytes // 4
    words = np.zeros((len(placed), size), np.int32)
    splits = nodes.splits[placed]
    leaf = nodes.left[placed] == placed
    words[:, : size // 2] = splits.view(np.int32).reshape(len(placed), -1)
    words[leaf, : size // 2] = 0
    words[leaf, 0] = votes[placed[leaf]]
    if form.element == "float":
        words[:, 1] = (order.distances << 12 | columns[placed]).astype(np.int32)
    else:
        words[:, 2], words[:, 3] = columns[placed], order.distances
    return words


def _groups(roots: Array) -> Array:
    """Return the offsets of some trees and their largest depth, group by group."""
    count = -(-len(roots) // WALKS)
    padded = np.zeros((count * WALKS, 2), np.int64)
    padded[: len(roots)] = roots
    padded[len(roots) :, 0] = roots[0, 0]
    groups = padded.reshape(count, WALKS, 2)
    return np.concatenate(
        [groups[:, :, 0], groups[:, :, 1].max(axis=1)[:, None]], axis=1
    )
