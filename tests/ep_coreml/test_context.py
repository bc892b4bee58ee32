"""Models that come compiled: nodes that carry a package are run, and nothing is lowered."""

import numpy as np
import onnx
import pytest

pytest.importorskip("coremltools")

from coreml_models import RNG, SUBJECT, WEIGHT, X, dense, expected, model, program
from mil_evaluator.engine import load as evaluated
from onnx import TensorProto, helper
from runtime.model import load as read
from runtime.partition import make_partition
from runtime.plugin import HOST
from runtime.providers import typed_options
from runtime.settings import Settings
from runtime_ep_coreml import context
from runtime_ep_coreml.info import info

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def carrying(data, inputs, outputs, name="context", **attributes):
    """Return a node that carries a package, as onnxruntime lays it out."""
    given = {"source": info.name, "embed_mode": 1, "main_context": 1, **attributes}
    return helper.make_node(
        "EPContext", inputs, outputs, name, domain="com.microsoft",
        ep_cache_context=data, **given,
    )  # fmt: skip


def compiled(nodes, inputs, outputs, inner=()):
    """Return a model of nodes; values are triples of name, type and shape."""

    def told(values):
        return [helper.make_tensor_value_info(*value) for value in values]

    graph = helper.make_graph(nodes, "g", told(inputs), told(outputs))
    graph.value_info.extend(told(inner))
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return made.SerializeToString()


def package(source, **options):
    return program(source, **options)[0].export()


ENDS = ([("x", FLOAT, [5, 64])], [("y", FLOAT, [5, 64])])


def test_a_package_in_a_model_is_run_and_nothing_is_lowered(monkeypatch):
    source = compiled([carrying(package(dense()), ["x"], ["y"])], *ENDS)
    monkeypatch.setattr("runtime_ep_coreml.capability.TABLE", {})
    opened = SUBJECT.open(source)
    (placed,) = opened.placed
    assert placed.executable.facts["source"] == "the model"
    np.testing.assert_allclose(opened({"x": X})[0], expected(), rtol=1e-4, atol=1e-4)
    assert not opened.faults


def test_integers_and_booleans_cross_as_before():
    data = package(
        model(
            "(int64[3] x, bool[3] c) => (int64[3] y) { n = Neg(x) y = Where(c, x, n) }"
        )
    )
    source = compiled(
        [carrying(data, ["x", "c"], ["y"])],
        [("x", INT, [3]), ("c", TensorProto.BOOL, [3])],
        [("y", INT, [3])],
    )
    feed = {"x": np.array([1, -2, 3]), "c": np.array([True, False, False])}
    (y,) = SUBJECT.open(source)(feed)
    np.testing.assert_array_equal(y, [1, 2, -3])


def test_what_was_left_over_stays_with_the_next_provider():
    first = carrying(package(dense()), ["x"], ["a"], "first")
    between = helper.make_node("Relu", ["a"], ["b"])
    second = carrying(package(dense()), ["b"], ["y"], "second")
    inner = [("a", FLOAT, [5, 64]), ("b", FLOAT, [5, 64])]
    opened = SUBJECT.open(compiled([first, between, second], *ENDS, inner))
    assert [node.op_type for node in opened.owned] == ["EPContext", "EPContext"]
    want = expected(expected())
    np.testing.assert_allclose(opened({"x": X})[0], want, rtol=1e-3, atol=1e-2)
    assert any("this node was not" in told for told in opened.refusals)


def test_two_packages_that_touch_are_one_executable():
    nodes = [
        carrying(package(dense()), ["x"], ["a"], "first"),
        carrying(package(dense()), ["a"], ["y"], "second"),
    ]
    opened = SUBJECT.open(compiled(nodes, *ENDS, [("a", FLOAT, [5, 64])]))
    (placed,) = opened.placed
    assert placed.executable.facts["packages"] == "2"
    want = expected(expected())
    np.testing.assert_allclose(opened({"x": X})[0], want, rtol=1e-3, atol=1e-2)
    placed.executable.close()


def test_a_compiled_model_is_kept_by_what_the_package_holds(tmp_path):
    """Core ML would compile it once more at every start of a session."""
    asked = []

    def load(package, choice, compiled):
        asked.append(compiled)
        return evaluated(package, choice, compiled)

    def opened(data, **settings):
        options = typed_options(info, {})
        source = compiled([carrying(data, ["x"], ["y"])], *ENDS)
        graph = read(source, Settings()).graph
        part = make_partition(info.name, HOST, list(graph), graph)
        context.loaded(part, Settings(options=options, **settings), load).close()
        return asked.pop()

    one, other = package(dense()), package(dense(weight=-WEIGHT))
    kept = {"cache_directory": str(tmp_path)}
    first = opened(one, **kept)
    assert first.suffix == ".mlmodelc"
    assert first.is_relative_to(tmp_path)
    assert opened(one, **kept) == first
    assert opened(other, **kept) != first
    assert opened(one, cache=False) is None


def test_trimming_reaches_every_package_of_a_chain():
    nodes = [
        carrying(package(dense()), ["x"], ["a"], "first"),
        carrying(package(dense()), ["a"], ["y"], "second"),
    ]
    opened = SUBJECT.open(compiled(nodes, *ENDS, [("a", FLOAT, [5, 64])]))
    (placed,) = opened.placed
    trimmed = []
    for program_ in placed.executable._programs:
        program_._engine.trim = lambda one=program_: trimmed.append(one)
    opened.runnable.trim()
    assert trimmed == list(placed.executable._programs)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"embed_mode": 0}, "packages outside of the model are not read"),
        ({"main_context": 0}, "packages outside of the model are not read"),
        ({"source": "QNN"}, "operators of com.microsoft are not lowered"),
    ],
)
def test_what_is_not_ours_is_refused(attributes, reason):
    node = carrying(package(dense()), ["x"], ["y"], **attributes)
    model_ = onnx.ModelProto.FromString(compiled([node], *ENDS))
    model_.graph.node.append(helper.make_node("Relu", ["x"], ["z"]))
    model_.graph.output.append(helper.make_tensor_value_info("z", FLOAT, [5, 64]))
    reasons = refused(model_.SerializeToString())
    assert any(reason in told for told in reasons), reasons


def refused(source):
    """Return why nodes were refused, though no provider may be left for them."""
    from runtime_ep_coreml.capability import refusal

    graph = read(source, Settings()).graph
    return [
        context.against(node) if context.is_compiled(node) else refusal(node)
        for node in graph
    ]


def test_what_is_no_package_is_handed_on():
    junk = RNG.integers(0, 255, 600).astype(np.uint8).tobytes()
    source = compiled([carrying(junk, ["x"], ["y"])], *ENDS)
    with pytest.raises(Exception, match="is no package"):
        SUBJECT.open(source)({"x": X})


def test_a_model_that_was_compiled_ahead_is_run_from_its_packages():
    import runtime as ort
    from runtime_ep_coreml.ahead import making

    big = (RNG.standard_normal((1024, 1024)) / 32).astype(np.float32)
    text = "(float[64,1024] x) => (float[64,1024] y) { a = MatMul(x, w) y = Relu(a) }"
    options = ort.SessionOptions()
    options.add_provider(info.name, {})
    with making():
        compiler = ort.ModelCompiler(options, model(text, w=big))
        made = compiler.compile_to_bytes()
    opened = SUBJECT.open(made)
    assert [node.op_type for node in opened.owned] == ["EPContext"]
    x = RNG.standard_normal((64, 1024)).astype(np.float32)
    want = np.maximum(x @ big, 0)
    np.testing.assert_allclose(opened({"x": x})[0], want, rtol=1e-3, atol=1e-3)
