"""Every ONNX node case, through a session, at the case's own tolerance."""

import pytest
import runtime as ort
from cases import node_cases, same, value


@pytest.mark.parametrize("name", sorted(node_cases()))
def test_node(name):
    case = node_cases()[name]
    session = ort.InferenceSession(case.model.SerializeToString())
    names = [info.name for info in case.model.graph.input]
    for inputs, outputs in case.data_sets:
        feed = dict(zip(names, map(value, inputs), strict=False))
        results = session.run(None, feed)
        for got, want in zip(results, outputs, strict=True):
            same(got, value(want), case.rtol, case.atol)
