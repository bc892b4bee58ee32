"""Normalizations: over batches, instances, groups, layers and channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime_ep_coreml.guards import attribute, floating, outputs, ranks
from runtime_ep_coreml.scope import Handle, Refused, Scope
from runtime_ep_coreml.table import lowers


@lowers(
    "BatchNormalization",
    guards=(floating, attribute("training_mode", None, 0), outputs(1, "training")),
    since=7,
)
def batch(at: Scope) -> Handle:
    """Each channel by a mean and variance that are given."""
    x = at.x()
    epsilon = at.like(x, at.attr("epsilon", 1e-5))
    parts = [at.known(index) for index in range(1, 5)]
    if all(part is not None for part in parts) and at.rank(x) >= 3:
        gamma, beta, mean, variance = (np.asarray(part) for part in parts)
        return at.op(
            "batch_norm", x=x, mean=_as(at, x, mean), variance=_as(at, x, variance),
            gamma=_as(at, x, gamma), beta=_as(at, x, beta), epsilon=epsilon,
        )  # fmt: skip
    shape = [1, -1] + [1] * (at.rank(x) - 2)
    if at.rank(x) < 2:
        raise Refused("rank 1 is not supported")
    scale, bias, centre, spread = (
        at.reshape(at.cast(at.x(index), at.kind(x)), shape) for index in range(1, 5)
    )
    width = at.op("sqrt", x=at.op("add", x=spread, y=epsilon))
    unit = at.op("real_div", x=at.op("sub", x=x, y=centre), y=width)
    return at.op("add", x=at.op("mul", x=unit, y=scale), y=bias)


def _as(at: Scope, x: Handle, array: Any) -> Any:
    return np.asarray(array).astype(np.float16 if at.kind(x) == "fp16" else np.float32)


def _centred(at: Scope, x: Handle, axes: list[int]) -> tuple[Handle, Handle]:
    """Return a value less its mean along axes, and the mean."""
    mean = at.op("reduce_mean", x=x, axes=axes, keep_dims=True)
    return at.op("sub", x=x, y=mean), mean


def _shrink(at: Scope, x: Handle, axes: list[int]) -> Handle | None:
    """Return what halves are multiplied by, so that no square leaves their range."""
    if not at.emitter.halves and at.kind(x) != "fp16":
        return None
    size = at.op("reduce_max", x=at.op("abs", x=x), axes=axes, keep_dims=True)
    at_least_one = at.op("maximum", x=size, y=at.like(x, 1))
    return at.op("real_div", x=at.constant(1, like=x), y=at_least_one)


def _over_width(
    at: Scope, x: Handle, axes: list[int], epsilon: float
) -> tuple[Handle, Handle]:
    """Return a value over the root of its mean square, and one over that root."""
    shrink = _shrink(at, x, axes)
    small, more = x, at.like(x, epsilon)
    if shrink is not None:
        small = at.op("mul", x=x, y=shrink)
        more = at.op("mul", x=at.op("mul", x=shrink, y=more), y=shrink)
    mean = _mean_square(at, small, axes)
    root = at.op("sqrt", x=at.op("add", x=mean, y=more))
    inverse = at.op("real_div", x=at.constant(1, like=x), y=root)
    unit = at.op("mul", x=small, y=inverse)
    return unit, inverse if shrink is None else at.op("mul", x=inverse, y=shrink)


def _mean_square(at: Scope, x: Handle, axes: list[int]) -> Handle:
    square = at.op("square", x=x)
    return at.op("reduce_mean", x=square, axes=axes, keep_dims=True)


def _stashed(at: Scope, x: Handle) -> Handle:
    """Return a value in the type in which means and widths are computed."""
    return at.cast(x, "fp32") if at.attr("stash_type", 1) == 1 else x


@lowers("InstanceNormalization", guards=(floating, ranks(3)), since=6)
def instance(at: Scope) -> Handle:
    """Each channel of each image by its own mean and variance."""
    x = at.x()
    epsilon = at.attr("epsilon", 1e-5)
    gamma, beta = at.known(1), at.known(2)
    if gamma is not None and beta is not None and at.rank(x) <= 4:
        return at.op(
            "instance_norm", x=x, gamma=_as(at, x, gamma), beta=_as(at, x, beta),
            epsilon=at.like(x, epsilon),
        )  # fmt: skip
    axes = list(range(2, at.rank(x)))
    unit, _ = _over_width(at, _centred(at, x, axes)[0], axes, epsilon)
    shape = [1, -1] + [1] * (at.rank(x) - 2)
    scaled = at.op("mul", x=unit, y=at.reshape(at.x(1), shape))
    return at.op("add", x=scaled, y=at.reshape(at.x(2), shape))


@lowers("LayerNormalization", guards=(floating, ranks(1)), since=17)
def layer(at: Scope) -> Any:
    """Along the last axes."""
    x = at.x()
    axes = list(range(at.axis(x, -1), at.rank(x)))
    epsilon = at.attr("epsilon", 1e-5)
    if at.wanted(1) or at.wanted(2):
        return _layer_in_parts(at, x, axes, epsilon)
    shape = at.sizes(x)[axes[0] :]
    given: dict[str, Any] = {}
    gamma, beta = at.known(1), at.known(2)
    whole = (
        None not in shape and gamma is not None and (beta is not None or not at.has(2))
    )
    if whole:
        given["gamma"] = _as(at, x, np.broadcast_to(gamma, shape))  # type: ignore[arg-type]
        if beta is not None:
            given["beta"] = _as(at, x, np.broadcast_to(beta, shape))  # type: ignore[arg-type]
    made = at.op("layer_norm", x=x, axes=axes, epsilon=at.like(x, epsilon), **given)
    return made if whole else _scaled(at, made)


def _scaled(at: Scope, unit: Handle) -> Handle:
    made = at.op("mul", x=unit, y=at.x(1)) if at.has(1) else unit
    return at.op("add", x=made, y=at.x(2)) if at.has(2) else made


def _layer_in_parts(
    at: Scope, x: Handle, axes: list[int], epsilon: float
) -> tuple[Handle, Handle, Handle]:
    centred, mean = _centred(at, _stashed(at, x), axes)
    unit, inverse = _over_width(at, centred, axes, epsilon)
    return _scaled(at, at.cast(unit, at.kind(x))), mean, inverse


@lowers("GroupNormalization", guards=(floating, ranks(3)), since=21)
def group(at: Scope) -> Handle:
    """Groups of channels by their own mean and variance, channels scaled."""
    x = at.x()
    rank, groups = at.rank(x), at.attr("num_groups")
    channels = at.sizes(x)[1]
    if channels is None:
        raise Refused("the number of channels must be known")
    batch_size = at.size(x, 0)
    grouped = at.into(x, [batch_size, groups, channels // groups, -1])
    centred, _ = _centred(at, _stashed(at, grouped), [2, 3])
    unit, _ = _over_width(at, centred, [2, 3], at.attr("epsilon", 1e-5))
    sizes = [at.size(x, axis) for axis in range(rank)]
    back = at.into(at.cast(unit, at.kind(x)), sizes)
    shape = [1, -1] + [1] * (rank - 2)
    scaled = at.op("mul", x=back, y=at.reshape(at.x(1), shape))
    return at.op("add", x=scaled, y=at.reshape(at.x(2), shape))


@lowers("RMSNormalization", guards=(floating, ranks(1)))
def root_mean_square(at: Scope) -> Handle:
    """Along the last axes, by the root of the mean square; in float32 where said so."""
    given = at.x()
    kind = at.kind(given)
    x = _stashed(at, given)
    axes = list(range(at.axis(x, -1), at.rank(x)))
    unit, _ = _over_width(at, x, axes, at.attr("epsilon", 1e-5))
    return at.op("mul", x=at.cast(unit, kind), y=at.cast(at.x(1), kind))


@lowers("MeanVarianceNormalization", guards=(floating, ranks(1)), since=9)
def mean_variance(at: Scope) -> Handle:
    """Along given axes, the width made a little larger than it is."""
    x = at.x()
    axes = [axis % at.rank(x) for axis in at.attr("axes") or [0, 2, 3]]
    centred, _ = _centred(at, x, axes)
    shrink, more = _shrink(at, centred, axes), at.like(x, 1e-9)
    if shrink is not None:
        centred = at.op("mul", x=centred, y=shrink)
        more = at.op("mul", x=shrink, y=more)
    width = at.op("sqrt", x=_mean_square(at, centred, axes))
    slightly = at.op("add", x=width, y=more)
    return at.op("real_div", x=centred, y=slightly)


@lowers("LpNormalization", guards=(floating, ranks(1), attribute("p", None, 1, 2)))
def norm(at: Scope) -> Handle:
    """By the norm along an axis; what has none stays zero."""
    x = at.x()
    kind = "reduce_l1_norm" if at.attr("p", 2) == 1 else "reduce_l2_norm"
    size = at.op(kind, x=x, axes=[at.axis(x, -1)], keep_dims=True)
    nothing = at.cast(at.op("equal", x=size, y=at.like(x, 0)), at.kind(x))
    return at.op("real_div", x=x, y=at.op("add", x=size, y=nothing))


@lowers("LRN", guards=(floating, ranks(3, 4)))
def local_response(at: Scope) -> Handle:
    """By the squares of the neighbouring channels."""
    x, size = at.x(), at.attr("size")
    if size % 2 == 0:
        raise Refused("an even number of neighbours is not supported")
    return at.op(
        "local_response_norm", x=x, size=size, alpha=at.like(x, at.attr("alpha", 1e-4)),
        beta=at.like(x, at.attr("beta", 0.75)), k=at.like(x, at.attr("bias", 1.0)),
    )  # fmt: skip
