"""Forests and scikit-learn pipelines of the zoo are whole native models that are right."""

import warnings

import numpy as np
import pytest
import runtime as ort

pytest.importorskip("skl2onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from benchmarks.zoo.classical import CLASSICAL  # noqa: E402


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_pipeline_agrees_with_onnxruntime(name):
    entry = CLASSICAL[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = entry.build("tiny").SerializeToString()
    ours, theirs = ort.InferenceSession(data), onnxruntime.InferenceSession(data)
    for case in entry.cases("tiny"):
        feed = entry.feeds("tiny", **case)
        for got, want in zip(ours.run(None, feed), theirs.run(None, feed), strict=True):
            if got.dtype.kind == "f":
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
            else:
                np.testing.assert_array_equal(got, want)
    (partition,) = ours.explain().partitions
    native, _, nodes = partition.facts["native"].partition(" of ")
    assert nodes == f"{native} nodes"


def test_there_are_two_forests_and_twenty_pipelines():
    assert len(CLASSICAL) == 2 + 20
