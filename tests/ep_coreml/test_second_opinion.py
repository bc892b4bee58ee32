"""coremltools evaluates operations of constants itself: it is asked about every operator."""

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_models import SUBJECT
from runtime.testing.cases import node_cases, node_feeds, same
from runtime_ep_coreml.capability import refusal
from runtime_ep_coreml.mil import MilEmitter, function
from runtime_ep_coreml.scope import NUMPY, Refused
from runtime_ep_coreml.table import TABLE
from runtime_ep_coreml.tools import writing
from runtime_ep_coreml.writer import Writer, interface
from test_nodes import cases_of, plain, single, tolerance

SILENT = {
    "AveragePool", "BatchNormalization", "Conv", "ConvInteger", "ConvTranspose",
    "DepthToSpace", "GatherND", "GridSample", "InstanceNormalization", "LRN", "LSTM",
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
        feed, wants = node_feeds(case)[0]
        source = single(case.model).SerializeToString()
        opened = SUBJECT.open(source, dry=True, passes="none")
        node, *others = opened.runnable.graph
        if others or refusal(node):
            continue
        arrays = {
            value: plain(feed[value.name])
            for value in node.inputs
            if value is not None and value.name in feed
        }
        try:
            found = evaluated(node, arrays)
        except Refused:
            continue
        yield case, found, [plain(want) for want in wants]


@pytest.mark.parametrize("operator", sorted(set(TABLE) - SILENT))
def test_coremltools_agrees_about_constants(operator):
    asked = False
    for case, found, wants in opinions(operator):
        for got, want in zip(found, wants, strict=False):
            if got is None:
                continue
            asked = True
            got = np.asarray(got).astype(np.asarray(want).dtype).reshape(want.shape)
            same(got, want, tolerance(case, want), 1e-5)
    if not asked:
        pytest.skip("every case has inputs that must be constants of the model")
