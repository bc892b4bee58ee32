"""A YOLOv8-like detector: CSP backbone, SPPF, two-way neck, decoded boxes, NMS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from .build import Builder
from .nodes import FLOAT, INT64
from .spelling import builder

STRIDES = (8, 16, 32)
BINS = 16


@dataclass(frozen=True)
class Config:
    """Widths, blocks per stage, thresholds, the class bias; full is YOLOv8n."""

    width: int
    depths: tuple[int, int, int, int]
    classes: int = 80
    image: int = 640
    most: int = 100
    overlap: float = 0.45
    score: float = 0.25
    prior: float = -8.0
    box_head: int = 64
    class_head: int = 80
    head_gain: float = 0.3


SIZES = {
    "full": Config(16, (1, 2, 2, 1)),
    "tiny": Config(4, (1, 1, 1, 1), 3, 64, 5, 0.45, 0.6, 0.0, 16, 16, 4.0),
}


def build(
    size: str = "tiny",
    spelling: str = "torchscript",
    opset: int = 0,
    seed: int = 0,
    **changes: Any,
) -> onnx.ModelProto:
    """Return the model; ``changes`` replace fields of its config."""
    c = replace(SIZES[size], **changes)
    b = builder("detector", spelling, opset, seed)
    x = b.input("images", FLOAT, "batch", 3, "height", "width")
    with b.scope("model"):
        levels = _neck(b, c, *_backbone(b, c, x))
        boxes, scores = _decode(b, c, [_head(b, c, i, x) for i, x in enumerate(levels)])
    _select(b, c, boxes, scores)
    return b.model()


def feeds(
    size: str = "tiny", batch: int = 1, seed: int = 0, **image: int
) -> dict[str, np.ndarray]:
    """Return pixels in [0, 1]; ``image`` may give height and width, multiples of 32."""
    edge = SIZES[size].image
    shape = batch, 3, image.get("height", edge), image.get("width", edge)
    return {"images": np.random.default_rng(seed).random(shape, np.float32)}


def _conv(
    b: Builder,
    name: str,
    x: str,
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
) -> str:
    with b.scope(name):
        return b.silu(b.conv("conv", x, inputs, outputs, kernel, stride, gain=1.57))


def _c2f(
    b: Builder, name: str, x: str, inputs: int, outputs: int, depth: int, adds: bool
) -> str:
    """Split, send one half through bottlenecks, join everything."""
    half = outputs // 2
    with b.scope(name):
        y = _conv(b, "cv1", x, inputs, outputs, 1)
        split = b.constant([half, half], INT64)
        parts = list(b.op("Split", y, split, outputs=2, axis=1))
        for i in range(depth):
            with b.scope(f"m.{i}"):
                y = _conv(b, "cv1", parts[-1], half, half)
                y = _conv(b, "cv2", y, half, half)
                parts.append(b.op("Add", parts[-1], y) if adds else y)
        y = b.op("Concat", *parts, axis=1)
        return _conv(b, "cv2", y, (2 + depth) * half, outputs, 1)


def _backbone(b: Builder, c: Config, x: str) -> tuple[str, str, str]:
    """Return the features at strides 8, 16 and 32."""
    width = c.width
    x = _conv(b, "model.0", x, 3, width, 3, 2)
    levels = []
    for i, depth in enumerate(c.depths):
        x = _conv(b, f"model.{2 * i + 1}", x, width, 2 * width, 3, 2)
        width *= 2
        x = _c2f(b, f"model.{2 * i + 2}", x, width, width, depth, True)
        levels.append(x)
    with b.scope("model.9"):
        parts = [_conv(b, "cv1", x, width, width // 2, 1)]
        for _ in range(3):
            parts.append(b.max_pool(parts[-1], 5, 1, 2))
        y = b.op("Concat", *parts, axis=1)
        return levels[1], levels[2], _conv(b, "cv2", y, 2 * width, width, 1)


def _neck(b: Builder, c: Config, p3: str, p4: str, p5: str) -> list[str]:
    """Mix the levels top-down, then bottom-up."""
    w3, w4, w5, depth = 4 * c.width, 8 * c.width, 16 * c.width, c.depths[0]
    with b.scope("model.10"):
        up = b.upsample(p5)
    x = b.op("Concat", up, p4, axis=1)
    middle = _c2f(b, "model.12", x, w5 + w4, w4, depth, False)
    with b.scope("model.13"):
        up = b.upsample(middle)
    x = b.op("Concat", up, p3, axis=1)
    small = _c2f(b, "model.15", x, w4 + w3, w3, depth, False)
    down = _conv(b, "model.16", small, w3, w3, 3, 2)
    x = b.op("Concat", down, middle, axis=1)
    middle = _c2f(b, "model.18", x, w3 + w4, w4, depth, False)
    down = _conv(b, "model.19", middle, w4, w4, 3, 2)
    x = b.op("Concat", down, p5, axis=1)
    return [small, middle, _c2f(b, "model.21", x, w4 + w5, w5, depth, False)]


def _head(b: Builder, c: Config, level: int, x: str) -> str:
    """Return box bins and class logits, side by side."""
    inputs = c.width * (4 << level)
    with b.scope("model.22"):
        branches = []
        for name, width, outputs, bias in (
            (f"cv2.{level}", c.box_head, 4 * BINS, 0.0),
            (f"cv3.{level}", c.class_head, c.classes, c.prior),
        ):
            y = _conv(b, f"{name}.0", x, inputs, width)
            y = _conv(b, f"{name}.1", y, width, width)
            y = b.conv(f"{name}.2", y, width, outputs, gain=c.head_gain, level=bias)
            branches.append(y)
        return b.op("Concat", *branches, axis=1)


def _decode(b: Builder, c: Config, heads: list[str]) -> tuple[str, str]:
    """Return boxes (batch, anchors, x y w h) and scores (batch, classes, anchors)."""
    with b.scope("model.22"):
        anchors, strides = _grid(b, heads)
        batch = b.dim(heads[0], 0, "batch")
        flat = [b.view(x, batch, 4 * BINS + c.classes, -1) for x in heads]
        y = b.op("Concat", *flat, axis=2)
        split = b.constant([4 * BINS, c.classes], INT64)
        bins, logits = b.op("Split", y, split, outputs=2, axis=1)
        with b.scope("dfl"):
            y = b.transpose(b.view(bins, batch, 4, BINS, -1), 0, 2, 1, 3)
            y = b.op("Softmax", y, axis=1)
            numbers = b.constant(np.arange(BINS).reshape(1, BINS, 1, 1))
            y = b.op("Conv", y, numbers, kernel_shape=[1, 1])
            y = b.view(y, batch, 4, -1)
        first = b.op("Sub", anchors, b.slice(y, 1, 0, 2))
        second = b.op("Add", anchors, b.slice(y, 1, 2, 4))
        centre = b.op("Div", b.op("Add", first, second), b.constant(2.0))
        extent = b.op("Sub", second, first)
        boxes = b.op("Mul", b.op("Concat", centre, extent, axis=1), strides)
        return b.transpose(boxes, 0, 2, 1), b.op("Sigmoid", logits)


def _grid(b: Builder, heads: list[str]) -> tuple[str, str]:
    """Return the anchors' centres (1, 2, anchors) and strides (1, 1, anchors)."""
    points, strides = [], []
    for x, stride in zip(heads, STRIDES, strict=True):
        height, width = b.size(x, 2), b.size(x, 3)
        dims = b.as_dim(height), b.as_dim(width)
        rows, columns = (
            b.op("Add", b.cast(b.arange(b.constant(0, INT64), n), FLOAT), half)
            for n, half in ((height, b.constant(0.5)), (width, b.constant(0.5)))
        )
        shape = b.join(*dims)
        parts = [
            b.view(b.op("Expand", part, shape), 1, 1, -1)
            for part in (b.view(columns, 1, -1), b.view(rows, -1, 1))
        ]
        points.append(b.op("Concat", *parts, axis=1))
        count = b.op("Mul", *dims)
        fill = onnx.numpy_helper.from_array(np.array([stride], FLOAT))
        strides.append(b.view(b.op("ConstantOfShape", count, value=fill), 1, 1, -1))
    return b.op("Concat", *points, axis=2), b.op("Concat", *strides, axis=2)


def _select(b: Builder, c: Config, boxes: str, scores: str) -> None:
    """Suppress overlapping boxes and gather those selected."""
    chosen = b.op(
        "NonMaxSuppression",
        boxes,
        scores,
        b.ints(c.most),
        b.constant([c.overlap]),
        b.constant([c.score]),
        center_point_box=1,
    )
    place = b.op("Gather", chosen, b.ints(0, 2), axis=1)
    y = b.op("GatherND", boxes, place)
    b.output(y, "boxes", "detections", 4)
    b.output(b.op("GatherND", scores, chosen), "scores", "detections")
    for column, name in enumerate(("images_of_boxes", "classes")):
        y = b.op("Gather", chosen, b.constant(column, INT64), axis=1)
        b.output(y, name, "detections", dtype=np.int64)
