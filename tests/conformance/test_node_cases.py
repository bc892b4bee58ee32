"""Every ONNX node case, through a session, at the case's own tolerance."""

from collections import Counter

import pytest
import runtime as ort
from cases import node_cases, same, value
from record_cases import recorded
from runtime.testing.results import describe
from runtime_ep_cpu.ops.random import set_seed


@pytest.mark.parametrize("name", sorted(node_cases()))
def test_node(name):
    set_seed(2)  # ten draws may agree by chance
    case = node_cases()[name]
    session = ort.InferenceSession(case.model.SerializeToString())
    names = [info.name for info in case.model.graph.input]
    for inputs, outputs in case.data_sets:
        feed = dict(zip(names, map(value, inputs), strict=False))
        results = session.run(None, feed)
        for got, want in zip(results, outputs, strict=True):
            same(got, value(want), case.rtol, case.atol)


DRAWN = [name for name in sorted(node_cases()) if "bernoulli" in name]


@pytest.mark.parametrize("name", DRAWN, ids=lambda name: name.removeprefix("test_"))
def test_draws_have_the_type_and_shape_of_a_case_and_are_0_or_1(name):
    case = node_cases()[name]
    ((inputs, outputs),) = case.data_sets
    session = ort.InferenceSession(case.model.SerializeToString())
    (got,) = session.run(None, {case.model.graph.input[0].name: value(inputs[0])})
    want = value(outputs[0])
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    assert set(got.ravel().tolist()) <= {0, 1}


def test_the_page_of_operators_counts_the_cases():
    """Those that are expected to fail are not right; all others are, as shown above."""
    right, total = Counter(), Counter()
    for name, case in node_cases().items():
        told = describe(case)
        if told["operator"]:
            key = f"{told['domain']}:{told['operator']}"
            total[key] += 1
            right[key] += name not in DRAWN
    written = recorded()["CPUExecutionProvider"]
    assert written == {key: [right[key], count] for key, count in total.items()}
