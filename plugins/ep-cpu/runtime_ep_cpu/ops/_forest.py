"""Decision trees as flat arrays, walked for all rows and trees at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

MODES = (
    "BRANCH_LEQ",
    "BRANCH_LT",
    "BRANCH_GTE",
    "BRANCH_GT",
    "BRANCH_EQ",
    "BRANCH_NEQ",
    "BRANCH_MEMBER",
    "LEAF",
)
MEMBER, LEAF = MODES.index("BRANCH_MEMBER"), MODES.index("LEAF")
COMPARISONS = (np.less_equal, np.less, np.greater_equal, np.greater)
# Whether a mode holds when a feature is below, at, above the split, or is no number.
OUTCOMES = np.array(
    [
        [1, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 0],
        [0, 1, 0, 0],
        [1, 0, 1, 1],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ],
    bool,
)
PAIRS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class Members:
    """Sets of values, as sorted keys (node × values + rank of the value)."""

    values: np.ndarray
    keys: np.ndarray

    def hold(self, nodes: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Whether each found value is in its node's set."""
        if not self.values.size:
            return np.zeros(found.shape, bool)
        rank = np.searchsorted(self.values, found)
        rank = np.minimum(rank, len(self.values) - 1)
        key = nodes * len(self.values) + rank
        place = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        return (self.values[rank] == found) & (self.keys[place] == key)


@dataclass(frozen=True, slots=True)
class Forest:
    """All trees' nodes in one numbering; a leaf is its own child.

    ``children`` holds, for node n, the false branch at 2n and the true one at 2n + 1.
    ``comparison`` is the one comparison of all nodes, where they share it.
    """

    roots: np.ndarray
    features: np.ndarray
    splits: np.ndarray
    modes: np.ndarray
    children: np.ndarray
    is_leaf: np.ndarray
    missing: np.ndarray | None
    members: Members | None
    depths: tuple[int, int]
    comparison: Any
    width: int

    def walk(self, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield blocks of rows and the leaves [trees, rows] they end in."""
        width = x.shape[1]
        if self.width > width:
            raise ValueError(f"the trees ask for {self.width} features, found {width}")
        flat = np.ascontiguousarray(x).reshape(-1)
        step = max(1, PAIRS_AT_ONCE // max(1, len(self.roots)))
        for first in range(0, len(x), step):
            count = min(step, len(x) - first)
            part = flat[first * width : (first + count) * width]
            starts = np.tile(np.arange(count) * width, len(self.roots))
            at = self._descend(np.repeat(self.roots, count), starts, part)
            yield slice(first, first + count), at.reshape(len(self.roots), count)

    def _descend(self, at: np.ndarray, starts: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Step down from nodes ``at`` until every pair of a row and a tree is done."""
        shallowest, deepest = self.depths
        done, places = None, None
        for level in range(deepest):
            at = self._step(at, starts, x)
            if not shallowest <= level + 1 < deepest:
                continue
            open_ = np.flatnonzero(~self.is_leaf.take(at))
            if 2 * len(open_) > len(at):
                continue
            if done is None:
                done, places = at, open_
            else:
                done[places] = at
                places = places[open_]
            at, starts = at[open_], starts[open_]
            if not len(at):
                break
        if done is None:
            return at
        done[places] = at
        return done

    def _step(self, at: np.ndarray, starts: np.ndarray, x: np.ndarray) -> np.ndarray:
        found = x.take(starts + self.features.take(at))
        if self.comparison is not None:
            holds = self.comparison(found, self.splits.take(at))
        else:
            holds = self._compared(at, found)
        if self.missing is not None:
            holds |= np.isnan(found) & self.missing.take(at)
        return self.children.take(2 * at + holds)

    def _compared(self, at: np.ndarray, found: np.ndarray) -> np.ndarray:
        split = self.splits.take(at)
        outcome = (found >= split).astype(np.int64) + (found > split)
        outcome[np.isnan(found) | np.isnan(split)] = 3
        holds = OUTCOMES[self.modes.take(at), outcome]
        if self.members is not None:
            asked = np.flatnonzero(self.modes.take(at) == MEMBER)
            holds[asked] = self.members.hold(at[asked], found[asked])
        return holds


def grown(
    roots: np.ndarray,
    features: np.ndarray,
    splits: np.ndarray,
    modes: np.ndarray,
    branches: tuple[np.ndarray, np.ndarray],
    missing: np.ndarray | None,
    members: Members | None = None,
) -> Forest:
    """Build a forest from per-node arrays; ``branches`` are the (false, true) nodes."""
    if len(modes) and not (modes.min() >= 0 and modes.max() <= LEAF):
        raise ValueError("nodes_modes holds an unknown mode")
    if len(roots) and not (roots.min() >= 0 and roots.max() < len(modes)):
        raise ValueError("a tree begins at a node that does not exist")
    is_leaf = modes == LEAF
    own = np.arange(len(modes))
    pairs = [np.where(is_leaf, own, branch) for branch in branches]
    if any(len(p) and not (p.min() >= 0 and p.max() < len(modes)) for p in pairs):
        raise ValueError("a tree branches to a node that does not exist")
    children = np.stack(pairs, axis=1).reshape(-1)
    features = np.where(is_leaf, 0, features)
    if features.min(initial=0) < 0:
        raise ValueError(f"nodes_featureids holds {features.min()}")
    depths = _depths(roots, children, is_leaf)
    used = np.unique(modes[~is_leaf])
    uniform = len(used) <= 1 and (used < len(COMPARISONS)).all()
    comparison = COMPARISONS[used[0] if len(used) else 0] if uniform else None
    if missing is not None and not missing.any():
        missing = None
    return Forest(
        roots,
        features,
        splits,
        modes,
        children,
        is_leaf,
        missing,
        members,
        depths,
        comparison,
        int(features.max(initial=-1)) + 1,
    )


def _depths(
    roots: np.ndarray, children: np.ndarray, is_leaf: np.ndarray
) -> tuple[int, int]:
    """Return the levels at which the first leaf and the last one lie."""
    level, shallowest = np.unique(roots), -1
    for depth in range(len(is_leaf) + 1):
        inner = level[~is_leaf[level]]
        if shallowest < 0 and len(inner) < len(level):
            shallowest = depth
        if not len(inner):
            return max(shallowest, 0), depth
        level = np.unique(children.reshape(-1, 2)[inner])
    raise ValueError("a tree leads back to one of its own nodes")
