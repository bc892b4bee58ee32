"""Recurrent operators against onnxruntime, and against their equations."""

from __future__ import annotations

import numpy as np
import pytest
from evaluate import narrow, run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime
from runtime.errors import ExecutionError

pytestmark = pytest.mark.filterwarnings("error")

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STATES = {"RNN": 1, "GRU": 1, "LSTM": 2}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
ACTIVATIONS = {
    "Relu": lambda x: np.maximum(x, 0),
    "Tanh": np.tanh,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Affine": lambda x: 2 * x + 0.5,
    "LeakyRelu": lambda x: np.where(x >= 0, x, 2 * x),
    "ThresholdedRelu": lambda x: np.where(x >= 2, x, 0),
    "ScaledTanh": lambda x: 2 * np.tanh(0.5 * x),
    "HardSigmoid": lambda x: np.clip(2 * x + 0.5, 0, 1),
    "Elu": lambda x: np.where(x >= 0, x, 2 * (np.exp(x) - 1)),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Softplus": lambda x: np.log1p(np.exp(x)),
}


def random(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def arguments(op_type, count=1, steps=5, batch=3, width=4, hidden=6):
    """Inputs with every optional one present, and the usual attributes."""
    gates = GATES[op_type] * hidden
    inputs = [
        random((steps, batch, width), 1),
        random((count, gates, width), 2),
        random((count, gates, hidden), 3),
        random((count, 2 * gates), 4),
        np.array([steps, 1, steps - 1][:batch], np.int32),
        *(random((count, batch, hidden), 5 + i) for i in range(STATES[op_type])),
    ]
    inputs += [random((count, 3 * hidden), 8)] if op_type == "LSTM" else []
    return inputs, {"hidden_size": hidden}


def run(op_type, inputs, attributes, opset=22):
    return run_node(op_type, inputs, attributes, opset, outputs=STATES[op_type] + 1)


@pytest.mark.parametrize("op_type", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@given(data=st.data())
def test_recurrences_are_onnxruntimes(op_type, direction, data):
    draw = data.draw
    count = 2 if direction == "bidirectional" else 1
    inputs, attributes = arguments(op_type, count)
    for i in range(3, len(inputs)):
        inputs[i] = inputs[i] if draw(st.booleans()) else None
    if inputs[4] is not None:
        ends = [draw(st.integers(0, 5)) for _ in range(3)]
        inputs[4] = np.array(ends, np.int32)
    attributes["direction"] = direction
    if draw(st.booleans()):
        attributes["clip"] = 0.4
    if op_type == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    if op_type == "LSTM":
        attributes["input_forget"] = draw(st.integers(0, 1))
    outputs = STATES[op_type] + 1
    found = run(op_type, inputs, attributes, 14)
    wanted = by_onnxruntime(op_type, inputs, attributes, 14, outputs=outputs)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_its_formula(name):
    inputs, attributes = arguments("RNN", steps=2)
    x, w, r, b, *_ = inputs = [*inputs[:4], None, inputs[5]]
    attributes |= {"activations": [name.upper()]}
    attributes |= {"activation_alpha": [2.0], "activation_beta": [0.5]}
    y, last = run("RNN", inputs, attributes)
    h = narrow(inputs[5][0])
    for t in range(2):
        h = ACTIVATIONS[name](x[t] @ w[0].T + h @ r[0].T + b[0, :6] + b[0, 6:])
        np.testing.assert_allclose(y[t, 0], h, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(last[0], y[1, 0])


def test_alphas_and_betas_go_to_the_activations_that_take_them():
    inputs, attributes = arguments("LSTM", 2)
    attributes |= {"direction": "bidirectional"}
    names = ["HardSigmoid", "Tanh", "Elu", "Sigmoid", "Affine", "LeakyRelu"]
    attributes |= {"activations": names}
    attributes |= {"activation_alpha": [0.3, 1.5, 0.7, 0.05]}
    attributes |= {"activation_beta": [0.4, 0.1]}
    found = run("LSTM", inputs, attributes, 14)
    wanted = by_onnxruntime("LSTM", inputs, attributes, 14, outputs=3)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("op_type", GATES)
@pytest.mark.parametrize("count", [1, 2])
def test_layout_puts_the_batch_first(op_type, count):
    inputs, attributes = arguments(op_type, count)
    attributes |= {"direction": "bidirectional" if count == 2 else "forward"}
    y, *states = run(op_type, inputs, attributes)
    for i in (0, *range(5, 5 + STATES[op_type])):
        inputs[i] = inputs[i].swapaxes(0, 1)
    first, *turned = run(op_type, inputs, {**attributes, "layout": 1})
    np.testing.assert_allclose(first, y.transpose(2, 0, 1, 3), rtol=1e-6)
    for one, other in zip(turned, states, strict=True):
        np.testing.assert_allclose(one, other.swapaxes(0, 1), rtol=1e-6)


@pytest.mark.parametrize("op_type", GATES)
@pytest.mark.parametrize("opset", [1, 3, 7])
def test_early_opsets_give_the_same(op_type, opset):
    inputs, attributes = arguments(op_type)
    early = {**attributes, "output_sequence": 1} if opset < 7 else attributes
    found = run(op_type, inputs, early, opset)
    for one, other in zip(found, run(op_type, inputs, attributes), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("op_type", GATES)
def test_a_sequence_may_be_run_in_parts(op_type):
    inputs, attributes = arguments(op_type)
    inputs[4] = None
    y, *states = run(op_type, inputs, attributes)
    x = inputs[0]
    inputs[0] = x[:2]
    first, *middle = run(op_type, inputs, attributes)
    inputs[0], inputs[5 : 5 + len(middle)] = x[2:], middle
    second, *last = run(op_type, inputs, attributes)
    np.testing.assert_allclose(np.concatenate([first, second]), y, rtol=1e-5, atol=1e-6)
    for one, other in zip(last, states, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op_type", GATES)
@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_results_have_the_inputs_type(op_type, dtype):
    inputs, attributes = arguments(op_type)
    wanted = run(op_type, inputs, attributes)
    inputs = [x if x.dtype == np.int32 else x.astype(dtype) for x in inputs]
    kept = [x.copy() for x in inputs]
    for one, other in zip(run(op_type, inputs, attributes), wanted, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(narrow(one), other, rtol=0.05, atol=0.02)
    for one, other in zip(inputs, kept, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("op_type", GATES)
@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (4, 0)])
def test_nothing_to_walk_over_leaves_the_initial_state(op_type, steps, batch):
    inputs, attributes = arguments(op_type, steps=steps, batch=batch)
    inputs[4] = None
    y, last, *_ = run(op_type, inputs, attributes)
    assert y.shape == (steps, 1, batch, 6)
    np.testing.assert_array_equal(last, inputs[5])


def test_large_values_raise_no_warning():
    inputs, attributes = arguments("LSTM")
    inputs[0] *= 1e4
    assert np.isfinite(run("LSTM", inputs, attributes)[0]).all()


@pytest.mark.parametrize("op_type", GATES)
@pytest.mark.parametrize(
    ("index", "value", "attributes", "message"),
    [
        (1, random((1, 5, 4)), {}, "do not fit"),
        (3, random((1, 5)), {}, "do not fit"),
        (4, np.array([6, 1, 1], np.int32), {}, "sequence_lens"),
        (4, np.array([1, 1], np.int32), {}, "sequence_lens"),
        (5, random((1, 2, 6)), {}, "initial state"),
        (0, random((5, 3, 4)), {"direction": "sideways"}, "direction"),
        (0, random((5, 3, 4)), {"direction": "bidirectional"}, "do not fit"),
        (0, random((5, 3, 4)), {"hidden_size": 7}, "do not fit"),
        (0, random((5, 3, 4)), {"activations": ["Tanh"] * 9}, ""),
    ],
)
def test_what_does_not_fit_is_refused(op_type, index, value, attributes, message):
    inputs, usual = arguments(op_type)
    inputs[index] = value
    if "activations" in attributes:
        attributes = {"activations": ["Cosine"] * FUNCTIONS[op_type]}
        message = "no activation"
    with pytest.raises(ExecutionError, match=message):
        run(op_type, inputs, {**usual, **attributes})
