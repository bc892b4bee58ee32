"""ONNX's node cases of every operator of the table, from the saved package.

Inputs but the first are made constants, as weights and axes of models are, and cases of
doubles become cases of floats; the kit runs the cases as they are (see test_kit.py).
"""

import numpy as np
import onnx
import pytest

pytest.importorskip("coremltools")

import runtime_ep_coreml.lowering  # noqa: F401  (fills the table)
from coreml_models import SUBJECT, model
from onnx import numpy_helper
from runtime.testing.cases import node_cases, node_feeds, same
from runtime_ep_coreml.table import TABLE

FOLDED = {"Constant", "Dropout", "Identity", "Shape", "Size"}
"""Operators that simplifying takes away; they are lowered from models left as they are."""

WITHOUT_CASES = {"GlobalLpPool"}
"""Operators that have no case of their own in the suite."""

TIES = (
    "test_argmax_keepdims_example", "test_argmax_negative_axis_keepdims_example",
    "test_argmax_no_keepdims_example", "test_top_k_same_values",
    "test_top_k_same_values_2d", "test_top_k_same_values_largest",
)  # fmt: skip
"""Cases that want the first of equals, where MIL does not say which is found."""

HALVES = 2e-3
"""Relative error of results in float16: two units in the last place."""


def tolerance(case, want):
    """Return the relative error that a result may have."""
    return (
        HALVES if getattr(want, "dtype", None) == np.float16 else max(case.rtol, 1e-5)
    )


def single(model_proto):
    """Return a model with floats for its doubles."""
    made = onnx.ModelProto()
    made.CopyFrom(model_proto)
    graph = made.graph
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE:
            info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for attribute in (a for node in graph.node for a in node.attribute):
        if attribute.name in ("to", "dtype") and attribute.i == onnx.TensorProto.DOUBLE:
            attribute.i = onnx.TensorProto.FLOAT
    return made


def plain(value):
    """Return an array, of floats for doubles; anything else as it is."""
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def frozen(made, feed):
    """Return a model whose inputs but the first are constants, and what is left to feed."""
    names = [info.name for info in made.graph.input]
    for name in names[1:]:
        if name in feed:
            tensor = numpy_helper.from_array(feed[name], name)
            made.graph.initializer.append(tensor)
    kept = [i for i in made.graph.input if i.name == names[0] or i.name not in feed]
    del made.graph.input[:]
    made.graph.input.extend(kept)
    made.ir_version = max(made.ir_version, 4)
    return made, {name: feed[name] for name in names[:1] if name in feed}


def variants(case):
    """Yield a case as it is, and with constants."""
    made = single(case.model)
    feed, wants = node_feeds(case)[0]
    feed = {name: plain(array) for name, array in feed.items()}
    wants = [plain(want) for want in wants]
    yield made, feed, wants
    arrays = [v for v in feed.values() if isinstance(v, np.ndarray)]
    if (
        len(feed) > 1
        and len(arrays) == len(feed)
        and all(a.dtype != object for a in arrays)
    ):
        yield *frozen(single(made), feed), wants


def cases_of(operator):
    """Return the names of the cases in which an operator stands alone."""
    return [
        name
        for name, case in sorted(node_cases().items())
        if [node.op_type for node in case.model.graph.node] == [operator]
        and case.model.graph.node[0].domain == ""
    ]


@pytest.mark.parametrize("operator", sorted(set(TABLE) - WITHOUT_CASES))
def test_the_cases_of_an_operator_are_right(operator):
    settings = {"passes": "none"} if operator in FOLDED else {}
    claimed, refusals = 0, set()
    for name in cases_of(operator):
        case = node_cases()[name]
        for made, feed, wants in variants(case):
            opened = SUBJECT.open(made.SerializeToString(), cache=False, **settings)
            assert not opened.faults, f"{name}: {opened.faults}"
            refusals.update(opened.refusals)
            if not opened.owned:
                continue
            results = opened(feed)
            if name in TIES:
                assert any("of equals" in told for told in opened.faults), name
                continue
            assert not opened.faults, f"{name}: {opened.faults}"
            for got, want in zip(results, wants, strict=True):
                same(got, want, tolerance(case, want), 1e-6)
            claimed += 1
    assert claimed, f"no case is claimed: {refusals}"


def test_a_global_norm_is_right():
    x = np.random.default_rng(1).standard_normal((2, 3, 4, 5)).astype(np.float32)
    for p, want in (
        (1, abs(x).sum((2, 3), keepdims=True)),
        (2, np.sqrt((x * x).sum((2, 3), keepdims=True))),
    ):
        text = "(float[2,3,4,5] x) => (float[2,3,1,1] y) { y = GlobalLpPool<p=%d>(x) }"
        opened = SUBJECT.open(model(text % p), cache=False)
        assert opened.owned
        np.testing.assert_allclose(opened({"x": x})[0], want, rtol=1e-5)
