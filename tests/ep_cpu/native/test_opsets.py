"""Operators of old opsets, not modernised, mean what they meant then."""

import numpy as np
import pytest
import runtime as ort
from beside_numpy import opened, same
from models import model, node

RNG = np.random.default_rng(10)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def bools(*shape):
    return RNG.integers(0, 2, shape).astype(bool)


XZ = ["x", "z"]
SMALL, CUBE = {"x": floats(2, 3)}, {"x": floats(2, 3, 4)}
CASES = {
    "Concat's axis was 1": (1, "Concat", XZ, {}, {"x": floats(2, 3), "z": floats(2, 4)}),
    "Reshape had an attribute": (1, "Reshape", ["x"], {"shape": [1, 1]}, {"x": floats(1)}),
    "Add along an axis": (
        6, "Add", XZ, {"broadcast": 1, "axis": 1}, {**CUBE, "z": floats(3)}
    ),
    "Add along the last axes": (6, "Add", XZ, {"broadcast": 1}, {**CUBE, "z": floats(4)}),
    "Equal along an axis": (
        1, "Equal", XZ, {"broadcast": 1},
        {"x": np.arange(6).reshape(2, 3), "z": np.arange(3)},
    ),
    "And along an axis": (
        1, "And", XZ, {"broadcast": 1, "axis": 0}, {"x": bools(2, 3), "z": bools(2)}
    ),
    "Gemm told of its C": (
        6, "Gemm", ["x", "z", "c"], {"broadcast": 1},
        {"x": floats(2, 3), "z": floats(3, 4), "c": floats(4)},
    ),
    "Clip by attributes": (6, "Clip", ["x"], {"min": -0.5, "max": 0.5}, SMALL),
    "Clip by one attribute": (6, "Clip", ["x"], {"min": -0.5}, SMALL),
    "Slice by attributes": (
        1, "Slice", ["x"], {"starts": [1], "ends": [3], "axes": [1]}, CUBE
    ),
    "Squeeze by attributes": (1, "Squeeze", ["x"], {"axes": [0]}, {"x": floats(1, 4)}),
    "Unsqueeze by attributes": (1, "Unsqueeze", ["x"], {"axes": [0, 2]}, SMALL),
    "Softmax of a matrix": (1, "Softmax", ["x"], {}, SMALL),
    "Softmax over several axes": (11, "Softmax", ["x"], {"axis": 1}, CUBE),
    "LogSoftmax of the last axis": (11, "LogSoftmax", ["x"], {"axis": 2}, CUBE),
    "ReduceMean by attributes": (11, "ReduceMean", ["x"], {"axes": [1]}, CUBE),
    "Relu that consumed": (1, "Relu", ["x"], {"consumed_inputs": [0]}, SMALL),
    "PRelu of channels": (6, "PRelu", XZ, {}, {**CUBE, "z": floats(3)}),
    "PRelu that broadcasts": (7, "PRelu", XZ, {}, {**CUBE, "z": floats(3, 1)}),
    "Max of equal shapes": (1, "Max", XZ, {}, {"x": floats(2, 3), "z": floats(2, 3)}),
    "Cast to half": (9, "Cast", ["x"], {"to": 10}, SMALL),
    "ArgMax of the first axis": (1, "ArgMax", ["x"], {}, SMALL),
}  # fmt: skip
CODES = {"float32": 1, "int64": 7, "bool": 9, "float16": 10}


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
@pytest.mark.parametrize("name", CASES)
def test_old_operators(name, level):
    opset, operator, inputs, attributes, feed = CASES[name]
    last = [node(operator, inputs, ["y"], **attributes)]
    types = {n: (CODES[array.dtype.name], array.shape) for n, array in feed.items()}
    way = getattr(ort.GraphOptimizationLevel, level)
    result = {"ArgMax": "int64", "Equal": "bool", "And": "bool", "Cast": "float16"}
    code = CODES[result.get(operator, "float32")]

    def run(native, shape):
        proto = model(last, types, {"y": (code, shape)}, opset=opset, ir_version=3)
        session = opened(proto, native=native, graph_optimization_level=way)
        return session.run(None, feed)[0]

    want = run("off", None)
    same(run("required", None), want)
    same(run("required", want.shape), want)
