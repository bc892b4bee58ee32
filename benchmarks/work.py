"""The arithmetic and the bytes that a model cannot do without, counted on a real run.

usage: python -m benchmarks.work MODEL.onnx FEED.npz
Prints ``{"flops": …, "by_operator": …, "weight_bytes": …, "input_bytes": …}``. Shapes come
from onnxruntime's profile of one run without any optimisation, so that every node of the
file is there under its own name.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

Shape = Sequence[int]


def matmul(inputs: Sequence[Shape], output: Shape) -> int:
    """Two operations for every element of the output and of the inner axis."""
    return 2 * math.prod(output) * inputs[0][-1]


def gemm(inputs: Sequence[Shape], output: Shape) -> int:
    """As a product: the inner axis is what the first input has beside the rows."""
    return 2 * math.prod(inputs[0]) * output[-1]


def conv(inputs: Sequence[Shape], output: Shape) -> int:
    """Two operations for every output element and weight of one output channel."""
    return 2 * math.prod(output) * math.prod(inputs[1][1:])


def conv_transpose(inputs: Sequence[Shape], output: Shape) -> int:
    """Two operations for every input element and weight of one input channel."""
    return 2 * math.prod(inputs[0]) * math.prod(inputs[1][1:])


def attention(inputs: Sequence[Shape], output: Shape) -> int:
    """Scores and weighted values of 4-D queries (batch, heads, queries, size)."""
    query, key, value = inputs[:3]
    if len(query) != 4:
        return 0
    rows = math.prod(query[:3]) * key[2]
    return 2 * rows * (query[3] + value[3])


COUNTED = {
    "MatMul": matmul,
    "Gemm": gemm,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Attention": attention,
}


def by_operator(events: Sequence[dict[str, Any]]) -> Counter[str]:
    """Count the multiplications and additions in a profile of one run, by operator."""
    found: Counter[str] = Counter()
    for event in events:
        arguments = event.get("args", {})
        operator = arguments.get("op_name", "")
        count = COUNTED.get(operator)
        if count is None or not event["name"].endswith("_kernel_time"):
            continue
        inputs, outputs = (
            [next(iter(entry.values())) for entry in arguments[key]]
            for key in ("input_type_shape", "output_type_shape")
        )
        found[operator] += count(inputs, outputs[0])
    return found


def weight_bytes(model: onnx.ModelProto) -> int:
    """Return the bytes of initializers, tables that are only looked up left out."""
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            whole = node.op_type != "Gather" or position != 0
            readers.setdefault(name, set()).add("whole" if whole else "rows")
    sizes: Counter[str] = Counter()
    for tensor in model.graph.initializer:
        if "whole" in readers.get(tensor.name, ()):
            kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            sizes[tensor.name] = math.prod(tensor.dims) * np.dtype(kind).itemsize
    return sum(sizes.values())


def profile(model: str, feed: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return onnxruntime's events of one run without optimisation."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = (
            onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        )
        options.enable_profiling = True
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(model, options)
        session.run(None, feed)
        with open(session.end_profiling(), encoding="utf-8") as file:
            return list(json.load(file))


def main() -> None:
    """Count and print."""
    path, feed = sys.argv[1:]
    with np.load(feed) as arrays:
        events = profile(path, dict(arrays))
        moved = sum(array.nbytes for array in arrays.values())
    flops = by_operator(events)
    found = {
        "flops": flops.total(),
        "by_operator": dict(flops),
        "weight_bytes": weight_bytes(onnx.load(path)),
        "input_bytes": moved,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
