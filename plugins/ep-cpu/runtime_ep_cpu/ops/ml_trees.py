"""Tree ensembles of ai.onnx.ml, prepared once per node and walked vectorised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.ops._ensembles import Ensemble, flat_ensemble, ints, pair_ensemble
from runtime_ep_cpu.ops._remembered import remembered
from runtime_ep_cpu.ops._scores import and_other, class_labels, transformed

table = KernelTable()

ML = "ai.onnx.ml"
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


@table("TreeEnsembleRegressor", since=1, domain=ML)
def tree_ensemble_regressor_1(
    x,
    /,
    *,
    aggregate_function="SUM",
    base_values=None,
    n_targets=None,
    nodes_falsenodeids=None,
    nodes_featureids=None,
    nodes_hitrates=None,
    nodes_missing_value_tracks_true=None,
    nodes_modes=None,
    nodes_nodeids=None,
    nodes_treeids=None,
    nodes_truenodeids=None,
    nodes_values=None,
    post_transform="NONE",
    target_ids=None,
    target_nodeids=None,
    target_treeids=None,
    target_weights=None,
):
    """TreeEnsembleRegressor-1: float32 [rows, n_targets]."""
    return tree_ensemble_regressor(
        x,
        aggregate_function=aggregate_function,
        base_values=base_values,
        n_targets=n_targets,
        nodes_falsenodeids=nodes_falsenodeids,
        nodes_featureids=nodes_featureids,
        nodes_missing_value_tracks_true=nodes_missing_value_tracks_true,
        nodes_modes=nodes_modes,
        nodes_nodeids=nodes_nodeids,
        nodes_treeids=nodes_treeids,
        nodes_truenodeids=nodes_truenodeids,
        nodes_values=nodes_values,
        post_transform=post_transform,
        target_ids=target_ids,
        target_nodeids=target_nodeids,
        target_treeids=target_treeids,
        target_weights=target_weights,
    )


@table("TreeEnsembleRegressor", since=3, domain=ML)
@np.errstate(all="ignore")
def tree_ensemble_regressor(
    x,
    /,
    *,
    aggregate_function="SUM",
    base_values=None,
    base_values_as_tensor=None,
    n_targets=None,
    nodes_falsenodeids=None,
    nodes_featureids=None,
    nodes_hitrates=None,
    nodes_hitrates_as_tensor=None,
    nodes_missing_value_tracks_true=None,
    nodes_modes=None,
    nodes_nodeids=None,
    nodes_treeids=None,
    nodes_truenodeids=None,
    nodes_values=None,
    nodes_values_as_tensor=None,
    post_transform="NONE",
    target_ids=None,
    target_nodeids=None,
    target_treeids=None,
    target_weights=None,
    target_weights_as_tensor=None,
):
    """TreeEnsembleRegressor-3: float64 tensors may take the place of float lists."""
    if not n_targets:
        raise ValueError("TreeEnsembleRegressor needs n_targets")
    ensemble = pair_ensemble(
        aggregate_function,
        n_targets,
        nodes_missing_value_tracks_true,
        _either(nodes_values, nodes_values_as_tensor),
        _either(target_weights, target_weights_as_tensor),
        nodes_treeids,
        nodes_nodeids,
        nodes_featureids,
        nodes_modes,
        nodes_truenodeids,
        nodes_falsenodeids,
        target_treeids,
        target_nodeids,
        target_ids,
    )
    scores = ensemble.scores(x)
    scores += _base(_either(base_values, base_values_as_tensor), n_targets)
    return transformed(scores, post_transform).astype(np.float32)


@table("TreeEnsembleClassifier", since=1, domain=ML)
def tree_ensemble_classifier_1(
    x,
    /,
    *,
    base_values=None,
    class_ids=None,
    class_nodeids=None,
    class_treeids=None,
    class_weights=None,
    classlabels_int64s=None,
    classlabels_strings=None,
    nodes_falsenodeids=None,
    nodes_featureids=None,
    nodes_hitrates=None,
    nodes_missing_value_tracks_true=None,
    nodes_modes=None,
    nodes_nodeids=None,
    nodes_treeids=None,
    nodes_truenodeids=None,
    nodes_values=None,
    post_transform="NONE",
):
    """TreeEnsembleClassifier-1: labels [rows] and float32 scores [rows, classes]."""
    return tree_ensemble_classifier(
        x,
        base_values=base_values,
        class_ids=class_ids,
        class_nodeids=class_nodeids,
        class_treeids=class_treeids,
        class_weights=class_weights,
        classlabels_int64s=classlabels_int64s,
        classlabels_strings=classlabels_strings,
        nodes_falsenodeids=nodes_falsenodeids,
        nodes_featureids=nodes_featureids,
        nodes_missing_value_tracks_true=nodes_missing_value_tracks_true,
        nodes_modes=nodes_modes,
        nodes_nodeids=nodes_nodeids,
        nodes_treeids=nodes_treeids,
        nodes_truenodeids=nodes_truenodeids,
        nodes_values=nodes_values,
        post_transform=post_transform,
    )


@table("TreeEnsembleClassifier", since=3, domain=ML)
@np.errstate(all="ignore")
def tree_ensemble_classifier(
    x,
    /,
    *,
    base_values=None,
    base_values_as_tensor=None,
    class_ids=None,
    class_nodeids=None,
    class_treeids=None,
    class_weights=None,
    class_weights_as_tensor=None,
    classlabels_int64s=None,
    classlabels_strings=None,
    nodes_falsenodeids=None,
    nodes_featureids=None,
    nodes_hitrates=None,
    nodes_hitrates_as_tensor=None,
    nodes_missing_value_tracks_true=None,
    nodes_modes=None,
    nodes_nodeids=None,
    nodes_treeids=None,
    nodes_truenodeids=None,
    nodes_values=None,
    nodes_values_as_tensor=None,
    post_transform="NONE",
):
    """TreeEnsembleClassifier-3: float64 tensors may take the place of float lists."""
    labels = class_labels(classlabels_int64s, classlabels_strings)
    weights = _either(class_weights, class_weights_as_tensor)
    ensemble = pair_ensemble(
        "SUM",
        len(labels),
        nodes_missing_value_tracks_true,
        _either(nodes_values, nodes_values_as_tensor),
        weights,
        nodes_treeids,
        nodes_nodeids,
        nodes_featureids,
        nodes_modes,
        nodes_truenodeids,
        nodes_falsenodeids,
        class_treeids,
        class_nodeids,
        class_ids,
    )
    scores = ensemble.scores(x)
    scores += _base(_either(base_values, base_values_as_tensor), len(labels))
    scores = scores.astype(np.float32)
    if len(labels) <= 2:
        signs = _signs(class_ids, weights)
        if len(signs.classes) == 1:
            return _binary(scores, labels, signs, post_transform)
    scores = transformed(scores, post_transform)
    return labels[scores.argmax(axis=1)], scores.astype(np.float32, copy=False)


class Signs(NamedTuple):
    """Which classes get votes at all, and whether none of them is negative."""

    classes: tuple[int, ...]
    positive: bool

    def are_probabilities(self, post_transform: str) -> bool:
        """Whether the votes for one of two classes are its probability, no margin."""
        return self.positive and post_transform in ("NONE", "PROBIT")


@remembered
def _signs(class_ids: Any, weights: Any) -> Signs:
    found = tuple(int(c) for c in np.unique(ints(class_ids)))
    return Signs(found, bool((np.asarray(weights, np.float64) >= 0).all()))


def _binary(
    scores: np.ndarray, labels: np.ndarray, signs: Signs, post_transform: str
) -> tuple[np.ndarray, np.ndarray]:
    """Complete the scores of two classes of which only one gets votes.

    The standard says nothing of it. As in onnxruntime the votes for class 0 are then
    the score of the *second* class: a probability if no vote is negative, a margin
    otherwise or where LOGISTIC or SOFTMAX follow.
    """
    voted = signs.classes[0]
    score = scores[:, voted]
    probable = signs.are_probabilities(post_transform)
    chosen = score > (0.5 if probable else 0)
    if len(labels) == 1:
        labels = and_other(labels)
        chosen = score > 0
    elif voted == 0:
        other = 1 - score if probable else -score
        scores = np.stack([other, score], axis=1)
    scores = transformed(scores, post_transform).astype(np.float32, copy=False)
    return labels[chosen.astype(np.int64)], scores


@table("TreeEnsemble", since=5, domain=ML)
@np.errstate(all="ignore")
def tree_ensemble(
    x,
    /,
    *,
    leaf_targetids,
    leaf_weights,
    nodes_falseleafs,
    nodes_falsenodeids,
    nodes_featureids,
    nodes_modes,
    nodes_splits,
    nodes_trueleafs,
    nodes_truenodeids,
    tree_roots,
    aggregate_function=1,
    membership_values=None,
    n_targets=None,
    nodes_hitrates=None,
    nodes_missing_value_tracks_true=None,
    post_transform=0,
):
    """TreeEnsemble-5: [rows, n_targets] of the input's type; leaves stand apart."""
    if not 0 <= post_transform < len(TRANSFORMS):
        raise ValueError(f"unknown post_transform {post_transform}")
    ensemble = flat_ensemble(
        aggregate_function,
        n_targets,
        leaf_targetids,
        leaf_weights,
        nodes_falseleafs,
        nodes_falsenodeids,
        nodes_featureids,
        nodes_modes,
        nodes_splits,
        nodes_trueleafs,
        nodes_truenodeids,
        tree_roots,
        membership_values,
        nodes_missing_value_tracks_true,
    )
    scores = transformed(ensemble.scores(x), TRANSFORMS[post_transform])
    return scores.astype(x.dtype, copy=False)


class Meaning(NamedTuple):
    """What the attributes of a node say, for whoever else runs it.

    ``labels`` are a classifier's; ``signs`` are told where one of two classes is voted
    for, and the scores are to be completed.
    """

    ensemble: Ensemble
    base: np.ndarray
    post_transform: str
    labels: np.ndarray | None = None
    signs: Signs | None = None

    @property
    def all_labels(self) -> np.ndarray | None:
        """The labels by class, with the one of those that are not in a single class."""
        if self.labels is None or self.signs is None or len(self.labels) > 1:
            return self.labels
        return and_other(self.labels)


def _meant_by_regressor(given: Mapping[str, Any]) -> Meaning:
    targets = given.get("n_targets")
    if not targets:
        raise ValueError("TreeEnsembleRegressor needs n_targets")
    aggregate = given.get("aggregate_function", "SUM")
    ensemble = _of_pairs(given, "target", targets, aggregate)
    return Meaning(ensemble, _bases(given, targets), _transform(given))


def _meant_by_classifier(given: Mapping[str, Any]) -> Meaning:
    labels = class_labels(
        given.get("classlabels_int64s"), given.get("classlabels_strings")
    )
    ensemble = _of_pairs(given, "class", len(labels), "SUM")
    signs = None
    if len(labels) <= 2:
        found = _signs(given.get("class_ids"), _weights(given, "class"))
        signs = found if len(found.classes) == 1 else None
    bases = _bases(given, len(labels))
    return Meaning(ensemble, bases, _transform(given), labels, signs)


def _meant_by_ensemble(given: Mapping[str, Any]) -> Meaning:
    number = given.get("post_transform", 0)
    if not 0 <= number < len(TRANSFORMS):
        raise ValueError(f"unknown post_transform {number}")
    ensemble = flat_ensemble.__wrapped__(
        given.get("aggregate_function", 1),
        given.get("n_targets"),
        *(given.get(name) for name in _FLAT),
    )
    return Meaning(ensemble, np.zeros(1), TRANSFORMS[number])


_FLAT = (
    "leaf_targetids", "leaf_weights", "nodes_falseleafs", "nodes_falsenodeids",
    "nodes_featureids", "nodes_modes", "nodes_splits", "nodes_trueleafs",
    "nodes_truenodeids", "tree_roots", "membership_values",
    "nodes_missing_value_tracks_true",
)  # fmt: skip
_PAIRED = (
    "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_modes",
    "nodes_truenodeids", "nodes_falsenodeids",
)  # fmt: skip

READERS: dict[str, Callable[[Mapping[str, Any]], Meaning]] = {
    "TreeEnsembleRegressor": _meant_by_regressor,
    "TreeEnsembleClassifier": _meant_by_classifier,
    "TreeEnsemble": _meant_by_ensemble,
}
"""By operator, what reads a node's attributes, tensors as arrays; ``ValueError`` for those
that make no sense."""


def _of_pairs(
    given: Mapping[str, Any], votes: str, targets: int, aggregate: str
) -> Ensemble:
    """Prepare trees that are not kept here: who asks keeps what it makes of them."""
    splits = _either(given.get("nodes_values"), given.get("nodes_values_as_tensor"))
    return pair_ensemble.__wrapped__(
        aggregate,
        targets,
        given.get("nodes_missing_value_tracks_true"),
        splits,
        _weights(given, votes),
        *(given.get(name) for name in _PAIRED),
        *(given.get(f"{votes}_{name}") for name in ("treeids", "nodeids", "ids")),
    )


def _weights(given: Mapping[str, Any], votes: str) -> Any:
    names = f"{votes}_weights", f"{votes}_weights_as_tensor"
    return _either(*(given.get(name) for name in names))


def _bases(given: Mapping[str, Any], count: int) -> np.ndarray:
    values, tensor = given.get("base_values"), given.get("base_values_as_tensor")
    return _base(_either(values, tensor), count)


def _transform(given: Mapping[str, Any]) -> str:
    return str(given.get("post_transform", "NONE"))


def _either(numbers: Any, tensor: Any) -> Any:
    return numbers if tensor is None or not tensor.size else tensor


def _base(values: Any, count: int) -> np.ndarray:
    base = np.asarray(() if values is None else values, np.float64)
    if base.size not in (0, 1, count):
        raise ValueError(f"{base.size} base values were given for {count} scores")
    return base if base.size else np.zeros(1)
