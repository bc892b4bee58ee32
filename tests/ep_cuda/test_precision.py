"""Halves hold what they can: masks of numbers that they cannot hold stay float32."""

import numpy as np
import pytest
from models import FLOAT, INT64, model, node
from on_the_double import alone, error, opened, programs
from onnx import numpy_helper

LOWEST = np.finfo(np.float32).min
B, H, S, D = 2, 2, 6, 8
BY_NUMBERS = [
    node("Cast", ["m"], ["mf"], to=1),
    node("Sub", ["one", "mf"], ["inverted"]),
    node("Mul", ["inverted", "low"], ["bias"]),
]
BY_CHOICE = [
    node("Shape", ["m"], ["size"]),
    node(
        "ConstantOfShape",
        ["size"],
        ["lows"],
        value=numpy_helper.from_array(np.array([LOWEST])),
    ),
    node("Cast", ["m"], ["mb"], to=9),
    node("Where", ["mb", "zero", "lows"], ["bias"]),
]


def masked(making):
    """Return a softmax of scores with a mask, between two products."""
    return model(
        [
            *making,
            node("MatMul", ["q", "k"], ["s"]),
            node("Add", ["s", "bias"], ["masked"]),
            node("Softmax", ["masked"], ["p"], axis=-1),
            node("MatMul", ["p", "v"], ["y"]),
        ],
        {
            "q": (FLOAT, [B, H, S, D]),
            "k": (FLOAT, [B, H, D, S]),
            "v": (FLOAT, [B, H, S, D]),
            "m": (INT64, [B, 1, S, S]),
        },
        {"y": (FLOAT, [B, H, S, D])},
        {"one": np.float32(1), "zero": np.float32(0), "low": LOWEST},
    )


@pytest.mark.parametrize("making", [BY_NUMBERS, BY_CHOICE])
@pytest.mark.parametrize(("precision", "most"), [("fp16", 2e-3), ("bf16", 2e-2)])
def test_rows_without_a_key_stay_numbers(cuda, making, precision, most):
    rng = np.random.default_rng(1)
    feed = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in (
            ("q", (B, H, S, D)),
            ("k", (B, H, D, S)),
            ("v", (B, H, S, D)),
        )
    }
    feed["m"] = np.tril(np.ones((B, 1, S, S), np.int64))
    feed["m"][1, ..., :2] = 0  # two tokens of padding at the left: rows of nothing
    source = masked(making)
    session = opened(source, precision=precision)
    want = alone(source).run(None, feed)[0]
    got = session.run(None, feed)[0]
    assert np.isfinite(got).all()
    assert error(got, want) < most
    (program,) = programs(session)
    assert program._setting.storage  # and other values are halves all the same
