"""Every ONNX node case: what is not claimed is skipped, what is claimed must be right."""

from __future__ import annotations

import pytest

from runtime.testing.cases import node_cases, node_feeds, same
from runtime.testing.fixtures import Record
from runtime.testing.results import describe
from runtime.testing.subject import Subject


@pytest.mark.parametrize("name", sorted(node_cases()))
def test_node(name: str, subject: Subject, record_case: Record) -> None:
    """A claimed case has the case's element types, shapes and values."""
    case = node_cases()[name]
    record_case(**describe(case))
    opened = subject.open(case.model.SerializeToString())
    owned, nodes = len(opened.owned), len(opened.nodes)
    record_case(owned=owned, nodes=nodes, reasons=opened.refusals)
    if opened.faults:
        pytest.fail("; ".join(opened.faults), pytrace=False)
    if not owned:
        pytest.skip("; ".join(opened.refusals) or "no node is left to run")
    for feed, wants in node_feeds(case):
        results = opened(feed)
        assert not opened.faults, "; ".join(opened.faults)
        for got, want in zip(results, wants, strict=True):
            same(got, want, case.rtol, case.atol)
