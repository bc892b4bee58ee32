"""What cannot be is a refusal with its reason, and never an exception of coremltools."""

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_models import SUBJECT, X, dense, expected, model
from runtime_ep_coreml import mil, package
from runtime_ep_coreml.scope import Emitter
from runtime_ep_coreml.table import TABLE, Row

SIX = "1,1,1,1,1,2"
CONSTANTS = {
    "g": np.zeros((1, 6, 6, 2), np.float32),
    "j": np.array([[0]], np.int64),
    "u": np.ones((1, 1), np.float32),
}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            f"(float[{SIX}] x) => (float[{SIX}] y) {{ y = Relu(x) }}",
            "rank 6 is above 5",
        ),
        ("(double[3] x) => (double[3] y) { y = Sqrt(x) }", "double is not computed"),
        (
            "(float[n] x) => (float[n] y) { y = Relu(x) }",
            "the dim n of 'x' has no upper",
        ),
        ("(uint8[3] x) => (uint8[3] y) { y = Mul(x, x) }", "Mul of uint8"),
        (
            '(float[1,2,6,6] x) => (float[1,2,6,6] y) { y = GridSample<mode="cubic">(x, g) }',
            "mode='cubic' is not supported",
        ),
        (
            "(float[2,3] x) => (float[2,3] y) { y = ScatterElements(x, j, u) }",
            "indices of another shape",
        ),
    ],
)
def test_it_is_told_and_the_cpu_answers(source, reason):
    opened = SUBJECT.open(model(source, **CONSTANTS), cache=False)
    assert not opened.owned
    assert not opened.faults
    assert any(reason in told for told in opened.refusals), opened.refusals


def test_what_coremltools_says_of_an_operation_is_the_reason(monkeypatch):
    def wrong(at):
        return at.op("conv", x=at.x(), weight=np.zeros((1, 2), np.float32))

    monkeypatch.setitem(TABLE, "Tan", Row("Tan", wrong, (), 1))
    opened = SUBJECT.open(model("(float[7] x) => (float[7] y) { y = Tan(x) }"))
    assert not opened.faults
    assert any("coremltools refuses conv" in told for told in opened.refusals)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda at: at.reshape(at.x(), [1, 11]), "infers the shape (1, 11), not (11,)"),
        (lambda at: at.cast(at.x(), "int32"), "it would be made as int32, not fp32"),
        (lambda at: (), "is not made"),
        (lambda at: {}["nothing"], "lowering fails"),
    ],
    ids=["shape", "type", "missing", "error"],
)
def test_a_lowering_that_is_wrong_is_found_on_trial(monkeypatch, made, reason):
    monkeypatch.setitem(TABLE, "Tan", Row("Tan", made, (), 1))
    source = model("(float[11] x) => (float[11] y) { y = Tan(x) }")
    monkeypatch.setattr("runtime_ep_coreml.capability._trial._reasons", {})
    opened = SUBJECT.open(source)
    assert not opened.owned
    assert any(reason in told for told in opened.refusals), opened.refusals


def test_a_conversion_that_fails_hands_the_partition_on(monkeypatch):
    def failing(*arguments):
        raise KeyError("a pass went wrong\nand more")

    monkeypatch.setattr(package, "convert", failing)
    opened = SUBJECT.open(dense(), cache=False)
    np.testing.assert_allclose(opened({"x": X})[0], expected(), rtol=1e-4, atol=1e-4)
    assert not opened.faults
    assert any("a pass went wrong" in told for told in opened.refusals)


def test_the_emitter_is_what_lowerings_expect():
    with mil.function({"in_0": ((2,), "fp32")}, 17):
        emitter: Emitter = mil.MilEmitter(17)
        made = emitter.constant(np.zeros((2, 3), np.float32))
        assert emitter.sizes(made) == (2, 3)
        assert emitter.kind(made) == "fp32"
        assert (emitter.target, emitter.halves) == (17, False)
