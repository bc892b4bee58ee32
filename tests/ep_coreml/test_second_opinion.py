"""coremltools evaluates operations of constants itself: it is asked about every operator."""

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_models import SUBJECT
from runtime.testing.cases import node_cases, same
from runtime_ep_coreml.capability import refusal
from runtime_ep_coreml.mil import MilEmitter, function
from runtime_ep_coreml.scope import NUMPY, Refused
from runtime_ep_coreml.table import TABLE
from runtime_ep_coreml.tools import writing
from runtime_ep_coreml.writer import Writer, interface
from test_nodes import WITHOUT_CASES, cases_of, tolerance, variants

SILENT = {
    "AveragePool", "BatchNormalization", "Conv", "ConvInteger", "ConvTranspose",
    "DepthToSpace", "GRU", "GatherND", "GridSample", "InstanceNormalization", "LRN", "LSTM",
    "LpPool", "MaxPool", "NonZero", "Pad", "RNN", "ReverseSequence", "ScatterElements",
    "ScatterND", "SpaceToDepth", "Swish", "Trilu",
}  # fmt: skip
"""Operators that become an operation which coremltools does not evaluate."""


def evaluated(node, arrays):
    """Return what coremltools makes of a node whose inputs are all constants."""
    with writing(), np.errstate(all="ignore"), function({"in_0": ((1,), "fp32")}, 17):
        emitter = MilEmitter(17)
        writer = Writer(emitter)
        for value, array in arrays.items():
            given = np.asarray(array).reshape(array.shape or (1,))
            kind = NUMPY[interface(value)]
            writer.read(value, emitter.constant(given.astype(kind)))
        writer.lower([node])
        made = writer.results(node)
    return [made[value].val if value in made else None for value in node.outputs]


def opinions(operator):
    """Yield for the cases of an operator what coremltools says, and what is right."""
    for name in cases_of(operator):
        case = node_cases()[name]
        for made, feed, wants in variants(case):
            opened = SUBJECT.open(made.SerializeToString(), dry=True, passes="none")
            node, *others = opened.runnable.graph or [None]
            if node is None or others or refusal(node):
                continue
            reads = [v for v in node.inputs if v is not None and not v.is_constant]
            try:
                found = evaluated(node, {value: feed[value.name] for value in reads})
            except Refused:
                continue
            yield case, found, wants


@pytest.mark.parametrize("operator", sorted(set(TABLE) - SILENT - WITHOUT_CASES))
def test_coremltools_agrees_about_constants(operator):
    asked = False
    for case, found, wants in opinions(operator):
        for got, want in zip(found, wants, strict=False):
            if got is None:
                continue
            asked = True
            got = np.asarray(got).astype(np.asarray(want).dtype).reshape(want.shape)
            same(got, want, tolerance(case, want), 1e-5)
    assert asked, f"coremltools does not evaluate {operator}: put it among the silent"
