"""Random numbers, and Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from runtime.kernels import Call, KernelTable

from runtime_ep_cpu.dtypes import element_type, is_narrow
from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._legacy import with_consumed_inputs

table = KernelTable()

Source = np.random.Generator | np.random.RandomState
"""Where numbers come from; both kinds share the methods used here."""

_shared: np.random.Generator = np.random.default_rng()


def set_seed(seed: int) -> None:
    """Restart the numbers that nodes without a seed of their own draw."""
    global _shared
    _shared = np.random.default_rng(seed)


def _source(seed: float | None) -> Source:
    """The shared generator, or one that repeats itself for a node's seed.

    A seed restarts `RandomState`, whose sequences NumPy keeps for ever and which ONNX's
    own test cases use.
    """
    if seed is None or np.isnan(seed):
        return _shared
    if float(seed).is_integer():
        return np.random.RandomState(int(seed) % (1 << 32))
    return np.random.RandomState(int(np.float32(seed).view(np.uint32)))


def _normal(
    shape: Sequence[int], dtype: Any, mean: float, scale: float, seed: float | None
) -> Any:
    check_size(shape, np.float64)
    if not 0 <= scale < np.inf:
        raise ValueError(f"scale must be finite and not negative, found {scale}")
    with np.errstate(over="ignore"):
        return _source(seed).normal(mean, scale, tuple(shape)).astype(dtype)


def _uniform(
    shape: Sequence[int], dtype: Any, low: float, high: float, seed: float | None
) -> Any:
    check_size(shape, np.float64)
    if not np.isfinite(high - low):
        raise ValueError(f"low {low} and high {high} bound no finite range")
    with np.errstate(over="ignore"):
        return _source(seed).uniform(low, high, tuple(shape)).astype(dtype)


@table("RandomNormal", since=1, traits=("typed",))
def random_normal(
    *,
    shape: Sequence[int],
    dtype: int = 1,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
) -> Any:
    """RandomNormal."""
    return _normal(shape, element_type(dtype, "dtype"), mean, scale, seed)


@table("RandomUniform", since=1, traits=("typed",))
def random_uniform(
    *,
    shape: Sequence[int],
    dtype: int = 1,
    high: float = 1.0,
    low: float = 0.0,
    seed: float | None = None,
) -> Any:
    """RandomUniform."""
    return _uniform(shape, element_type(dtype, "dtype"), low, high, seed)


@table("RandomNormalLike", since=1, traits=("typed",))
def random_normal_like(
    x: Any,
    /,
    *,
    dtype: int | None = None,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
) -> Any:
    """RandomNormalLike: the input's shape, and its type unless another is given."""
    wanted = x.dtype if dtype is None else element_type(dtype, "dtype")
    return namespace_of(x).asarray(_normal(x.shape, wanted, mean, scale, seed))


@table("RandomUniformLike", since=1, traits=("typed",))
def random_uniform_like(
    x: Any,
    /,
    *,
    dtype: int | None = None,
    high: float = 1.0,
    low: float = 0.0,
    seed: float | None = None,
) -> Any:
    """RandomUniformLike: the input's shape, and its type unless another is given."""
    wanted = x.dtype if dtype is None else element_type(dtype, "dtype")
    return namespace_of(x).asarray(_uniform(x.shape, wanted, low, high, seed))


@table("Bernoulli", since=15, traits=("typed",))
def bernoulli(x: Any, /, *, dtype: int | None = None, seed: float | None = None) -> Any:
    """Bernoulli: one with the probability the input gives, else zero."""
    wanted = x.dtype if dtype is None else element_type(dtype, "dtype")
    probability = x.astype(np.float64)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("a probability lies outside of 0 … 1")
    xp = namespace_of(x)
    drawn = xp.asarray(_source(seed).uniform(size=x.shape))
    return xp.asarray(drawn < probability).astype(wanted)


@table("Multinomial", since=7, traits=("typed",))
def multinomial(
    x: Any, /, *, dtype: int = 6, sample_size: int = 1, seed: float | None = None
) -> Any:
    """Multinomial: (batch, classes) log-probabilities give (batch, samples) classes."""
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(
            f"the input must be (batch, classes), found shape {list(x.shape)}"
        )
    wanted = element_type(dtype, "dtype")
    check_size((len(x), sample_size), np.float64)
    xp = namespace_of(x)
    x = x.astype(np.float64)
    with np.errstate(all="ignore"):
        weights = xp.exp(x - x.max(axis=1, keepdims=True))
    if not xp.isfinite(weights).all():
        raise ValueError("a row has no class that could be drawn")
    bounds = xp.cumsum(weights, axis=1)
    drawn = xp.asarray(_source(seed).uniform(size=(len(x), sample_size)))
    drawn *= bounds[:, -1:]
    result = xp.empty(drawn.shape, wanted)
    for row in range(len(x)):
        result[row] = xp.searchsorted(bounds[row], drawn[row], side="right")
    return result


@table("Dropout", since=12, traits=("typed",))
def dropout(
    x: Any,
    ratio: Any = None,
    training_mode: Any = None,
    /,
    *,
    seed: int | None = None,
    call: Call,
) -> Any:
    """Dropout: in training mode, zeroes a ratio of the elements, scales the others."""
    share = 0.5 if ratio is None else float(ratio.item())
    training = training_mode is not None and bool(training_mode.item())
    if not training:
        share = 0.0
    return _dropped(x, share, seed, bool, call.outputs > 1)


@table("Dropout", since=10, traits=("moves",))
def dropout_10(x: Any, /, *, ratio: float = 0.5) -> Any:
    """Dropout of opset 10, for inference only: a copy and a mask of ones."""
    return x, namespace_of(x).ones(x.shape, bool)


@table("Dropout", since=7, traits=("moves",))
def dropout_7(x: Any, /, *, ratio: float = 0.5) -> Any:
    """Dropout of opset 7, for inference only: the mask has the data's type."""
    return x, namespace_of(x).ones_like(x)


@table("Dropout", since=6, traits=("typed",))
def dropout_6(x: Any, /, *, is_test: int = 0, ratio: float = 0.5, call: Call) -> Any:
    """Dropout of opset 1 and 6, which trains unless told otherwise."""
    share = 0.0 if is_test else ratio
    return _dropped(x, share, None, x.dtype, call.outputs > 1)


table("Dropout", since=1, traits=("typed",))(with_consumed_inputs(dropout_6))


def _dropped(
    x: Any, ratio: float, seed: int | None, mask_dtype: Any, with_mask: bool
) -> Any:
    if not 0 <= ratio < 1:
        raise ValueError(f"ratio must be at least 0 and below 1, found {ratio}")
    xp = namespace_of(x)
    if ratio == 0:
        return (x, xp.ones(x.shape, mask_dtype)) if with_mask else x
    kept = xp.asarray(_source(seed).uniform(size=x.shape) >= ratio)
    wide = x.astype(np.float32) if is_narrow(x) else x
    scaled = (wide * kept * (1 / (1 - ratio))).astype(x.dtype, copy=False)
    return (scaled, kept.astype(mask_dtype, copy=False)) if with_mask else scaled
