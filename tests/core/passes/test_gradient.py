"""Gradient nodes become what central differences say."""

import numpy as np
import pytest
import runtime as ort
from models import FLOAT, model, node
from runtime.capi.onnxruntime_pybind11_state import NotImplemented

DOMAIN = "ai.onnx.preview.training"
RNG = np.random.default_rng(3)


def gradient_model(nodes, shapes, given=None, y="y", zs=()):
    """Return a model of y and its derivatives by the inputs named in ``shapes``."""
    xs = [name for name in shapes if name not in zs]
    names = given or list(shapes)
    outputs = {f"d{name}": (FLOAT, None) for name in xs}
    made = node(
        "Gradient", names, list(outputs), domain=DOMAIN, xs=xs, y=y, zs=list(zs) or None
    )
    return model(
        [*nodes, made],
        {name: (FLOAT, shape) for name, shape in shapes.items()},
        {y: (FLOAT, None), **outputs},
        opset=17,
        domains={DOMAIN: 1},
    ).SerializeToString()


def differences(session, feed, name, step=1e-2):
    """Return d(sum of y)/d(name) by central differences."""
    result = np.zeros_like(feed[name])
    for index in np.ndindex(feed[name].shape):
        ends = []
        for sign in (1, -1):
            moved = feed[name].copy()
            moved[index] += sign * step
            ends.append(session.run(["y"], {**feed, name: moved})[0].sum(dtype=float))
        result[index] = (ends[0] - ends[1]) / (2 * step)
    return result


CASES = {
    "add": [node("Add", ["a", "b"], ["y"])],
    "sub broadcast": [node("Sub", ["a", "b"], ["y"])],
    "mul": [node("Mul", ["a", "b"], ["c"]), node("Mul", ["c", "a"], ["y"])],
    "div": [node("Div", ["a", "b"], ["y"])],
    "matmul": [
        node("Transpose", ["b"], ["t"], perm=[1, 0]),
        node("MatMul", ["a", "t"], ["y"]),
    ],
    "functions": [
        node("Sigmoid", ["a"], ["s"]),
        node("Tanh", ["b"], ["t"]),
        node("Exp", ["t"], ["e"]),
        node("Mul", ["s", "e"], ["m"]),
        node("Sqrt", ["m"], ["y"]),
    ],
    "sums": [
        node("Mul", ["a", "b"], ["m"]),
        node("ReduceSum", ["m"], ["r"], keepdims=1),
        node("Neg", ["r"], ["y"]),
    ],
    "cosine": [
        node("Cos", ["a"], ["c"]),
        node("Sin", ["b"], ["s"]),
        node("Sum", ["c", "s", "c"], ["y"]),
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives_equal_central_differences(name):
    shapes = {"a": [2, 3], "b": [1, 3] if "broadcast" in name else [2, 3]}
    session = ort.InferenceSession(gradient_model(CASES[name], shapes))
    feed = {
        key: (RNG.random(shape) + 0.5).astype(np.float32)
        for key, shape in shapes.items()
    }
    _, *grads = session.run(None, feed)
    for key, got in zip(shapes, grads, strict=True):
        assert got.shape == feed[key].shape
        np.testing.assert_allclose(got, differences(session, feed, key), atol=2e-2)


def test_other_inputs_move_the_point_of_differentiation():
    square = [node("Mul", ["a", "a"], ["y"])]
    data = model(
        [
            *square,
            node("Gradient", ["p"], ["da"], domain=DOMAIN, xs=["a"], y="y"),
        ],
        {"a": (FLOAT, [2]), "p": (FLOAT, [2])},
        {"da": (FLOAT, [2])},
        domains={DOMAIN: 1},
    ).SerializeToString()
    feed = {"a": np.zeros(2, np.float32), "p": np.array([3, 5], np.float32)}
    (got,) = ort.InferenceSession(data).run(None, feed)
    np.testing.assert_array_equal(got, [6, 10])


def test_what_y_does_not_depend_on_has_a_zero_derivative():
    data = gradient_model([node("Relu", ["a"], ["y"])], {"a": [2], "b": [3]})
    feed = {"a": np.array([-1, 1], np.float32), "b": np.ones(3, np.float32)}
    _, da, db = ort.InferenceSession(data).run(None, feed)
    np.testing.assert_array_equal(da, [0, 1])
    np.testing.assert_array_equal(db, [0, 0, 0])


def test_an_operator_without_a_rule_is_refused_not_guessed():
    data = gradient_model([node("Erf", ["a"], ["y"])], {"a": [2]})
    with pytest.raises(NotImplemented, match="Gradient"):
        ort.InferenceSession(data)
