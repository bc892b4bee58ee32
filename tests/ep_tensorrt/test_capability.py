"""What the list and the parser take is claimed; the rest is refused with the reason."""

import numpy as np
import pytest
from runtime.plugin import Claim, Refusal
from runtime_ep_tensorrt.capability import offer, parsed, refusal
from runtime_ep_tensorrt.operators import OPERATORS, computes
from runtime_ep_tensorrt.options import Choice
from trt_models import RNG, model, whole
from trt_sessions import alone, opened, placed, programs, share

W = RNG.standard_normal((4, 4)).astype(np.float32)
CHAIN = (
    "(float[4,4] x) => (float[4,4] y) { a = MatMul(x, w) b = Exp(a) c = Tanh(b)"
    " d = Relu(c) e = MatMul(d, w) y = Sigmoid(e) }"
)


def nodes_of(text, opset=20, **weights):
    source = model(text, opset, **weights).SerializeToString()
    graph = whole(source, passes="none").graph
    return graph, list(graph)


def test_the_list_has_the_operators_of_the_standard():
    import onnx

    known = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
    assert set(OPERATORS) <= known | {"Scatter", "Upsample"}
    assert computes("DequantizeLinear", 10)
    assert not computes("DequantizeLinear", 7)
    assert not computes("Mish", 16)
    assert not computes("Swish", 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(float[2] x) => (float[2] y) { y = Swish(x) }", "parser has no Swish"),
        ("(double[2] x) => (double[2] y) { y = Exp(x) }", "TensorRT has no double"),
        ("(int64[2] x) => (int64[2] y) { y = Neg(x) }", ""),
        ("(int32[2,2] x) => (int32[2,2] y) { y = MatMul(x, x) }", "no MatMul of int32"),
        ("(uint8[2] x) => (float[2] y) { y = Cast<to=1>(x) }", ""),
        ("(string[2] x) => (string[2] y) { y = Identity(x) }", "has no string"),
        ("(float x) => (float y) { y = Exp(x) }", ""),
        ("(float[0,2] x) => (float[0,2] y) { y = Exp(x) }", "has no elements"),
        (
            "(float[1,1,1,1,1,1,1,1,2] x) => (float[1,1,1,1,1,1,1,1,2] y)"
            "{ y = Exp(x) }",
            "no more than 8 axes",
        ),
        (
            "(float[1,1,8,8] x) => (float[1,1,6,6] y, int64[1,1,6,6] i)"
            "{ y, i = MaxPool<kernel_shape=[3,3]>(x) }",
            "only its first output",
        ),
        (
            "(float[1,1,8,8] x) => (float[1,1,4,4] y)"
            "{ y = MaxPool<kernel_shape=[3,3], dilations=[2,2]>(x) }",
            "dilated windows",
        ),
        (
            "(float[1,1,8] x) => (float[1,1,6] y){ y = MaxPool<kernel_shape=[3]>(x) }",
            "its input 0 has 3 axes",
        ),
        (
            "(float[2,3] x, int64[1] k) => (float[2,1] y, int64[2,1] i)"
            "{ y, i = TopK<sorted=0>(x, k) }",
            "sorted=0 is not supported",
        ),
        (
            "(float[2,3] x, int64[1] a) => (float[2] y)"
            "{ y = ReduceSum<keepdims=0>(x, a) }",
            "its input 1 must be known",
        ),
        (
            "(float[1,1,4,4] x) => (float[1,1,8,8] y)"
            '{ s = Constant<value = float[4] {1,1,2,2}>() y = Resize<mode="cubic">(x, , s) }',
            "mode='cubic'",
        ),
        (
            "(float[2,3] x) => (int64[2,k] y) { y = NonZero(x) }",
            "trt_op_types_to_exclude names NonZero",
        ),
        (
            "(bool c, float[2] x) => (float[2] y) { y = If(c)"
            "<then_branch = t () => (float[2] p) { p = Exp(x) },"
            " else_branch = e () => (float[2] q) { q = Neg(x) }> }",
            "control flow stays",
        ),
        (
            "(float[2] x, float s, uint8 z) => (uint8[2] y)"
            "{ y = QuantizeLinear(x, s, z) }",
            "its zero point must be 0",
        ),
        (
            "(float[2] x) => (int4[2] y) { y = Cast<to=22>(x) }",
            "no Cast of int4",
        ),
        (
            "(float[2] x, float s) => (int8[2] y)"
            "{ z = Constant<value = int8 {0}>() y = QuantizeLinear(x, s, z) }",
            "go to DequantizeLinear alone",
        ),
        (
            "(int8[2] x, float s) => (float[2] y) { y = DequantizeLinear(x, s) }",
            "come from QuantizeLinear alone",
        ),
        (
            "() => (float[2] y) { y = RandomUniform<shape=[2]>() }",
            "drawn by the host",
        ),
    ],
    ids=lambda text: text[:60],
)
def test_a_node_is_refused_with_the_reason(text, reason):
    _, nodes = nodes_of(text, 24)
    found = refusal(nodes[-1], Choice(excluded=frozenset(("NonZero",))).excluded)
    assert (reason in found) if reason else not found, found


def test_what_only_a_newer_opset_can_say_is_refused():
    text = (
        "(float[1,1,4,4] q) => (float[1,1,4,4] y)"
        "{ y = Attention<left_window_size=2>(q, q, q) }"
    )
    _, (node,) = nodes_of(text, 28)
    assert "has no equal up to 24" in refusal(node)


def test_operators_of_other_domains_are_refused():
    from onnx import helper

    made = model("(float[2] x) => (float[2] y) { y = Relu(x) }")
    made.graph.node[0].domain = "com.microsoft"
    made.graph.node[0].op_type = "Gelu"
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    graph = whole(made.SerializeToString(), passes="none").graph
    assert "com.microsoft are not parsed" in refusal(next(iter(graph)))


def test_the_parser_is_asked_again_about_what_it_refuses():
    graph, nodes = nodes_of(CHAIN, w=W)
    questions = []

    def supports(data):
        """Refuse whatever holds an Exp, as a whole, unless there is nothing else."""
        import onnx

        asked = onnx.ModelProto.FromString(data)
        kinds = [node.op_type for node in asked.graph.node]
        questions.append(kinds)
        return [("Exp" not in kinds, list(range(len(kinds))))]

    reasons = parsed(graph, nodes, supports, 1000)
    assert [node.op_type for node in nodes if reasons[node]] == ["Exp"]
    assert questions[0] == [node.op_type for node in nodes]
    few = parsed(graph, nodes, supports, 2)
    assert sum(map(bool, few.values())) > 1, "two questions do not find it"


def test_regions_that_the_parser_takes_are_claimed_and_others_go_on(trt):
    trt.refuses = {"Exp"}
    session = opened(model(CHAIN, w=W))
    (first, second) = [item.partition for item in placed(session)]
    kinds = [[n.op_type for n in part.nodes] for part in (first, second)]
    assert kinds == [["MatMul"], ["Tanh", "Relu", "MatMul", "Sigmoid"]]
    assert "TensorRT's parser refuses it" in str(session.explain())
    given = {"x": RNG.standard_normal((4, 4)).astype(np.float32)}
    (got,), (want,) = (s.run(None, given) for s in (session, alone(model(CHAIN, w=W))))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert trt.counts["builds"] == 2


def test_small_subgraphs_are_left_to_others(trt):
    trt.refuses = {"Exp"}
    session = opened(model(CHAIN, w=W), trt_min_subgraph_size=2)
    (program,) = programs(session)
    assert trt.counts["builds"] == 1
    assert "smaller than trt_min_subgraph_size=2" in str(session.explain())
    del program


def test_excluded_operators_are_left_to_others(trt):
    session = opened(model(CHAIN, w=W), trt_op_types_to_exclude="Exp,Tanh")
    refused = {
        node.op_type
        for item in session._runnable.section.sections()
        for each in item.placed
        if each.partition.provider != placed(session)[0].partition.provider
        for node in each.partition.nodes
    }
    assert refused == {"Exp", "Tanh"}


def test_an_operator_that_the_list_lacks_is_taken_by_its_body(trt):
    session = opened(model("(float[4,4] x) => (float[4,4] y) { y = Swish(x) }", 24))
    assert share(session) == 1


def test_without_the_parser_the_list_decides():
    graph, nodes = nodes_of(CHAIN, w=W)
    found = list(offer(graph, nodes, Choice(), None))
    assert [type(each) for each in found] == [Claim]
    assert list(found[0].nodes) == nodes
    assert found[0].shapes
    assert str(found[0].device) == "cuda:0"
    lacking = list(offer(graph, nodes, Choice(excluded=frozenset(("Exp",))), None))
    assert [type(each) for each in lacking] == [Refusal, Claim]
