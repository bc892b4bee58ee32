"""Images of other sizes, and images sampled at given places."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime_ep_cpu.ops.resize import resize as resized

from runtime_ep_coreml.guards import attribute, constant, floating, ranks, sized
from runtime_ep_coreml.scope import Handle, Refused, Scope
from runtime_ep_coreml.table import lowers

SHAPES = {
    "coordinate_transformation_mode": "half_pixel", "cubic_coeff_a": -0.75,
    "exclude_outside": 0, "mode": "nearest", "nearest_mode": "round_prefer_floor",
    "antialias": 0,
}  # fmt: skip
"""The attributes of Resize that say how pixels are weighed, and their defaults."""


@lowers(
    "Resize",
    guards=(
        floating,
        constant(2, 3),
        sized(0),
        attribute("keep_aspect_ratio_policy", None, "stretch"),
    ),
    since=11,
)
def resize(at: Scope) -> Handle:
    """Along one axis after the other, by indices or by a matrix of weights.

    A resize is linear in the pixels, so that its matrix is the image of the identity:
    every mode and every kind of coordinates is exactly ONNX's.
    """
    if at.attr("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise Refused("tf_crop_and_resize is not supported")
    x = at.x()
    rank = at.rank(x)
    axes = [axis % rank for axis in at.attr("axes") or range(rank)]
    factors, lengths = at.known(2), at.known(3)
    by_factors = factors is not None and factors.size > 0
    given = factors if by_factors else lengths
    if given is None or not given.size:
        raise Refused("neither scales nor sizes are given")
    method = {name: at.attr(name, default) for name, default in SHAPES.items()}
    made = x
    for axis, number in zip(axes, given, strict=True):
        made = _along(at, made, axis, number, by_factors, method)
    return made if made is not x else at.op("identity", x=x)


def _along(
    at: Scope,
    x: Handle,
    axis: int,
    number: Any,
    by_factor: bool,
    method: dict[str, Any],
) -> Handle:
    size = at.fixed(x)[axis]
    if number == (1 if by_factor else size):
        return x
    matrix = _matrix(size, number, by_factor, method)
    if method["mode"] == "nearest":
        places = matrix.argmax(axis=1).astype(np.int32)
        return at.op("gather", x=x, indices=at.constant(places), axis=axis)
    return _weighed(at, x, axis, matrix)


def _matrix(
    size: int, number: Any, by_factor: bool, method: dict[str, Any]
) -> np.ndarray[Any, Any]:
    """Return the weights of old pixels (columns) in new ones (rows)."""
    image = np.eye(size, dtype=np.float64)
    kind = {"scales": np.array([number, 1.0], np.float32)}
    if not by_factor:
        kind = {"sizes": np.array([number, size], np.int64)}
    roi = None
    found = resized(image, roi, kind.get("scales"), kind.get("sizes"), **method)
    return np.asarray(found)


def _weighed(at: Scope, x: Handle, axis: int, matrix: np.ndarray[Any, Any]) -> Handle:
    """Multiply a matrix onto one axis."""
    last = at.rank(x) - 1
    weights = at.constant(matrix, like=x)
    if axis == last - 1:
        return at.op("matmul", x=weights, y=x)
    perm = [a for a in range(last + 1) if a != axis] + [axis]
    moved = at.op("matmul", x=at.transpose(x, perm), y=weights, transpose_y=True)
    return at.transpose(moved, [int(place) for place in np.argsort(perm)])


SAMPLING = {"linear": "bilinear", "bilinear": "bilinear", "nearest": "nearest"}
PADDING = {"zeros": "constant", "border": "border", "reflection": "reflection"}


@lowers("GridSample", guards=(floating, ranks(4, 4)), since=16)
def grid_sample(at: Scope) -> Handle:
    """Pixels at given places, blended."""
    x, mode = at.x(), at.attr("mode", "linear")
    if SAMPLING.get(mode) != "bilinear":
        raise Refused(f"mode={mode!r} is not supported")
    padding, align = at.attr("padding_mode", "zeros"), at.attr("align_corners", 0)
    if padding == "reflection" and not align:
        raise Refused(
            "reflection about the edges of the corner pixels is not supported"
        )
    return at.op(
        "resample", x=x, coordinates=at.x(1), sampling_mode="bilinear",
        padding_mode=PADDING[padding],
        padding_value=at.like(x, 0), coordinates_mode="normalized_minus_one_to_one",
        align_corners=bool(align),
    )  # fmt: skip
