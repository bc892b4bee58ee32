"""Linear models and support vector machines of ai.onnx.ml."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.ops._remembered import remembered
from runtime_ep_cpu.ops._scores import class_labels, logistic, rows_of, transformed
from runtime_ep_cpu.ops._support_vectors import coupled, machine, pairwise

table = KernelTable()

ML = "ai.onnx.ml"


@table("LinearRegressor", since=1, domain=ML)
@np.errstate(all="ignore")
def linear_regressor(
    x, /, *, coefficients=None, intercepts=None, post_transform="NONE", targets=1
):
    """LinearRegressor-1: float32 [rows, targets]."""
    scores = _linear(x, coefficients, intercepts, targets)
    return transformed(scores, post_transform).astype(np.float32, copy=False)


@table("LinearClassifier", since=1, domain=ML)
@np.errstate(all="ignore")
def linear_classifier(
    x,
    /,
    *,
    coefficients,
    classlabels_ints=None,
    classlabels_strings=None,
    intercepts=None,
    multi_class=0,
    post_transform="NONE",
):
    """LinearClassifier-1: labels [rows] and float32 scores [rows, classes].

    One row of coefficients may decide between two classes: it scores the second one.
    ``multi_class`` changes nothing, as in the other runtimes.
    """
    labels = class_labels(classlabels_ints, classlabels_strings)
    features = rows_of(x).shape[1]
    rows = max(1, len(coefficients) // max(1, features))
    scores = _linear(x, coefficients, intercepts, rows)
    if rows == 1 and len(labels) == 2:
        scores = np.concatenate([-scores, scores], axis=1)
    elif rows != len(labels):
        raise ValueError(f"{rows} rows of coefficients for {len(labels)} classes")
    best = labels[scores.argmax(axis=1)]
    if len(labels) == 1:
        other = 0 if labels.dtype == np.int64 else ""
        best = np.where(scores[:, 0] > 0, labels[0], other).astype(labels.dtype)
    scores = transformed(scores, post_transform)
    return best, scores.astype(np.float32, copy=False)


def _linear(x: Any, coefficients: Any, intercepts: Any, rows: int) -> np.ndarray:
    features = rows_of(x)
    wide = features if features.dtype == np.float32 else features.astype(np.float64)
    weights, offsets = _weights(coefficients, intercepts, rows)
    if weights.shape[1] != features.shape[1]:
        raise ValueError(
            f"the model has {weights.shape[1]} features, found {features.shape[1]}"
        )
    return wide @ weights.T.astype(wide.dtype, copy=False) + offsets


@remembered
def _weights(coefficients: Any, intercepts: Any, rows: int) -> Any:
    weights = np.asarray(coefficients or (), np.float32)
    offsets = np.asarray(intercepts or (0.0,), np.float32)
    if rows < 1 or not weights.size or weights.size % rows:
        raise ValueError(f"{weights.size} coefficients do not make {rows} rows")
    if offsets.size not in (1, rows):
        raise ValueError(f"{offsets.size} intercepts were given for {rows} results")
    return weights.reshape(rows, -1), offsets


@table("SVMRegressor", since=1, domain=ML)
@np.errstate(all="ignore")
def svm_regressor(
    x,
    /,
    *,
    coefficients=None,
    kernel_params=None,
    kernel_type="LINEAR",
    n_supports=0,
    one_class=0,
    post_transform="NONE",
    rho=None,
    support_vectors=None,
):
    """SVMRegressor-1: float32 [rows, 1]; with ``one_class`` inliers are 1, others -1.

    Without support vectors the model is linear, whatever the kernel.
    """
    model = machine(
        kernel_type, kernel_params, support_vectors, coefficients, rho, n_supports, 1
    )
    scores = model.kernels(rows_of(x)) @ model.weights[0] + model.rho[0]
    if one_class:
        scores = np.where(scores > 0, 1.0, -1.0)
    return transformed(scores[:, None], post_transform).astype(np.float32)


@table("SVMClassifier", since=1, domain=ML)
@np.errstate(all="ignore")
def svm_classifier(
    x,
    /,
    *,
    classlabels_ints=None,
    classlabels_strings=None,
    coefficients=None,
    kernel_params=None,
    kernel_type="LINEAR",
    post_transform="NONE",
    prob_a=None,
    prob_b=None,
    rho=None,
    support_vectors=None,
    vectors_per_class=None,
):
    """SVMClassifier-1: labels [rows], and probabilities (``prob_a``) or decisions.

    Every pair of classes votes for one of them. The decisions are [rows, pairs], for
    two classes [-d, d]. Without support vectors each class has a linear function.
    """
    labels = class_labels(classlabels_ints, classlabels_strings)
    counts = vectors_per_class or ()
    model = machine(
        kernel_type,
        kernel_params,
        support_vectors,
        coefficients,
        rho,
        int(sum(counts)),
        len(labels),
    )
    kernels = model.kernels(rows_of(x))
    if model.vectors is None:
        scores = kernels @ model.weights.T + model.rho[0]
        votes = scores
    else:
        if len(counts) != len(labels):
            raise ValueError(f"{len(counts)} vectors_per_class, {len(labels)} labels")
        scores, votes = pairwise(model, kernels, counts)
        if prob_a:
            scores = _likely(scores, prob_a, prob_b, len(labels))
    best = labels[votes.argmax(axis=1)]
    if scores.shape[1] == 1:
        scores = np.concatenate([-scores, scores], axis=1)
    return best, transformed(scores, post_transform).astype(np.float32)


def _likely(
    decisions: np.ndarray, slopes: Any, offsets: Any, classes: int
) -> np.ndarray:
    """Return class probabilities by Platt's sigmoids and pairwise coupling."""
    if not len(slopes) == len(offsets or ()) == decisions.shape[1]:
        raise ValueError(f"prob_a and prob_b need {decisions.shape[1]} values each")
    values = decisions * np.asarray(slopes) + np.asarray(offsets)
    return coupled(logistic(-values), classes)
