"""Operators of detection and spatial transformers: boxes, regions, grids, images."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._axes import ints, scalar
from runtime_ep_cpu.ops._grid_sample import grid_sample as sample

table = KernelTable()

BLOCK = 128
"""Candidates of a class whose overlaps are found at once, where there are many."""
FEW = 48
"""Candidates of a class, at most, that is gone through beside others."""


@table("NonMaxSuppression", since=10)
@np.errstate(all="ignore")
def non_max_suppression(
    boxes,
    scores,
    max_output_boxes_per_class=None,
    iou_threshold=None,
    score_threshold=None,
    /,
    *,
    center_point_box=0,
):
    """NonMaxSuppression-10/11: [picked, 3] of (batch, class, box), best scores first.

    ``boxes`` is [batch, boxes, 4] and ``scores`` [batch, classes, boxes]. Of equal
    scores the earlier box wins.
    """
    xp = namespace_of(boxes, scores)
    limit = int(_given(max_output_boxes_per_class, "max_output_boxes_per_class"))
    overlap = float(_given(iou_threshold, "iou_threshold"))
    if not 0 <= overlap <= 1:
        raise ValueError(f"iou_threshold must be in [0, 1], found {overlap}")
    least = None
    if score_threshold is not None and score_threshold.size:
        least = float(_given(score_threshold, "score_threshold"))
    _check_boxes(boxes, scores, center_point_box)
    picked = [np.zeros((0, 3), np.int64)]
    if limit > 0 and scores.size:
        hosted = _on_host(scores)
        for batch, image in enumerate(_on_host(boxes)):
            corners = _corners(image, center_point_box)
            kept = _of_classes(corners, hosted[batch], limit, overlap, least)
            picked.append(np.insert(kept, 0, batch, axis=1))
    return xp.asarray(np.concatenate(picked))


def _given(value: Any, name: str) -> Any:
    """Return a number that is 0 if it is absent or empty."""
    return 0 if value is None or not value.size else scalar(value, name)


def _check_boxes(boxes: Any, scores: Any, center: int) -> None:
    if boxes.ndim != 3 or boxes.shape[2] != 4:
        raise ValueError(f"boxes must be [batch, boxes, 4], found {list(boxes.shape)}")
    if scores.ndim != 3 or scores.shape[::2] != boxes.shape[:2]:
        raise ValueError(
            f"scores must be [batch, classes, boxes] for the same batches and boxes, "
            f"found {list(scores.shape)} for boxes {list(boxes.shape)}"
        )
    if center not in (0, 1):
        raise ValueError(f"center_point_box must be 0 or 1, found {center}")


def _corners(boxes: np.ndarray, center: int) -> np.ndarray:
    """Return [5, boxes]: the low and high corner of each box, and its area."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if center:
        first, second = first - second / 2, first + second / 2
    else:
        first, second = np.minimum(first, second), np.maximum(first, second)
    height, width = (second - first).T
    return np.stack([*first.T, *second.T, height * width])


def _of_classes(
    corners: np.ndarray,
    scores: np.ndarray,
    limit: int,
    overlap: float,
    least: float | None,
) -> np.ndarray:
    """Return [kept, 2] of (class, box), class by class, best scores first.

    Classes of few candidates, as nearly all are, are gone through side by side.
    """
    flat = scores.reshape(-1)
    chosen = np.arange(flat.size) if least is None else np.flatnonzero(flat > least)
    classes, boxes = np.divmod(chosen, scores.shape[1])
    order = np.lexsort((-flat[chosen], classes))
    boxes = boxes[order]
    counts = np.bincount(classes, minlength=len(scores))
    starts = np.cumsum(counts) - counts
    few = np.flatnonzero((counts > 0) & (counts <= FEW))
    found = [np.zeros((0, 2), np.int64)]
    if few.size:
        found.append(_side_by_side(corners, boxes, few, starts, counts, limit, overlap))
    for group in np.flatnonzero(counts > FEW):
        own = boxes[starts[group] : starts[group] + counts[group]]
        kept = _suppressed(corners, own, limit, overlap)
        found.append(np.stack([np.full(len(kept), group), kept], axis=1))
    whole = np.concatenate(found)
    return whole[np.argsort(whole[:, 0], kind="stable")]


def _side_by_side(
    corners: np.ndarray,
    boxes: np.ndarray,
    groups: np.ndarray,
    starts: np.ndarray,
    counts: np.ndarray,
    limit: int,
    overlap: float,
) -> np.ndarray:
    """Keep the best boxes of some groups, rank after rank; [kept, 2] of (group, box).

    A group's boxes are ``counts`` of ``boxes`` from its place in ``starts``, in order.
    """
    ranks = np.arange(counts[groups].max())
    alive = ranks < counts[groups, None]
    own = boxes[np.where(alive, starts[groups, None] + ranks, 0)]
    near = corners[:, own]
    dead = _overlapping(near, near, overlap)
    for rank in ranks[:-1]:
        alive[:, rank + 1 :] &= ~(dead[:, rank, rank + 1 :] & alive[:, rank, None])
    alive &= np.cumsum(alive, axis=1) <= limit
    return np.stack([groups[np.nonzero(alive)[0]], own[alive]], axis=1)


def _suppressed(
    corners: np.ndarray, order: np.ndarray, limit: int, overlap: float
) -> list[int]:
    """Keep the best boxes one after another, block by block of candidates in order.

    Which boxes of a block overlap is computed at once, as one bit mask per box.
    """
    kept: list[int] = []
    for first in range(0, len(order), BLOCK):
        block = order[first : first + BLOCK]
        if kept:
            earlier = _overlapping(corners[:, kept], corners[:, block], overlap)
            block = block[~earlier.any(axis=0)]
        near = corners[:, block]
        bits = np.packbits(_overlapping(near, near, overlap), axis=1, bitorder="little")
        dead = 0
        for place, box in enumerate(block.tolist()):
            if dead >> place & 1:
                continue
            kept.append(box)
            if len(kept) == limit:
                return kept
            dead |= int.from_bytes(bits[place].tobytes(), "little")
    return kept


def _overlapping(ones: np.ndarray, others: np.ndarray, overlap: float) -> np.ndarray:
    """Whether intersections over unions [ones, others] are above a threshold."""
    ones = ones[..., None]
    others = others[..., None, :]
    height = np.minimum(ones[2], others[2]) - np.maximum(ones[0], others[0])
    width = np.minimum(ones[3], others[3]) - np.maximum(ones[1], others[1])
    common = np.maximum(height, 0) * np.maximum(width, 0)
    union = ones[4] + others[4] - common
    real = (common > 0) & (ones[4] > 0) & (others[4] > 0) & (union > 0)
    return real & (common / np.where(real, union, 1) > overlap)


@table("RoiAlign", since=10)
def roi_align_10(
    x,
    rois,
    batch_indices,
    /,
    *,
    mode="avg",
    output_height=1,
    output_width=1,
    sampling_ratio=0,
    spatial_scale=1.0,
):
    """RoiAlign-10: coordinates are not shifted by half a pixel."""
    return roi_align(
        x,
        rois,
        batch_indices,
        coordinate_transformation_mode="output_half_pixel",
        mode=mode,
        output_height=output_height,
        output_width=output_width,
        sampling_ratio=sampling_ratio,
        spatial_scale=spatial_scale,
    )


@table("RoiAlign", since=16)
@np.errstate(all="ignore")
def roi_align(
    x,
    rois,
    batch_indices,
    /,
    *,
    coordinate_transformation_mode="half_pixel",
    mode="avg",
    output_height=1,
    output_width=1,
    sampling_ratio=0,
    spatial_scale=1.0,
):
    """RoiAlign-16/22: [regions, C, output_height, output_width] out of [N, C, H, W].

    With mode ``max`` the largest of the four *weighted* pixels of a point counts, not
    their sum: so do the standard's reference and onnxruntime.
    """
    xp = namespace_of(x)
    _check_regions(x, rois, batch_indices, coordinate_transformation_mode, mode)
    half = coordinate_transformation_mode == "half_pixel"
    regions = _on_host(rois).astype(np.float64) * spatial_scale - 0.5 * half
    shape = (len(rois), x.shape[1], output_height, output_width)
    check_size(shape, x.dtype)
    result = xp.zeros(shape, x.dtype)
    images = _on_host(batch_indices).tolist()
    for output, image, region in zip(result, images, regions, strict=True):
        x1, y1, x2, y2 = region.tolist()
        rows = _points(y1, y2, x.shape[2], output_height, sampling_ratio, half)
        columns = _points(x1, x2, x.shape[3], output_width, sampling_ratio, half)
        if rows is not None and columns is not None:
            (_average if mode == "avg" else _maximum)(x[image], rows, columns, output)
    return result


def _on_host(array: Any) -> np.ndarray:
    return array.get() if hasattr(array, "get") else np.asarray(array)


def _check_regions(x: Any, rois: Any, images: Any, coordinates: str, mode: str) -> None:
    if x.ndim != 4:
        raise ValueError(f"RoiAlign takes a 4-D input, found {x.ndim} dims")
    if rois.ndim != 2 or rois.shape[1] != 4 or images.shape != rois.shape[:1]:
        raise ValueError(
            f"rois must be [regions, 4] with one batch index each, found "
            f"{list(rois.shape)} and {list(images.shape)}"
        )
    if images.size and not (bool(((images >= 0) & (images < len(x))).all())):
        raise IndexError(f"batch_indices are outside the batch of {len(x)}")
    if coordinates not in ("half_pixel", "output_half_pixel"):
        raise ValueError(f"unknown coordinate_transformation_mode {coordinates!r}")
    if mode not in ("avg", "max"):
        raise ValueError(f"unknown RoiAlign mode {mode!r}")


def _points(
    start: float, end: float, length: int, bins: int, ratio: int, half: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return, per sampled coordinate [bins, samples], two pixels and their weights.

    The weights [2, bins, samples] are zero for points outside the image. ``None`` when
    the region is empty, hence without points.
    """
    size = end - start if half else max(end - start, 1.0)
    if not np.isfinite((start, end, size)).all():
        raise ValueError(f"a region from {start} to {end} is not finite")
    count = ratio if ratio > 0 else int(np.ceil(size / bins)) if bins else 0
    if count <= 0 or length == 0 or bins < 1:
        return None
    check_size((bins, count), np.float64)
    steps = np.arange(bins)[:, None] + (np.arange(count) + 0.5) / count
    where = start + steps * (size / bins)
    inside = (where >= -1) & (where <= length)
    where = where.clip(0, length - 1)
    low = np.floor(where).astype(np.int64)
    part = where - low
    weights = np.stack([1 - part, part]) * inside
    return low, np.minimum(low + 1, length - 1), weights


def _average(image: Any, rows: Any, columns: Any, output: Any) -> None:
    """Multiply the window of an image that a region sees by a matrix on each side."""
    xp = namespace_of(image)
    above, vertical = _window(rows, image.dtype)
    left, horizontal = _window(columns, image.dtype)
    window = image[:, above : above + vertical.shape[1]]
    window = window[:, :, left : left + horizontal.shape[1]]
    output[...] = xp.asarray(vertical) @ (window @ xp.asarray(horizontal).T)


def _window(points: Any, dtype: Any) -> tuple[int, np.ndarray]:
    """Return the first pixel seen and the mean weight [bins, pixels] of each."""
    low, high, weights = points
    first, last = int(low.min()), int(high.max())
    bins, count = low.shape
    matrix = np.zeros((bins, last - first + 1))
    bin_of = np.arange(bins)[:, None]
    np.add.at(matrix, (bin_of, low - first), weights[0] / count)
    np.add.at(matrix, (bin_of, high - first), weights[1] / count)
    return first, matrix.astype(dtype)


def _maximum(image: Any, rows: Any, columns: Any, output: Any) -> None:
    xp = namespace_of(image)
    bins, counts = zip(rows[0].shape, columns[0].shape, strict=True)
    check_size((len(image), rows[0].size, columns[0].size), image.dtype)
    best = None
    for row, down in zip(rows[:2], rows[2], strict=True):
        lines = image[:, xp.asarray(row.ravel())]
        for column, across in zip(columns[:2], columns[2], strict=True):
            weights = (down.reshape(-1, 1) * across.reshape(1, -1)).astype(image.dtype)
            part = lines[:, :, xp.asarray(column.ravel())] * xp.asarray(weights)
            best = part if best is None else xp.maximum(best, part)
    blocks = best.reshape(-1, bins[0], counts[0], bins[1], counts[1])
    output[...] = blocks.max(axis=(2, 4))


@table("GridSample", since=16, traits=("typed",))
def grid_sample_16(
    x, grid, /, *, align_corners=0, mode="bilinear", padding_mode="zeros"
):
    """GridSample-16: the modes were called ``bilinear`` and ``bicubic``."""
    names = {"bilinear": "linear", "bicubic": "cubic"}
    return sample(x, grid, names.get(mode, mode), padding_mode, bool(align_corners))


@table("GridSample", since=20, traits=("typed",))
def grid_sample(x, grid, /, *, align_corners=0, mode="linear", padding_mode="zeros"):
    """GridSample-20/22: any number of spatial axes; modes linear, nearest, cubic."""
    return sample(x, grid, mode, padding_mode, bool(align_corners))


@table("AffineGrid", since=20)
@np.errstate(all="ignore")
def affine_grid(theta, size, /, *, align_corners=0):
    """AffineGrid-20: [N, H, W, 2] or [N, D, H, W, 3] points under N affine maps."""
    xp = namespace_of(theta)
    sizes = ints(size)
    batch, lengths = sum(sizes[:1]), sizes[2:]
    rank = len(lengths)
    if rank not in (2, 3) or theta.shape != (batch, rank, rank + 1):
        raise ValueError(
            f"theta of shape {list(theta.shape)} does not fit the size {sizes}"
        )
    check_size((batch, *lengths, rank), theta.dtype)
    axes = [_centres(length, bool(align_corners)) for length in lengths]
    mesh = np.meshgrid(*axes, indexing="ij")
    points = np.stack([*mesh[::-1], np.ones_like(mesh[0])], axis=-1)
    flat = xp.asarray(points.reshape(-1, rank + 1).astype(theta.dtype))
    return (flat @ theta.transpose(0, 2, 1)).reshape(batch, *lengths, rank)


def _centres(length: int, corners: bool) -> np.ndarray:
    if corners and length > 1:
        return np.linspace(-1.0, 1.0, length)
    return (2 * np.arange(length) + 1) / max(length, 1) - 1


@table("ImageDecoder", since=20, traits=("moves",))
def image_decoder(encoded, /, *, pixel_format="RGB"):
    """ImageDecoder-20: the bytes of an image file to uint8 [H, W, channels]."""
    try:
        from PIL import Image
    except ImportError:
        raise ValueError("ImageDecoder needs Pillow: pip install pillow") from None
    kinds = {"RGB": "RGB", "BGR": "RGB", "Grayscale": "L"}
    if pixel_format not in kinds:
        raise ValueError(f"unknown pixel_format {pixel_format!r}")
    if encoded.ndim != 1:
        raise ValueError(f"an encoded image is 1-D, found {encoded.ndim} dims")
    try:
        opened = Image.open(io.BytesIO(_on_host(encoded).tobytes()))
    except OSError:
        raise ValueError(f"no known image format in {encoded.size} bytes") from None
    with opened as image:
        check_size((image.height, image.width, 3), np.uint8)
        pixels = np.asarray(image.convert(kinds[pixel_format]))
    if pixel_format == "BGR":
        return pixels[:, :, ::-1]
    return pixels[:, :, None] if pixel_format == "Grayscale" else pixels
