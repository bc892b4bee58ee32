"""Linear classifiers and regressors: sums over the features, and what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import linear
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import Layout, Unplannable, of_array
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.scoring import Scoring, numbered, padded
from runtime_ep_cpu.native.steps.table import (
    arguments,
    check_width,
    has_table_and_results,
    rows_of,
    rows_per_chunk,
    wanted,
    wide_element,
)
from runtime_ep_cpu.ops._scores import TRANSFORMS, and_other, class_labels

OPERATORS = ("LinearClassifier", "LinearRegressor")

_TYPES = {"float": np.float32, "double": np.float64}


class Model(NamedTuple):
    """Weights [rows, features], offsets [rows], and what becomes of the scores."""

    weights: np.ndarray[Any, Any]
    offsets: np.ndarray[Any, Any]
    scoring: Scoring
    labels: np.ndarray[Any, Any] | None


def is_supported(node: Node) -> bool:
    """Whether a node makes sense; NumPy's kernel says what is wrong with one that does not."""
    return has_table_and_results(node) and _model(node) is not None


def labels_of(node: Node) -> np.ndarray[Any, Any] | None:
    """Return a supported classifier's labels in the order of their numbers."""
    model = _model(node)
    return None if model is None else model.labels


def _model(node: Node) -> Model | None:
    """Read a node's attributes; ``None`` for those that make no sense."""
    get = node.attribute
    x = node.input(0)
    transform = get("post_transform", "NONE")
    coefficients = np.asarray(get("coefficients") or (), np.float32)
    offsets = np.asarray(get("intercepts") or (0.0,), np.float32)
    features = None if x is None or x.shape is None else x.shape[-1]
    if transform not in TRANSFORMS or not coefficients.size or x is None:
        return None
    labels = None
    if node.op_type == "LinearClassifier":
        try:
            labels = class_labels(get("classlabels_ints"), get("classlabels_strings"))
        except ValueError:
            return None
        width = features if isinstance(features, int) else 0
        count = (
            coefficients.size // width
            if width
            else _rows(coefficients, offsets, labels)
        )
        if count != len(labels) and (count, len(labels)) != (1, 2):
            return None
    else:
        count = get("targets", 1)
    if count < 1 or coefficients.size % count or offsets.size not in (1, count):
        return None
    scoring = _scoring(wide_element(x), transform, labels, count)
    if labels is not None and len(labels) == 1:
        labels = and_other(labels)
    offsets = np.broadcast_to(offsets, count)
    return Model(coefficients.reshape(count, -1), offsets, scoring, labels)


def _rows(
    coefficients: np.ndarray[Any, Any],
    offsets: np.ndarray[Any, Any],
    labels: np.ndarray[Any, Any],
) -> int:
    """Return how many rows of coefficients there are, if the features are not counted.

    One row for two classes has one offset; the plan compares the width with the features.
    """
    single = len(labels) == 2 and offsets.size == 1
    return 1 if single else len(labels)


def _scoring(
    element: str, transform: str, labels: np.ndarray[Any, Any] | None, count: int
) -> Scoring:
    if labels is None:
        return Scoring(element, element, "float", transform)
    if len(labels) == 1:
        numbers = numbered(and_other(labels))
        return Scoring(element, element, "float", transform, "above", numbers=numbers)
    numbers = numbered(labels)
    if count == 1:
        return Scoring(
            element, element, "float", transform, "above", "negated", numbers
        )
    return Scoring(element, element, "float", transform, "best", numbers=numbers)


class LinearStep:
    """LinearClassifier and LinearRegressor."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a model has an anchor")
        self._node = node = group.anchor
        model = _model(node)
        if model is None:
            raise ValueError(f"{node.label} has no native form")
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        element = wide_element(self._x)
        self._label = wanted(node, 0) if model.labels is not None else None
        self._scoring = model.scoring.told(self._label is not None)
        self._linear = Linear(model.weights, model.offsets, self._x, element)
        self.specs: Sequence[Spec] = (*self._linear.specs, self._scoring.spec)

    def plan(self, planner: Planner) -> None:
        """Plan sums for all rows, and what comes of them."""
        x = rows_of(planner.layout(self._x))
        scores = self._linear.plan(planner, x)
        rows = x.shape[0]
        self._scoring.plan(planner, scores, rows, self._node.outputs[-1], self._label)


class Linear:
    """Linear functions of a table's rows."""

    def __init__(
        self,
        weights: np.ndarray[Any, Any],
        offsets: np.ndarray[Any, Any],
        x: Value,
        element: str,
    ) -> None:
        """Take weights [classes, features] and offsets [classes] for computing in a type."""
        self._element = element
        self._classes, self._features = weights.shape
        self._spec = linear.spec(element_of(x) or "float", element)
        self.specs: Sequence[Spec] = (self._spec,)
        dtype = _TYPES[element]
        self._constants = [
            of_array(np.ascontiguousarray(array.astype(dtype)))
            for array in (weights.T, offsets)
        ]
        self._columns = of_array(np.arange(self._features))

    def plan(self, planner: Planner, x: Layout) -> Layout:
        """Plan the scores [classes, pitch] of features [rows, features]."""
        check_width(x, self._features)
        rows, count = x.shape
        if not rows:
            raise Unplannable("there are no rows")
        scores = planner.allocate(None, (self._classes, padded(rows)), self._element)
        lanes = planner.target.lanes
        each = rows_per_chunk(rows, lanes, count * self._classes)
        weights, offsets = self._constants
        fields: list[Argument] = [
            *arguments(x, self._columns, count, count, count),
            weights, offsets, self._classes, scores, padded(rows), each,
        ]  # fmt: skip
        work = float(rows) * count * (self._classes + 16) / 16
        planner.step(
            self._spec, fields, -(-rows // each), [x], [scores], 8 * lanes * count,
            4.0 * work,
        )  # fmt: skip
        return scores
