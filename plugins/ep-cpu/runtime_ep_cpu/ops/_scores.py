"""Turns the scores of ai.onnx.ml models into probabilities and class labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

NEGLIGIBLE = 1e-7
ERF_CONSTANT = 0.147


def logistic(scores: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(scores))
    return np.where(scores < 0, small, 1) / (1 + small)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return the softmax of each row."""
    if not scores.size:
        return scores
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def softmax_zero(scores: np.ndarray) -> np.ndarray:
    """Return the softmax of each row in which zeros stay (almost) zero."""
    if not scores.size:
        return scores
    highest = scores.max(axis=-1, keepdims=True)
    zero = np.abs(scores) <= NEGLIGIBLE
    raised = np.where(zero, scores * np.exp(-highest), np.exp(scores - highest))
    total = raised.sum(axis=-1, keepdims=True)
    return np.where(total == 0, 0.5, raised / np.where(total == 0, 1, total))


def probit(scores: np.ndarray) -> np.ndarray:
    """Return the normal quantile by the closed formula that every runtime uses.

    Winitzki's approximation is off by up to 0.002; outside of (0, 1) it is NaN.
    """
    x = 2 * scores - 1
    log = np.log((1 - x) * (1 + x))
    half = 2 / (np.pi * ERF_CONSTANT) + log / 2
    root = np.sqrt(np.sqrt(half * half - log / ERF_CONSTANT) - half)
    return np.sqrt(2) * np.sign(x) * root


TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "NONE": lambda scores: scores,
    "SOFTMAX": softmax,
    "LOGISTIC": logistic,
    "SOFTMAX_ZERO": softmax_zero,
    "PROBIT": probit,
}


def transformed(scores: np.ndarray, post_transform: str) -> np.ndarray:
    """Apply a ``post_transform`` to scores [rows, classes]."""
    if post_transform not in TRANSFORMS:
        raise ValueError(f"unknown post_transform {post_transform!r}")
    return TRANSFORMS[post_transform](scores)


def class_labels(ints: Any, strings: Any) -> np.ndarray:
    """Return the labels a classifier was given, as int64 or as strings."""
    if bool(ints) == bool(strings):
        raise ValueError("a classifier needs either integer or string class labels")
    if ints:
        return np.array(ints, np.int64)
    return np.array(strings, object)


def and_other(labels: np.ndarray) -> np.ndarray:
    """Return the label of what is not in a single class, and that of the class."""
    other = np.array([0 if labels.dtype == np.int64 else ""], labels.dtype)
    return np.concatenate([other, labels])


def rows_of(x: Any) -> Any:
    """Return features as [rows, features]; one row may come without its dim."""
    if x.ndim == 1:
        return x[None]
    if x.ndim != 2:
        raise ValueError(f"features are [rows, features], found {list(x.shape)}")
    return x
