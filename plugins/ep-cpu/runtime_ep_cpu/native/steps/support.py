"""Support vector machines: kernels and decisions, probabilities, and what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import support
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import Layout, Unplannable, of_array
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.linear import Linear
from runtime_ep_cpu.native.steps.numbers import double_bits
from runtime_ep_cpu.native.steps.scoring import Scoring, numbered, padded
from runtime_ep_cpu.native.steps.table import (
    arguments,
    check_width,
    has_table_and_results,
    rows_of,
    rows_per_chunk,
    wanted,
)
from runtime_ep_cpu.ops._remembered import remembered
from runtime_ep_cpu.ops._scores import TRANSFORMS, class_labels
from runtime_ep_cpu.ops._support_vectors import Machine, machine

OPERATORS = ("SVMClassifier", "SVMRegressor")


class Model(NamedTuple):
    """A machine, its classes, and what becomes of the scores.

    ``counts`` are the vectors of each class, ``slopes`` and ``offsets`` what makes
    decisions logits, where there are probabilities.
    """

    machine: Machine
    counts: tuple[int, ...]
    slopes: tuple[float, ...]
    offsets: tuple[float, ...]
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
    return _read(node.op_type, node.attributes)


@remembered
def _read(op_type: str, attributes: dict[str, Any]) -> Model | None:
    """Read a node's attributes; ``None`` for those that make no sense."""
    given = {name: entry.value for name, entry in attributes.items()}
    try:
        return _regressor(given) if op_type == "SVMRegressor" else _classifier(given)
    except ValueError:
        return None


def _machine(given: dict[str, Any], count: int, outputs: int) -> Machine:
    return machine(
        given.get("kernel_type", "LINEAR"),
        given.get("kernel_params"),
        given.get("support_vectors"),
        given.get("coefficients"),
        given.get("rho"),
        count,
        outputs,
    )


def _regressor(given: dict[str, Any]) -> Model | None:
    transform = given.get("post_transform", "NONE")
    if transform not in TRANSFORMS:
        return None
    if given.get("one_class", 0):
        if transform != "NONE":
            return None
        transform = "ONE_CLASS"
    count = given.get("n_supports", 0)
    made = _machine(given, count, 1)
    if len(made.weights) != 1:
        return None
    scoring = Scoring("double", "double", "float", transform)
    return Model(made, (count,), (), (), scoring, None)


def _classifier(given: dict[str, Any]) -> Model | None:
    transform = given.get("post_transform", "NONE")
    labels = class_labels(
        given.get("classlabels_ints"), given.get("classlabels_strings")
    )
    counts = tuple(given.get("vectors_per_class") or ())
    made = _machine(given, int(sum(counts)), len(labels))
    classes, pairs = len(labels), len(labels) * (len(labels) - 1) // 2
    slopes, offsets = (tuple(given.get(name) or ()) for name in ("prob_a", "prob_b"))
    if transform not in TRANSFORMS or classes < 2:
        return None
    if made.vectors is None:
        slopes = offsets = ()
        width = classes
    else:
        if len(counts) != classes or len(made.weights) != classes - 1:
            return None
        if len(made.rho) != pairs or (
            slopes and not len(slopes) == len(offsets) == pairs
        ):
            return None
        width = classes if slopes else pairs
    scoring = Scoring(
        "double",
        "double",
        "float",
        transform,
        "best",
        "negated" if width == 1 else "no",
        numbered(labels),
    )
    return Model(made, counts, slopes, offsets, scoring, labels)


class SupportStep:
    """SVMClassifier and SVMRegressor."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a machine has an anchor")
        self._node = node = group.anchor
        model = _model(node)
        if model is None:
            raise ValueError(f"{node.label} has no native form")
        self._model = model
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        self._label = wanted(node, 0) if model.labels is not None else None
        self._scoring = model.scoring.told(self._label is not None)
        made = model.machine
        self._linear: Linear | None = None
        specs: list[Spec] = [self._scoring.spec]
        if made.vectors is None:
            rho = np.broadcast_to(made.rho[:1], len(made.weights))
            self._linear = Linear(made.weights, rho, self._x, "double")
            specs += self._linear.specs
        else:
            kernel = made.kernel
            self._spec = support.spec(
                element_of(self._x) or "float",
                kernel.name,
                kernel.degree,
                model.labels is not None,
            )
            self._single = support.spec(
                element_of(self._x) or "float",
                kernel.name,
                kernel.degree,
                model.labels is not None,
                single=True,
            )
            specs += [self._spec, self._single]
            self._keep(made)
        if model.slopes:
            specs.append(support.coupled_spec())
        self.specs: Sequence[Spec] = specs

    def _keep(self, made: Machine) -> None:
        """Lay out what the kernel reads."""
        model = self._model
        vectors = np.ascontiguousarray(made.vectors, np.float64)
        arrays = (
            np.arange(vectors.shape[1]),
            vectors,
            np.ascontiguousarray(made.weights.T),
            np.ascontiguousarray(made.rho),
            np.cumsum(model.counts),
            np.array(model.slopes or (0.0,)),
            np.array(model.offsets or (0.0,)),
        )
        self._constants = [of_array(array) for array in arrays]
        self._packed: list[Layout] = []

    def _blocks(self, lanes: int) -> list[Layout]:
        """Return vectors, coefficients and ends as a single row reads them."""
        if not self._packed:
            made = self._model.machine
            vectors, weights = np.asarray(made.vectors), made.weights.T
            counts = np.array(self._model.counts)
            blocks = -(-counts // (lanes * support.PACKED)) * support.PACKED
            starts = np.cumsum(blocks * lanes) - blocks * lanes
            shifts = starts - (np.cumsum(counts) - counts)
            places = np.arange(len(vectors)) + np.repeat(shifts, counts)
            found = []
            for rows in (vectors, weights):
                filled = np.zeros((int(blocks.sum()) * lanes, rows.shape[1]))
                filled[places] = rows
                parted = filled.reshape(-1, lanes, rows.shape[1]).transpose(0, 2, 1)
                found.append(of_array(np.ascontiguousarray(parted)))
            self._packed = [*found, of_array(np.cumsum(blocks))]
        return self._packed

    def plan(self, planner: Planner) -> None:
        """Plan decisions, probabilities and labels for all rows."""
        x = rows_of(planner.layout(self._x))
        if not x.shape[0]:
            raise Unplannable("there are no rows")
        votes = None
        if self._linear is not None:
            scores = self._linear.plan(planner, x)
        else:
            scores, votes = self._decide(planner, x)
            if self._model.slopes:
                scores = self._couple(planner, scores, x.shape[0])
        self._scoring.plan(
            planner, scores, x.shape[0], self._node.outputs[-1], self._label, votes
        )

    def _decide(self, planner: Planner, x: Layout) -> tuple[Layout, Layout | None]:
        """Plan a regressor's scores, or decisions by pairs, and votes."""
        columns, vectors, coefficients, rho, ends, _, _ = self._constants
        count, width = vectors.shape
        check_width(x, width)
        rows, pitch = x.shape[0], padded(x.shape[0])
        classifies = self._model.labels is not None
        classes = len(self._model.counts)
        sums = max(classes - 1, 1)
        scores = planner.allocate(
            None, (rho.shape[0] if classifies else 1, pitch), "double"
        )
        votes = (
            planner.allocate(None, (classes, pitch), "double") if classifies else None
        )
        lanes = planner.target.lanes
        kernel = self._model.machine.kernel
        each = rows_per_chunk(rows, lanes, 4 * count * width)
        spec = self._spec
        if rows == 1:
            spec = self._single
            vectors, coefficients, ends = self._blocks(lanes)
        fields: list[Argument] = [
            *arguments(x, columns, width, width, width),
            vectors, coefficients, rho, ends, classes, sums, scores, votes, pitch, each,
            double_bits(kernel.gamma), double_bits(kernel.offset),
            double_bits(kernel.degree),
        ]  # fmt: skip
        planner.step(
            spec,
            fields,
            -(-rows // each),
            [x],
            [scores] if votes is None else [scores, votes],
            support.scratch(width, classes, lanes),
            work=float(rows) * count * (width + 16) / 4,
        )
        return scores, votes

    def _couple(self, planner: Planner, decisions: Layout, rows: int) -> Layout:
        """Plan probabilities of the classes from the decisions by pairs."""
        *_, slopes, offsets = self._constants
        classes, pitch = len(self._model.counts), padded(rows)
        made = planner.allocate(None, (classes, pitch), "double")
        lanes = planner.target.lanes
        each = rows_per_chunk(rows, lanes, 400 * classes)
        fields: list[Argument] = [
            decisions, slopes, offsets, classes, made, pitch, rows, each
        ]  # fmt: skip
        planner.step(
            support.coupled_spec(),
            fields,
            -(-rows // each),
            [decisions],
            [made],
            support.coupled_scratch(classes, lanes),
            work=float(rows) * classes * classes * 8,
        )
        return made
