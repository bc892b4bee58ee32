"""Models exported by both torch exporters answer as torch and onnxruntime do."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import runtime as ort

pytest.importorskip("torch", reason="run by nox -s models")
pytest.importorskip("onnxscript", reason="run by nox -s models")

from twins import TWINS, expected, export

OPSETS = (("torchscript", 14), ("torchscript", 17), ("dynamo", 18), ("dynamo", 23))
CASES = [(name, *opset) for name in TWINS for opset in OPSETS]
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(map(str, case)))
def case(request: pytest.FixtureRequest) -> tuple[str, bytes, ort.InferenceSession]:
    """One model's name, its file and a session on it."""
    name, exporter, opset = request.param
    file = export(name, exporter, opset)
    return name, file, ort.InferenceSession(file, providers=["CPUExecutionProvider"])


def raised_counts(session: Any) -> Counter[str]:
    """Count the operators of the simplified graph."""
    return Counter(node.op_type for node in session.graph)


def test_inputs_and_outputs_keep_names_and_symbols(case):
    name, _, session = case
    twin = TWINS[name]
    assert [x.name for x in session.get_outputs()] == list(twin.outputs)
    for x in session.get_inputs():
        for axis, symbol in twin.axes[x.name].items():
            assert x.shape[axis] == symbol


def test_answers_as_torch_does_at_every_size(case):
    name, _, session = case
    for size in TWINS[name].sizes:
        feeds = TWINS[name].feeds(**size)
        found, wanted = session.run(None, feeds), expected(name, feeds)
        for x, y in zip(found, wanted, strict=True):
            np.testing.assert_allclose(x, y, **TOLERANCE, err_msg=f"{size}")


def test_answers_as_onnxruntime_does_at_every_size(case):
    peer = pytest.importorskip("onnxruntime")
    name, file, session = case
    other = peer.InferenceSession(file, providers=["CPUExecutionProvider"])
    for size in TWINS[name].sizes:
        feeds = TWINS[name].feeds(**size)
        found, wanted = session.run(None, feeds), other.run(None, feeds)
        for x, y in zip(found, wanted, strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_allclose(x, y, **TOLERANCE, err_msg=f"{size}")


def test_decomposed_functions_are_raised_to_one_node_each(case):
    name, _, session = case
    counts = raised_counts(session)
    raised = TWINS[name].raised
    assert {op_type: counts[op_type] for op_type in raised} == raised
    assert not counts.keys() & {"Erf", "Softmax", "Pow"}
