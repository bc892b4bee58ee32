"""Classification losses, sample by sample as the standard's formulas say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime
from runtime.errors import ExecutionError

pytestmark = pytest.mark.filterwarnings("error")

CLASSES = 3
LOSSES = ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")


def numbers(shape, dtype="float32", seed=0):
    values = np.random.default_rng(seed).standard_normal(shape)
    return np.asarray(values).astype(dtype)


def labels(shape, dtype=np.int64, seed=0):
    return np.random.default_rng(seed).integers(0, CLASSES, shape, dtype=dtype)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def expected(log_prob, target, weight, ignored, reduction):
    """The loss of each sample, one after the other."""
    losses, weights = np.zeros(target.shape), np.zeros(target.shape)
    for place in itertools.product(*map(range, target.shape)):
        label = target[place]
        if label == ignored:
            continue
        weights[place] = 1 if weight is None else weight[label]
        losses[place] = -log_prob[(place[0], label, *place[1:])] * weights[place]
    if reduction == "none":
        return losses
    return losses.sum() / (weights.sum() if reduction == "mean" else 1)


@pytest.mark.parametrize("op_type", LOSSES)
class TestLosses:
    @given(
        sizes=st.lists(st.integers(1, 3), max_size=3),
        batch=st.integers(1, 3),
        weighted=st.booleans(),
        ignored=st.sampled_from([None, 0, 2, -1, 255]),
        reduction=st.sampled_from(["mean", "none", "sum"]),
        types=st.sampled_from([("float32", np.int64), ("float64", np.int32)]),
        opset=st.sampled_from([12, 13, 22]),
    )
    def test_each_sample_loses_its_own_class(
        self, op_type, sizes, batch, weighted, ignored, reduction, types, opset
    ):
        scores = numbers((batch, CLASSES, *sizes), types[0])
        target = labels((batch, *sizes), types[1])
        if ignored is not None and target.size > 1:
            target.flat[0] = ignored
        elif ignored not in (None, *range(CLASSES)):
            ignored = None
        if ignored is not None and (target == ignored).all():
            return
        weight = np.array([0.5, 2, 1], types[0]) if weighted else None
        attributes = {"reduction": reduction}
        if ignored is not None:
            attributes["ignore_index"] = ignored
        inputs = [scores, target, *([weight] if weighted else [])]
        [result] = run_node(op_type, inputs, attributes, opset)
        cross = op_type == "SoftmaxCrossEntropyLoss"
        wide = scores.astype(np.float64)
        log_prob = log_softmax(wide) if cross else wide
        wanted = np.asarray(expected(log_prob, target, weight, ignored, reduction))
        assert (result.dtype, result.shape) == (scores.dtype, wanted.shape)
        np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-6)

    def test_the_mean_without_any_sample_is_nan(self, op_type):
        inputs = [numbers((2, CLASSES)), np.array([1, 1])]
        [result] = run_node(op_type, inputs, {"ignore_index": 1}, 13)
        assert result.shape == ()
        assert math.isnan(result)

    def test_scores_of_an_ignored_sample_do_not_matter(self, op_type):
        scores = numbers((2, CLASSES))
        scores[0] = np.nan
        attributes = {"ignore_index": -1, "reduction": "sum"}
        [result] = run_node(op_type, [scores, np.array([-1, 0])], attributes, 13)
        assert np.isfinite(result)

    @pytest.mark.parametrize("label", [-1, 3])
    def test_labels_outside_of_the_classes_are_refused(self, op_type, label):
        inputs = [numbers((2, CLASSES)), np.array([0, label])]
        with pytest.raises(ExecutionError, match="outside of 0 … 2"):
            run_node(op_type, inputs, {}, 13)

    @pytest.mark.parametrize(
        ("scores", "target", "weight", "message"),
        [
            ((2, 3), (3,), None, "do not fit"),
            ((2, 3, 4), (2, 3), None, "do not fit"),
            ((2, 3), (2,), (2,), "one per class"),
            ((3,), (3,), None, "shape"),
        ],
    )
    def test_shapes_must_fit(self, op_type, scores, target, weight, message):
        inputs = [numbers(scores), labels(target)]
        inputs += [numbers(weight)] if weight else []
        with pytest.raises(ExecutionError, match=message):
            run_node(op_type, inputs, {}, 13)

    def test_an_unknown_reduction_is_refused(self, op_type):
        inputs = [numbers((2, CLASSES)), labels(2)]
        with pytest.raises(ExecutionError, match="found 'max'"):
            run_node(op_type, inputs, {"reduction": "max"}, 13)

    @pytest.mark.parametrize("reduction", ["mean", "none", "sum"])
    def test_float16_is_computed_in_float32(self, op_type, reduction):
        scores, target = numbers((4, CLASSES, 5), "float16"), labels((4, 5))
        attributes = {"reduction": reduction}
        [result] = run_node(op_type, [scores, target], attributes, 13)
        [wide] = run_node(op_type, [scores.astype("float32"), target], attributes, 13)
        assert result.dtype == np.float16
        np.testing.assert_array_equal(result, wide.astype(np.float16))

    def test_onnxruntime_agrees(self, op_type):
        inputs = [numbers((2, CLASSES, 4)), labels((2, 4)), np.abs(numbers(CLASSES))]
        attributes = {"ignore_index": 1}
        [wanted] = by_onnxruntime(op_type, inputs, attributes, 13)
        [result] = run_node(op_type, inputs, attributes, 13)
        assert (result.dtype, result.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_allclose(result, wanted, rtol=1e-5)


def test_the_log_probabilities_are_a_second_output():
    scores = numbers((2, CLASSES, 4))
    inputs = [scores, labels((2, 4))]
    _, result = run_node("SoftmaxCrossEntropyLoss", inputs, {}, 13, outputs=2)
    np.testing.assert_allclose(result, log_softmax(scores), rtol=1e-4, atol=1e-6)
