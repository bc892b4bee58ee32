"""Prepares tree ensembles from the attributes of the operators, once per node."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from runtime_ep_cpu.ops._forest import LEAF, MEMBER, MODES, Forest, Members, grown
from runtime_ep_cpu.ops._remembered import remembered
from runtime_ep_cpu.ops._scores import rows_of
from runtime_ep_cpu.ops._votes import Votes, gathered

AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")


class Ensemble(NamedTuple):
    """A forest and its leaves' votes, ready to be walked."""

    forest: Forest
    votes: Votes

    def scores(self, x: Any) -> np.ndarray:
        """Return the combined votes [rows, targets] for features [rows, features]."""
        features = rows_of(x)
        if features.dtype.kind != "f":
            features = features.astype(np.float64)
        return self.votes.combined(self.forest, features)


def ints(values: Any) -> np.ndarray:
    """Return an INTS attribute as an array."""
    return np.asarray(() if values is None else values, np.int64)


@remembered
def pair_ensemble(
    aggregate: str,
    targets: int,
    missing: Any,
    splits: Any,
    weights: Any,
    *columns: Any,
) -> Ensemble:
    """Prepare the trees of the older operators, whose nodes are (tree, node) pairs.

    The nine columns are the nodes' trees, ids, features, modes and true and false
    branches, then the votes' trees, nodes and targets.
    """
    trees, ids, features = (ints(column) for column in columns[:3])
    code = {mode: number for number, mode in enumerate(MODES)}
    modes = np.array([code.get(mode, -1) for mode in columns[3] or ()], np.int64)
    if (modes < 0).any():
        raise ValueError(f"unknown mode {columns[3][int(modes.argmin())]!r} of a node")
    branches = [ints(column) for column in columns[4:6]]
    vote_trees, vote_nodes, vote_ids = (ints(column) for column in columns[6:])
    if len({len(c) for c in (trees, ids, features, modes, *branches)}) > 1:
        raise ValueError("the nodes_* attributes differ in length")
    numbering = _Numbering(trees, ids)
    true, false = (numbering.of(trees, b, modes == LEAF) for b in branches)
    forest = grown(
        numbering.roots((true, false), modes == LEAF),
        features,
        _padded(splits, len(modes)),
        modes,
        (false, true),
        ints(missing).astype(bool) if missing else None,
    )
    voters = numbering.of(vote_trees, vote_nodes)
    weights = np.asarray(() if weights is None else weights, np.float64)
    votes = gathered(voters, vote_ids, weights, forest, targets, aggregate)
    return Ensemble(forest, votes)


def _padded(values: Any, count: int) -> np.ndarray:
    """Return the splits: float32 as given, or float64 from a tensor."""
    array = values if isinstance(values, np.ndarray) else None
    if array is None:
        array = np.asarray(() if values is None else values, np.float32)
    if len(array) != count:
        raise ValueError(f"{len(array)} nodes_values were given for {count} nodes")
    return array


class _Numbering:
    """Finds the place of a node by its tree and its id within the tree."""

    def __init__(self, trees: np.ndarray, ids: np.ndarray) -> None:
        self._trees = trees
        self._stride = int(ids.max(initial=0)) + 1
        keys = trees * self._stride + ids
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        if len(keys) > 1 and (np.diff(self._keys) == 0).any():
            raise ValueError("a tree holds two nodes of the same id")

    def of(self, trees: np.ndarray, ids: np.ndarray, ignored: Any = False) -> Any:
        """Return the places of nodes; where ``ignored`` they need not exist."""
        if len(trees) != len(ids):
            raise ValueError("tree ids and node ids differ in number")
        if not len(self._keys):
            return np.zeros(len(ids), np.int64)
        keys = trees * self._stride + ids
        place = np.searchsorted(self._keys, keys).clip(0, len(self._keys) - 1)
        known = (self._keys[place] == keys) & (ids >= 0) & (ids < self._stride)
        if not (known | ignored).all():
            worst = int(np.flatnonzero(~(known | ignored))[0])
            raise ValueError(f"tree {trees[worst]} has no node {ids[worst]}")
        return self._order[place]

    def roots(self, branches: tuple[Any, Any], is_leaf: np.ndarray) -> np.ndarray:
        """Return each tree's node that no other one leads to.

        Of several such nodes it is the tree's first one; the others are stray.
        """
        child = np.zeros(len(is_leaf), bool)
        for branch in branches:
            child[branch[~is_leaf]] = True
        free = np.flatnonzero(~child)
        trees, first = np.unique(self._trees, return_index=True)
        found, place, count = np.unique(
            self._trees[free], return_index=True, return_counts=True
        )
        roots = free[place]
        branching = np.isin(found, self._trees[~is_leaf])
        if (
            len(found) < len(trees)
            or (roots[count > 1] != first[count > 1]).any()
            or is_leaf[roots[branching]].any()
        ):
            raise ValueError("a tree has no root")
        return roots


@remembered
def flat_ensemble(
    aggregate: int,
    targets: Any,
    leaf_ids: Any,
    leaf_weights: Any,
    false_leaf: Any,
    false: Any,
    features: Any,
    modes: Any,
    splits: Any,
    true_leaf: Any,
    true: Any,
    roots: Any,
    members: Any,
    missing: Any,
) -> Ensemble:
    """Prepare the trees of the newer operator: leaf n comes after all inner nodes."""
    inner, leaves = len(modes), len(leaf_weights)
    _check_lengths(inner, nodes_featureids=features, nodes_splits=splits)
    _check_lengths(inner, nodes_trueleafs=true_leaf, nodes_truenodeids=true)
    _check_lengths(inner, nodes_falseleafs=false_leaf, nodes_falsenodeids=false)
    _check_lengths(inner, nodes_missing_value_tracks_true=missing or modes)
    _check_lengths(leaves, leaf_targetids=leaf_ids)
    codes = np.concatenate([modes.astype(np.int64), np.full(leaves, LEAF)])
    branches = [
        np.concatenate([_target(b, leaf, inner, leaves), np.zeros(leaves, np.int64)])
        for b, leaf in ((false, false_leaf), (true, true_leaf))
    ]
    forest = grown(
        ints(roots),
        np.concatenate([ints(features), np.zeros(leaves, np.int64)]),
        np.concatenate([splits, np.zeros(leaves, splits.dtype)]),
        codes,
        (branches[0], branches[1]),
        np.concatenate([ints(missing), np.zeros(leaves)]) > 0 if missing else None,
        _members(codes, members),
    )
    if not 0 <= aggregate < len(AGGREGATES):
        raise ValueError(f"unknown aggregate_function {aggregate}")
    ids = ints(leaf_ids)
    votes = gathered(
        np.arange(inner, inner + leaves),
        ids,
        leaf_weights.astype(np.float64),
        forest,
        targets or int(ids.max(initial=0)) + 1,
        AGGREGATES[aggregate],
    )
    return Ensemble(forest, votes)


def _check_lengths(count: int, **columns: Any) -> None:
    for name, values in columns.items():
        found = 0 if values is None else len(values)
        if found != count:
            raise ValueError(f"{name} has {found} entries, not {count}")


def _target(branch: Any, to_leaf: Any, inner: int, leaves: int) -> np.ndarray:
    """Return the common numbers of the nodes or leaves that branches lead to."""
    place, leaf = ints(branch), ints(to_leaf) != 0
    if ((place < 0) | (place >= np.where(leaf, leaves, inner))).any():
        raise ValueError("a tree branches to a node or leaf that does not exist")
    return place + inner * leaf


def _members(codes: np.ndarray, values: Any) -> Members | None:
    """Read the sets of the membership nodes, each closed by a NaN."""
    asking = np.flatnonzero(codes == MEMBER)
    if not len(asking):
        return None
    given = np.zeros(0) if values is None else values
    ends = np.isnan(given)
    owner = np.cumsum(ends) - ends
    owner, given = owner[~ends], given[~ends]
    if (len(given) and owner[-1] >= len(asking)) or ends.sum() < len(asking) - 1:
        raise ValueError(
            f"membership_values holds {int(ends.sum())} sets for {len(asking)} nodes"
        )
    known, rank = np.unique(given, return_inverse=True)
    return Members(known, np.unique(asking[owner] * len(known) + rank))
