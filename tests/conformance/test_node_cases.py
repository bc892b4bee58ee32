"""Every ONNX node case, through a session, at the case's own tolerance."""

import pytest
import runtime as ort
from cases import node_cases, same


@pytest.mark.parametrize("name", sorted(node_cases()))
def test_node(name):
    case = node_cases()[name]
    session = ort.InferenceSession(case.model.SerializeToString())
    names = [value.name for value in case.model.graph.input]
    for inputs, outputs in case.data_sets:
        feed = dict(zip(names, inputs, strict=False))
        results = session.run(None, feed)
        for got, want in zip(results, outputs, strict=True):
            same(got, want, case.rtol, case.atol)
