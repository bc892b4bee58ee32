"""Optimizer steps, tensor by tensor as the standard's pseudo code says."""

from __future__ import annotations

import numpy as np
import pytest
from evaluate import run_node
from runtime.errors import ExecutionError

pytestmark = pytest.mark.filterwarnings("error")

DOMAIN = "ai.onnx.preview.training"
STATES = {"Adagrad": 3, "Adam": 4, "Momentum": 3}


def tensors(count, shape, dtype, seed):
    draw = np.random.default_rng(seed).uniform
    return [np.asarray(draw(0.1, 1, shape)).astype(dtype) for _ in range(count)]


def adagrad(rate, count, x, g, h, norm=0.5, decay=0.25, epsilon=1e-2):
    g = norm * x + g
    h = h + g * g
    return x - rate / (1 + count * decay) * g / (np.sqrt(h) + epsilon), h


def adam(
    rate, count, x, g, v, h, norm=0.5, after=0.1, alpha=0.75, beta=0.5, epsilon=1e-2
):
    g = norm * x + g
    v, h = alpha * v + (1 - alpha) * g, beta * h + (1 - beta) * g * g
    if count:
        rate = rate * np.sqrt(1 - beta**count) / (1 - alpha**count)
    return (1 - after) * (x - rate * v / (np.sqrt(h) + epsilon)), v, h


def momentum(rate, count, x, g, v, mode, norm=0.5, alpha=0.75, beta=0.5):
    g = norm * x + g
    v = alpha * v + (beta if count else 1) * g
    return x - rate * (g + alpha * v if mode == "nesterov" else v), v


CASES = [
    (
        "Adagrad",
        adagrad,
        {"norm_coefficient": 0.5, "decay_factor": 0.25, "epsilon": 1e-2},
    ),
    (
        "Adam",
        adam,
        {
            "norm_coefficient": 0.5,
            "norm_coefficient_post": 0.1,
            "alpha": 0.75,
            "beta": 0.5,
            "epsilon": 1e-2,
        },
    ),
    *(
        (
            "Momentum",
            lambda *values, mode=mode: momentum(*values, mode=mode),
            {"norm_coefficient": 0.5, "alpha": 0.75, "beta": 0.5, "mode": mode},
        )
        for mode in ("standard", "nesterov")
    ),
]


@pytest.mark.parametrize(("op_type", "step", "attributes"), CASES)
@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize("rate_type", ["float32", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_tensor_is_moved_and_its_state_updated(
    op_type, step, attributes, count, rate_type, dtype
):
    groups = [
        tensors(STATES[op_type], shape, dtype, seed)
        for seed, shape in enumerate([(2, 3), (), (4,)])
    ]
    inputs = [value for values in zip(*groups, strict=True) for value in values]
    rate = np.array(0.125, rate_type)
    outputs = len(groups) * (STATES[op_type] - 1)
    results = run_node(
        op_type, [rate, np.array(count), *inputs], attributes, 1, DOMAIN, outputs
    )
    moved = [step(0.125, count, *(v.astype(float) for v in group)) for group in groups]
    wanted = [value for values in zip(*moved, strict=True) for value in values]
    for result, value in zip(results, wanted, strict=True):
        assert (result.dtype, result.shape) == (np.dtype(dtype), np.shape(value))
        np.testing.assert_allclose(result, value, rtol=1e-5)


def test_an_incomplete_list_of_tensors_is_refused():
    x = np.ones(2, np.float32)
    inputs = [np.array(0.1, np.float32), np.array(0), x, x]
    with pytest.raises(ExecutionError, match="no multiple of 3"):
        run_node("Adagrad", inputs, {}, 1, DOMAIN, 2)


def test_an_unknown_mode_is_refused():
    x = np.ones(2, np.float32)
    inputs = [np.array(0.1, np.float32), np.array(0), x, x, x]
    attributes = {"alpha": 0.9, "beta": 1.0, "norm_coefficient": 0.0, "mode": "fast"}
    with pytest.raises(ExecutionError, match="nesterov or standard"):
        run_node("Momentum", inputs, attributes, 1, DOMAIN, 2)
