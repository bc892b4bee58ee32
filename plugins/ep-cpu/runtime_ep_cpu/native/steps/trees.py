"""Tree ensembles: a forest's walk, then what becomes of the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from runtime.graph import Node, Tensor, Value

from runtime_ep_cpu.codegen import trees
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.forests import FlatForest, Unsuitable, flat
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import Unplannable, of_array
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.numbers import double_bits
from runtime_ep_cpu.native.steps.scoring import Scoring, numbered, padded
from runtime_ep_cpu.native.steps.table import (
    arguments,
    has_table_and_results,
    rows_of,
    wanted,
    wide_element,
)
from runtime_ep_cpu.ops import ml_trees
from runtime_ep_cpu.ops._remembered import remembered
from runtime_ep_cpu.ops._scores import TRANSFORMS

OPERATORS = ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble")

_KERNELS = {"SUM": "sum", "AVERAGE": "sum", "MIN": "minimum", "MAX": "maximum"}
_FEW = 12
"""Up to so many rows are walked one by one, each by as many trees at once."""
_REPEATED = 1 << 15
"""Bytes of votes from which on leaves that vote alike share a row."""


class Model(NamedTuple):
    """A node's trees, their votes by row, and what becomes of the scores."""

    forest: FlatForest
    votes: np.ndarray[Any, Any]
    aggregate: str
    base: np.ndarray[Any, Any]
    scoring: Scoring
    labels: np.ndarray[Any, Any] | None
    width: int


def is_supported(node: Node) -> bool:
    """Whether a node makes sense and native walks take it; NumPy's kernel says why not."""
    return has_table_and_results(node) and _model(node) is not None


def labels_of(node: Node) -> np.ndarray[Any, Any] | None:
    """Return a supported classifier's labels in the order of their numbers."""
    model = _model(node)
    return None if model is None else model.labels


def _model(node: Node) -> Model | None:
    x = node.input(0)
    if x is None:
        return None
    result = element_of(node.outputs[-1]) or "float"
    return _read(node.op_type, wide_element(x), result, node.attributes)


@remembered
def _read(
    op_type: str, element: str, result: str, attributes: dict[str, Any]
) -> Model | None:
    """Prepare a node's trees, or return ``None`` for what NumPy's kernels shall judge."""
    given = {
        name: entry.value.numpy() if isinstance(entry.value, Tensor) else entry.value
        for name, entry in attributes.items()
    }
    try:
        with np.errstate(all="ignore"):
            meaning = ml_trees.READERS[op_type](given)
            return _prepared(meaning, element, result)
    except (ValueError, Unsuitable):
        return None


def _prepared(meaning: ml_trees.Meaning, element: str, result: str) -> Model | None:
    forest, votes = meaning.ensemble
    if votes.ids is not None or not len(forest.roots) or not votes.targets:
        return None
    if np.isnan(votes.weights).any() or meaning.post_transform not in TRANSFORMS:
        return None
    leaves = np.flatnonzero(forest.is_leaf)
    table, numbers = _alike(votes.weights[leaves])
    places = np.zeros(len(forest.is_leaf), np.int64)
    places[leaves] = numbers
    base = np.broadcast_to(meaning.base, votes.targets).astype(np.float64)
    narrow = table.astype(np.float32)
    return Model(
        flat(forest, element, places),
        narrow if (narrow == table).all() else table,
        votes.aggregate,
        np.ascontiguousarray(base),
        _scoring(meaning, result),
        meaning.all_labels,
        forest.width,
    )


def _alike(votes: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], Any]:
    """Return rows of votes, and each leaf's; many leaves vote alike."""
    if votes.nbytes < _REPEATED:
        return np.ascontiguousarray(votes), np.arange(len(votes))
    rows = np.ascontiguousarray(votes).view(f"V{votes.itemsize * votes.shape[1]}")
    _, first, numbers = np.unique(rows.ravel(), return_index=True, return_inverse=True)
    return np.ascontiguousarray(votes[first]), numbers


def _scoring(meaning: ml_trees.Meaning, result: str) -> Scoring:
    transform, labels = meaning.post_transform, meaning.all_labels
    if labels is None:
        return Scoring("double", "double", result, transform)
    numbers = numbered(labels)
    if meaning.signs is None:
        return Scoring("double", "float", result, transform, "after", numbers=numbers)
    probable = meaning.signs.are_probabilities(transform)
    single = meaning.labels is not None and len(meaning.labels) == 1
    voted = meaning.signs.classes[0]
    completes = "no"
    if not single and voted == 0:
        completes = "complement" if probable else "negated"
    threshold = 0.5 if probable and not single else 0.0
    return Scoring(
        "double", "float", result, transform, "above", completes, numbers, voted,
        threshold,
    )  # fmt: skip


class TreesStep:
    """TreeEnsembleClassifier, TreeEnsembleRegressor and TreeEnsemble."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("an ensemble has an anchor")
        self._node = node = group.anchor
        model = _model(node)
        if model is None:
            raise ValueError(f"{node.label} has no native form")
        self._model = model
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        given = element_of(self._x) or "float"
        forest = model.forest
        self._count = len(forest.columns) + 1
        self._block = trees.block_for(self._count, forest.element)
        votes = "float" if model.votes.dtype == np.float32 else "double"
        targets = model.votes.shape[1]
        self._kernels = {
            kind: trees.spec(
                kind, given, forest.element, votes, _KERNELS[model.aggregate],
                targets, self._block,
            )
            for kind in ("forest", "forest_row")
        }  # fmt: skip
        self._label = wanted(node, 0) if model.labels is not None else None
        self._scoring = model.scoring.told(self._label is not None)
        self.specs: Sequence[Spec] = (*self._kernels.values(), self._scoring.spec)
        self._constants = [
            of_array(array)
            for array in (
                forest.columns, forest.roots, forest.groups, forest.nodes, model.votes,
                model.base,
            )
        ]  # fmt: skip

    def plan(self, planner: Planner) -> None:
        """Plan the walk of all rows through all trees, and what comes of the scores."""
        model, forest = self._model, self._model.forest
        x = rows_of(planner.layout(self._x))
        rows = x.shape[0]
        if model.width > x.shape[1] or not rows:
            raise Unplannable(f"the trees ask for {model.width} features")
        columns, roots, groups, nodes, votes, base = self._constants
        few = rows <= _FEW
        targets = model.votes.shape[1]
        scores = planner.allocate(None, (targets, padded(rows)), "double")
        each = 1 if few else trees.rows_per_chunk(rows, self._block)
        divisor = forest.trees if model.aggregate == "AVERAGE" else 1
        fields: list[Argument] = [
            *arguments(x, columns, forest.plain, len(forest.columns), self._count),
            groups if few else roots, forest.trees, nodes, votes, targets, scores,
            padded(rows), each, base, double_bits(float(divisor)),
        ]  # fmt: skip
        kernel = self._kernels["forest_row" if few else "forest"]
        block = self._count * (1 if few else self._block)
        planner.step(
            kernel,
            fields,
            -(-rows // each),
            [x],
            [scores],
            8 * block + 4 * (forest.trees + trees.WALKS),
            work=float(rows) * forest.trees * _STEPS,
        )
        self._scoring.plan(planner, scores, rows, self._node.outputs[-1], self._label)


_STEPS = 40.0
"""What a walk is worth beside multiplications."""
