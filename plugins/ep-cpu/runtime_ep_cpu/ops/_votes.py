"""What the leaves of a forest vote for, and how the votes are combined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.ops._forest import Forest

DENSE_VOTES = 1 << 20
FEW_VOTES = 1 << 14
NEUTRAL = {"SUM": 0.0, "AVERAGE": 0.0, "MIN": np.inf, "MAX": -np.inf}


@dataclass(frozen=True, slots=True)
class Votes:
    """Weights per node: either for every target, or for ``ids`` [nodes, votes]."""

    targets: int
    weights: np.ndarray
    ids: np.ndarray | None
    aggregate: str

    def combined(self, forest: Forest, x: np.ndarray) -> np.ndarray:
        """Return the aggregated votes [rows, targets] in float64."""
        check_size((len(x), self.targets), np.float64)
        result = np.full((len(x), self.targets), NEUTRAL[self.aggregate])
        for rows, leaves in forest.walk(x):
            if self.ids is not None:
                self._scatter(leaves, result[rows])
            elif self.targets == 1:
                found = self.weights[:, 0].take(leaves)
                result[rows, 0] = self._ufunc.reduce(found, axis=0)
            elif leaves.size * self.targets <= FEW_VOTES:
                found = self.weights.take(leaves, axis=0)
                self._ufunc.reduce(found, axis=0, out=result[rows])
            else:
                for tree in leaves:
                    found = self.weights.take(tree, axis=0)
                    self._ufunc(result[rows], found, out=result[rows])
        if self.aggregate == "AVERAGE":
            result /= max(1, len(forest.roots))
        if self.aggregate in ("MIN", "MAX"):
            result[result == NEUTRAL[self.aggregate]] = 0
        return result

    @property
    def _ufunc(self) -> Any:
        return _ufunc_of(self.aggregate)

    def _scatter(self, leaves: np.ndarray, result: np.ndarray) -> None:
        rows = np.arange(leaves.shape[1])
        for ids, weights in zip(self.ids.T, self.weights.T, strict=True):
            target, weight = ids.take(leaves), weights.take(leaves)
            if self._ufunc is np.add:
                place = (rows * self.targets + target).ravel()
                total = np.bincount(place, weight.ravel(), result.size)
                result += total.reshape(result.shape)
            else:
                self._ufunc.at(result, (rows, target), weight)


def gathered(
    nodes: np.ndarray,
    ids: np.ndarray,
    weights: np.ndarray,
    forest: Forest,
    targets: int,
    aggregate: str,
) -> Votes:
    """Lay out votes (``nodes``, ``ids`` and ``weights``, one of each per vote)."""
    if aggregate not in NEUTRAL:
        raise ValueError(f"unknown aggregate_function {aggregate!r}")
    if not len(nodes) == len(ids) == len(weights):
        raise ValueError("the votes' nodes, targets and weights differ in number")
    if len(ids) and not (ids.min() >= 0 and ids.max() < targets):
        raise ValueError(f"a leaf votes for a target outside of {targets}")
    kept = forest.is_leaf[nodes]
    nodes, ids, weights = nodes[kept], ids[kept], weights[kept]
    count, neutral = len(forest.is_leaf), NEUTRAL[aggregate]
    most = int(np.bincount(nodes, minlength=1).max())
    if targets <= 2 * most or count * targets <= DENSE_VOTES:
        table = np.full((count, targets), neutral)
        _ufunc_of(aggregate).at(table, (nodes, ids), weights)
        return Votes(targets, table, None, aggregate)
    order = np.argsort(nodes, kind="stable")
    nodes, ids, weights = nodes[order], ids[order], weights[order]
    place = np.arange(len(nodes)) - np.searchsorted(nodes, nodes)
    targeted = np.zeros((count, most), np.int64)
    weighted = np.full((count, most), neutral)
    targeted[nodes, place], weighted[nodes, place] = ids, weights
    return Votes(targets, weighted, targeted, aggregate)


def _ufunc_of(aggregate: str) -> Any:
    return {"MIN": np.minimum, "MAX": np.maximum}.get(aggregate, np.add)
