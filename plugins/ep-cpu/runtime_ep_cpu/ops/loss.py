"""Losses of classification: negative log likelihood and softmax cross entropy."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops.activation import log_softmax

table = KernelTable()

REDUCTIONS = ("mean", "none", "sum")


@table("NegativeLogLikelihoodLoss", since=12)
def negative_log_likelihood_loss(
    log_prob: Any,
    target: Any,
    weight: Any = None,
    /,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Any:
    """NegativeLogLikelihoodLoss of (N, C, …) log-probabilities for (N, …) classes."""
    return _loss(log_prob, target, weight, ignore_index, reduction)


@table("SoftmaxCrossEntropyLoss", since=12)
def softmax_cross_entropy_loss(
    scores: Any,
    labels: Any,
    weights: Any = None,
    /,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Any:
    """SoftmaxCrossEntropyLoss of (N, C, …) scores, and the log-probabilities."""
    if scores.ndim < 2:
        raise ValueError(f"scores must be (N, C, …), found shape {list(scores.shape)}")
    log_prob = log_softmax(scores, 1)
    return _loss(log_prob, labels, weights, ignore_index, reduction), log_prob


def _loss(
    log_prob: Any, target: Any, weight: Any, ignore_index: int | None, reduction: str
) -> Any:
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be mean, none or sum, found {reduction!r}")
    _check_shapes(log_prob, target, weight)
    xp = namespace_of(log_prob, target)
    ignored = None if ignore_index is None else target == ignore_index
    target = target if ignored is None else xp.where(ignored, 0, target)
    classes = log_prob.shape[1]
    if ((target < 0) | (target >= classes)).any():
        raise IndexError(f"a target lies outside of 0 … {classes - 1}")
    with np.errstate(all="ignore"):
        loss = -_chosen(log_prob, target)
        factor = None if weight is None else weight[target]
        if factor is not None:
            loss = loss * factor
        if ignored is not None:
            loss = xp.where(ignored, 0, loss)
            factor = xp.where(ignored, 0, 1 if factor is None else factor)
        return _reduced(loss, factor, reduction)


def _chosen(log_prob: Any, target: Any) -> Any:
    """The entry of each sample's own class: (N, C, …) and (N, …) give (N, …)."""
    xp = namespace_of(log_prob, target)
    places = xp.expand_dims(target, 1)
    return xp.squeeze(xp.take_along_axis(log_prob, places, axis=1), axis=1)


def _reduced(loss: Any, factor: Any, reduction: str) -> Any:
    """Sum the loss; its mean is relative to the sum of the factors applied."""
    if reduction == "none":
        return loss
    total = loss.sum(dtype=loss.dtype)
    if reduction == "sum":
        return total
    count = loss.size if factor is None else factor.sum(dtype=loss.dtype)
    return total / count


def _check_shapes(log_prob: Any, target: Any, weight: Any) -> None:
    found, wanted = list(target.shape), list(log_prob.shape)
    if log_prob.ndim < 2 or found != wanted[:1] + wanted[2:]:
        raise ValueError(f"targets of shape {found} do not fit scores of {wanted}")
    if weight is not None and list(weight.shape) != [log_prob.shape[1]]:
        raise ValueError(
            f"weights must be one per class ({log_prob.shape[1]}), "
            f"found shape {list(weight.shape)}"
        )
